"""Every secret value that a lab holds, to look for it where it must not be."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable

from tests.integration.support.azure import resource_ids
from tests.integration.support.lab import Lab
from tests.integration.support.lab_vault import open_vault
from tests.integration.support.playbook import PlaybookRun

# A signed token: three dotted parts of which the first is the base64 of a JSON object.
TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}")
KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
SHORTEST = 8  # shorter values ("true", a port) also occur where they are no secret


def vault_secrets(lab: Lab) -> dict[str, str]:
    """Return the value of every secret in every vault of the lab."""
    found = {}
    for vault in resource_ids(lab, "Microsoft.KeyVault/vaults"):
        with open_vault(lab, vault) as client:
            for listed in client.list_properties_of_secrets():
                assert listed.name
                value = client.get_secret(listed.name).value
                found[f"{vault}#{listed.name}"] = value or ""
    return found


def cluster_secrets(lab: Lab) -> dict[str, str]:
    """Return the value of every key of every Secret in the cluster."""
    listed = json.loads(lab.kubectl("get", "secrets", "--all-namespaces", "-o", "json"))
    return {
        f"{item['metadata']['namespace']}/{item['metadata']['name']}#{key}": base64.b64decode(value).decode(
            errors="replace"
        )
        for item in listed["items"]
        for key, value in (item.get("data") or {}).items()
        # Where Argo CD delivers from and to; a password among it is the vault's, too.
        if "argocd.argoproj.io/secret-type" not in item["metadata"].get("labels", {})
    }


def all_secrets(lab: Lab) -> dict[str, str]:
    """Return every secret value that exists in a lab at this moment, by where it is."""
    return {**vault_secrets(lab), **cluster_secrets(lab), "client secret": lab.info["client_secret"]}


def everything(run: PlaybookRun) -> str:
    """Return what a run printed, what its tasks returned, and its command line."""
    return "\n".join([run.output, json.dumps(run.tasks, ensure_ascii=False), *run.arguments])


def leaks(text: str, secrets: dict[str, str]) -> list[str]:
    """Name every secret that occurs in a text, plain, as base64, as JSON text, or line by line."""
    found = [name for name, value in secrets.items() if any(form in text for form in _forms(value))]
    found += [f"a token: {match.group()[:12]}…" for match in TOKEN.finditer(text)]
    found += [f"a private key: {match.group()}" for match in KEY.finditer(text)]
    return found


def _forms(value: str) -> Iterable[str]:
    if len(value.strip()) < SHORTEST:
        return
    yield value
    yield json.dumps(value)[1:-1]
    yield base64.b64encode(value.encode()).decode()
    if "\n" in value and "CERTIFICATE" not in value:
        yield from (line for line in value.splitlines() if len(line) > 40)
