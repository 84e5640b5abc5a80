# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.sops import (
    encrypted_paths,
    find_clear_values,
    find_undecrypted,
)

CANARY = "Canary" + "-3b5d7f90"
HIDDEN = "ENC[AES256_GCM,data:8Zk=,iv:c2Vj,tag:dGFn,type:str]"
METADATA = {"age": [{"recipient": "age1…", "enc": "…"}], "mac": HIDDEN, "version": "3.13.3"}
FILE = "inventories/production/group_vars/all/bootstrap.sops.yml"


@pytest.mark.parametrize(
    "document",
    [
        {"bootstrap_secret": HIDDEN, "sops": METADATA},
        {"bootstrap_tokens": [{"name": HIDDEN, "token": HIDDEN}], "sops": METADATA},
        {"bootstrap_empty": "", "bootstrap_null": None, "sops": METADATA},
        {"sops": METADATA},
    ],
    ids=["a value", "nested", "what SOPS never encrypts", "nothing"],
)
def test_an_encrypted_file_passes(document):
    assert find_clear_values(FILE, document) == []


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"bootstrap_secret": CANARY}, "is not encrypted"),
        ({"bootstrap_secret": HIDDEN}, "is not encrypted"),
        ({"bootstrap_secret": HIDDEN, "sops": CANARY}, "is not encrypted"),
        ([CANARY], "is not encrypted"),
        (CANARY, "is not encrypted"),
        (None, "is not encrypted"),
        (
            {"bootstrap_secret": CANARY, "sops": METADATA},
            "holds values in clear text (bootstrap_secret)",
        ),
        (
            {"a": HIDDEN, "b": [{"token": HIDDEN}, {"token": CANARY, "sops": CANARY}], "sops": METADATA},
            "holds values in clear text (b[1].token, b[1].sops)",
        ),
        ({"port": 3128, "on": False, "sops": METADATA}, "holds values in clear text (port, on)"),
    ],
    ids=["clear", "no metadata", "no real metadata", "list", "text", "no YAML", "one value", "nested", "no text"],
)
def test_clear_text_is_refused_and_not_shown(document, what):
    (problem,) = find_clear_values(FILE, document)
    assert problem.where == FILE
    assert problem.what == what
    assert f"sops {'encrypt --in-place' if 'not encrypted' in what else 'edit'} {FILE}" in problem.remedy
    assert CANARY not in str(problem)


def test_what_is_encrypted_is_known_by_its_path():
    document = {"a": HIDDEN, "b": {"tokens": [HIDDEN, CANARY]}, "c": "", "sops": METADATA}
    assert encrypted_paths(document) == {"a", "b.tokens[0]"}


@pytest.mark.parametrize("document", [{"a": HIDDEN}, None, [HIDDEN]])
def test_without_metadata_nothing_counts_as_encrypted(document):
    assert encrypted_paths(document) == set()


def test_variables_that_nobody_decrypted_are_named_in_one_problem():
    variables = {"b": {"token": HIDDEN}, "a": HIDDEN, "c": "in clear text", "sops": METADATA}
    (problem,) = find_undecrypted(variables)
    assert problem.where == "a, b"
    assert "vars_plugins_enabled = host_group_vars, audioprothese.platform.sops" in problem.remedy
    assert "ANSIBLE_VARS_ENABLED=" in problem.remedy


def test_decrypted_variables_pass():
    assert find_undecrypted({"a": CANARY, "sops": METADATA}) == []
