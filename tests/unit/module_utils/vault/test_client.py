# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client's requests and what it makes of the answers."""

from __future__ import annotations

import datetime as dt
import types
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import client as client_module
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import Stored

VAULT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"
URI = "https://v.vault.example"
SCOPE = "https://vault.example/.default"


class FakeAzure:
    """Answers by verb and address, and remembers what was asked."""

    cloud = types.SimpleNamespace(vault_scope=SCOPE)

    def __init__(self, answers: dict[tuple[str, str], t.Any], *, vault: bool = True) -> None:
        self.answers, self.vault = answers, vault
        self.asked: list[tuple[str, str, t.Any]] = []
        self.vault_reads = 0

    def get(self, path: str, api_version: str, *, doing: str = "") -> t.Any:
        assert path == VAULT
        assert api_version
        self.vault_reads += 1
        if not self.vault:
            raise ArmError("not found", status=404)
        return {"properties": {"vaultUri": URI + "/"}}

    def request(
        self, verb: str, path: str, *, api_version: str = "", body: t.Any = None, scope: str = "", doing: str = ""
    ) -> t.Any:
        assert scope == SCOPE
        self.asked.append((verb, path, body))
        answer = self.answers[verb, path]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, ArmError):
            raise answer
        return types.SimpleNamespace(status=200, headers={}, body=answer)


def vault(answers: dict[tuple[str, str], t.Any], *, exists: bool = True) -> tuple[VaultClient, FakeAzure]:
    azure = FakeAzure(answers, vault=exists)
    return VaultClient(t.cast("t.Any", azure), VAULT), azure


def test_get_value_and_version() -> None:
    client, azure = vault(
        {
            ("GET", f"{URI}/secrets/a"): {"value": "v", "id": f"{URI}/secrets/a/1"},
            ("GET", f"{URI}/secrets/b"): ArmError("no", status=404),
        }
    )
    assert client.get("a") == "v"
    assert client.get("b") is None
    found = client.read("a")
    assert found is not None
    assert found.version == "1"
    assert client.read("b") is None
    assert azure.vault_reads == 1


def test_no_vault_has_no_secrets() -> None:
    client, azure = vault({}, exists=False)
    assert client.get("a") is None
    assert client.list() == {}
    assert client.deleted() == frozenset()
    assert azure.asked == []
    with pytest.raises(ArmError, match="the vault does not exist"):
        client.set("a", "v")


def test_a_vault_made_meanwhile_is_found() -> None:
    client, azure = vault({("GET", f"{URI}/secrets/a"): {"value": "v"}}, exists=False)
    assert client.get("a") is None
    azure.vault = True
    assert client.get("a") == "v"


def test_list_follows_pages() -> None:
    client, _azure = vault(
        {
            ("GET", f"{URI}/secrets?maxresults=25"): {
                "value": [
                    {
                        "id": f"{URI}/secrets/One",
                        "attributes": {"enabled": False, "exp": 1800000000},
                        "contentType": "text/plain",
                        "tags": {"a": "b"},
                    }
                ],
                "nextLink": f"{URI}/secrets?page=2",
            },
            ("GET", f"{URI}/secrets?page=2"): {"value": [{"id": f"{URI}/secrets/two"}], "nextLink": None},
        }
    )
    assert client.list() == {
        "one": Stored(
            name="One",
            enabled=False,
            expires_on=dt.datetime.fromtimestamp(1800000000, tz=dt.UTC),
            content_type="text/plain",
            tags={"a": "b"},
        ),
        "two": Stored(name="two"),
    }


def test_set_sends_metadata_with_the_value() -> None:
    client, azure = vault({("PUT", f"{URI}/secrets/a"): {}})
    ends = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    client.set("a", "v", content_type="text/plain", tags={"x": "y"}, expires_on=ends)
    assert azure.asked[0][2] == {
        "value": "v",
        "attributes": {"enabled": True, "exp": int(ends.timestamp())},
        "contentType": "text/plain",
        "tags": {"x": "y"},
    }


def test_recover_waits_until_the_secret_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "POLL_SECONDS", 0)
    client, azure = vault(
        {
            ("POST", f"{URI}/deletedsecrets/a/recover"): {},
            ("GET", f"{URI}/secrets/a"): [ArmError("no", status=404), ArmError("no", status=404), {"value": "v"}],
        }
    )
    client.recover("a")
    assert len(azure.asked) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Caller is not authorized to perform action on resource.", "Key Vault Secrets Officer on v"),
        ("Client address is not authorized and caller was ignored because of firewall.", "private endpoint"),
        ("Public network access is disabled and request is not from a trusted service", "private endpoint"),
    ],
)
def test_a_refusal_says_what_to_do(text: str, expected: str) -> None:
    client, _azure = vault({("GET", f"{URI}/secrets/a"): ArmError("no", status=403, text=text)})
    with pytest.raises(ArmError, match=expected) as caught:
        client.get("a")
    assert caught.value.status == 403


def test_other_errors_pass() -> None:
    client, _azure = vault({("GET", f"{URI}/secrets/a"): ArmError("busy", status=503)})
    with pytest.raises(ArmError, match="busy"):
        client.get("a")
