# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options by which every module of the collection that talks to Azure finds its identity."""

from __future__ import annotations

import copy
import typing as t
from collections.abc import Mapping

from ansible.module_utils.basic import env_fallback

__all__ = ["AUTH_OPTIONS", "auth_argument_spec", "auth_options"]

_AUTH: t.Final[dict[str, dict[str, t.Any]]] = {
    "auth_source": {
        "type": "str",
        "choices": ["auto", "cli", "credential_file", "env", "msi"],
        "default": "auto",
        "fallback": (env_fallback, ["ANSIBLE_AZURE_AUTH_SOURCE"]),
    },
    "profile": {"type": "str"},
    "subscription_id": {"type": "str"},
    "client_id": {"type": "str"},
    "secret": {"type": "str", "no_log": True},
    "tenant": {"type": "str"},
    "ad_user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "cloud_environment": {"type": "str"},
    "adfs_authority_url": {"type": "str"},
    "cert_validation_mode": {"type": "str", "choices": ["ignore", "validate"]},
    "x509_certificate_path": {"type": "path"},
    "thumbprint": {"type": "str"},
    "federated_token_file": {"type": "path"},
    "disable_instance_discovery": {"type": "bool"},
    "api_profile": {"type": "str", "default": "latest"},
    "log_path": {"type": "str"},
    "log_mode": {"type": "str"},
}

AUTH_OPTIONS: t.Final = tuple(_AUTH)
"""Names of the options, the same as those of azure.azcollection's C(azure) fragment plus C(federated_token_file)."""


def auth_argument_spec() -> dict[str, dict[str, t.Any]]:
    """A fresh copy of the options, to be extended by a module."""
    return copy.deepcopy(_AUTH)


def auth_options(params: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Those of a module's parameters that say who it is in Azure."""
    return {name: params[name] for name in AUTH_OPTIONS}
