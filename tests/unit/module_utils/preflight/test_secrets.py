# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight import secrets
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.secrets import find_secrets

CANARY = "Canary" + "-9f8e7d6c"


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({"db_password": CANARY}, "db_password"),
        ({"connection": {"client_secret": CANARY}}, "connection.client_secret"),
        ({"users": [{"name": "a"}, {"name": "b", "token": CANARY}]}, "users[1].token"),
        ({"keyboard": "x", "storage_account_key": CANARY}, "storage_account_key"),
        ({"note": "-----BEGIN RSA PRIVATE" + " KEY-----\nMII"}, "note"),
        ({"proxy": f"http://operator:{CANARY}@proxy:3128"}, "proxy"),
        ({"store": "DefaultEndpointsProtocol=https;AccountKey=" + "A" * 60}, "store"),
        ({"link": "https://x.blob.core.windows.net/c?sp=r&sig=" + "b" * 44}, "link"),
        ({"bearer": "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 20}, "bearer"),
    ],
)
def test_a_secret_in_clear_text_is_found_and_not_shown(variables, where):
    problems = find_secrets(variables)
    assert [problem.where for problem in problems] == [where]
    assert CANARY not in str(problems[0])


@pytest.mark.parametrize(
    "variables",
    [
        {"db_password": "{{ lookup('env', 'DB_PASSWORD') }}"},
        {"db_password": ""},
        {"platform_redaction_secret": {"vault_id": "/subscriptions/s", "name": "redaction-key"}},
        {"secret_name": "mariadb-root-password"},
        {"secrets_renew_before_days": 30},
        {"tokens": []},
        {"url": "https://login.microsoftonline.com/tenant"},
        {"image": "registry.example/app@sha256:" + "0" * 64},
        {"subject": "repo:org/name:environment:prod"},
        {"when": "2026-11-23T03:00:00Z"},
    ],
)
def test_what_is_no_secret_passes(variables):
    assert find_secrets(variables) == []


def test_an_encrypted_value_passes():
    class Encrypted(str):
        __slots__ = ()

    variables = {"db_password": Encrypted("$ANSIBLE_VAULT;1.1;AES256")}
    assert find_secrets(variables)
    assert find_secrets(variables, is_encrypted=lambda _path, value: isinstance(value, Encrypted)) == []


@pytest.mark.sabotage
def test_a_lint_that_knows_no_names_is_noticed(monkeypatch):
    monkeypatch.setattr(secrets, "_SECRET_NAME", re.compile("(?!)"))
    with pytest.raises(AssertionError):
        test_a_secret_in_clear_text_is_found_and_not_shown({"db_password": CANARY}, "db_password")
