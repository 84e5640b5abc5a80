# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of C(key_vault_secrets) and C(key_vault_rotation) beside those of the connection."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import lease_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import PROOFS, STEPS
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import DEFAULT_LENGTH, KINDS

__all__ = ["argument_spec", "rotation_argument_spec"]

_OPTIONS: t.Final[dict[str, t.Any]] = {
    "vault_id": {"type": "str", "required": True},
    "secrets": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            "name": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": list(KINDS), "required": True},
            "length": {"type": "int", "default": DEFAULT_LENGTH},
            "alphabet": {"type": "str"},
            "expires_days": {"type": "int"},
            "tags": {"type": "dict", "default": {}},
            "content_type": {"type": "str"},
            "common_name": {"type": "str"},
            "dns_names": {"type": "list", "elements": "str", "default": []},
            "issuer": {"type": "str"},
            "validity_days": {"type": "int"},
        },
    },
    "renew_before_days": {"type": "int", "default": 30},
    "access_timeout": {"type": "int", "default": 0},
    "expect_plan": {"type": "str"},
    "_progress": {"type": "str"},
}

_ABOUT: t.Final[dict[str, t.Any]] = {
    "purpose": {"type": "str"},
    "owner": {"type": "str"},
    "consumers": {"type": "list", "elements": "str"},
    "rotation": {
        "type": "dict",
        "required": True,
        "options": {
            "days": {"type": "int"},
            "proof": {"type": "str", "choices": list(PROOFS)},
            "because": {"type": "str"},
            "effect": {"type": "str"},
        },
    },
}


def argument_spec() -> dict[str, t.Any]:
    """A fresh copy of the options, to be extended by the module."""
    return {**copy.deepcopy(_OPTIONS), **lease_argument_spec()}


def rotation_argument_spec() -> dict[str, t.Any]:
    """Options of C(key_vault_rotation)."""
    spec = argument_spec()
    for name in ("renew_before_days", "access_timeout"):
        del spec[name]
    spec["secrets"]["options"] |= copy.deepcopy(_ABOUT)
    step = {"type": "str", "choices": list(STEPS), "default": "report"}
    return {**spec, "step": step, "only": {"type": "list", "elements": "str", "default": []}}
