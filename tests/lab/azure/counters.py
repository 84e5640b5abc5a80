"""Requests since the last reset, by verb and by effect."""

from __future__ import annotations

from typing import Any

from tests.lab.azure.store import Store

EFFECTS = ("write", "read", "token", "list_action", "access_review", "metadata")


def summary(store: Store) -> dict[str, Any]:
    """``{"azure": {effect: n}, "vault": {…}, "storage": {…}, "by_verb": {verb: n}}``.

    `azure` includes the vaults' requests, and not those of Blob storage: pods send them at any time.
    """
    azure = dict.fromkeys(EFFECTS, 0)
    vault, storage = dict.fromkeys(("write", "read"), 0), dict.fromkeys(("write", "read"), 0)
    by_verb: dict[str, int] = {}
    for part, effect, verb, number in store.counts():
        if part == "storage":
            storage[effect] += number
            continue
        azure[effect] = azure.get(effect, 0) + number
        by_verb[verb] = by_verb.get(verb, 0) + number
        if part == "vault":
            vault[effect] = vault.get(effect, 0) + number
    return {"azure": azure, "vault": vault, "storage": storage, "by_verb": by_verb}
