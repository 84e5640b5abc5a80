"""Requests since the last reset, by verb and by effect."""

from __future__ import annotations

from typing import Any

from tests.lab.azure.store import Store

EFFECTS = ("write", "read", "token", "list_action", "access_review", "metadata")


def summary(store: Store) -> dict[str, Any]:
    """``{"azure": {effect: n}, "vault": {…}, "by_verb": {verb: n}}``; `azure` includes the vaults' requests."""
    azure = dict.fromkeys(EFFECTS, 0)
    vault = dict.fromkeys(("write", "read"), 0)
    by_verb: dict[str, int] = {}
    for part, effect, verb, number in store.counts():
        azure[effect] = azure.get(effect, 0) + number
        by_verb[verb] = by_verb.get(verb, 0) + number
        if part == "vault":
            vault[effect] = vault.get(effect, 0) + number
    return {"azure": azure, "vault": vault, "by_verb": by_verb}
