# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the modules about MariaDB's servers beside those of the connections."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import lease_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import redaction_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts import LIMITS, PLUGINS

__all__ = [
    "accounts_spec",
    "archive_spec",
    "common_spec",
    "logins_spec",
    "replication_spec",
    "restore_spec",
    "trust_spec",
]

_STATEFULSET: t.Final[dict[str, t.Any]] = {
    "namespace": {"type": "str", "required": True},
    "statefulset": {"type": "str", "required": True},
    "cluster": {"type": "str"},
    "_progress": {"type": "str"},
}

_COMMON: t.Final[dict[str, t.Any]] = {
    **_STATEFULSET,
    "container": {"type": "str", "default": "mariadb"},
    "administrator": {"type": "str", "default": "mysql"},
    "root_password_file": {"type": "str", "no_log": False},
    "socket": {"type": "str", "default": "/run/mysqld/mysqld.sock"},
    "must_exist": {"type": "bool", "default": True},
    "expect_plan": {"type": "str"},
}


def _of_accounts(**options: t.Any) -> dict[str, t.Any]:
    """Rows that are each about an account."""
    account = {"user": {"type": "str", "required": True}, "host": {"type": "str", "default": "%"}}
    return {"type": "list", "elements": "dict", "required": True, "options": {**account, **options}}


_ACCOUNTS: t.Final[dict[str, t.Any]] = {
    "accounts": _of_accounts(
        plugin={"type": "str", "choices": list(PLUGINS), "default": PLUGINS[0]},
        password={"type": "str", "no_log": True},
        require={"type": "str", "choices": ["none", "ssl", "x509"], "default": "ssl"},
        limits={"type": "dict", "options": {limit: {"type": "float", "default": 0} for limit in LIMITS}},
        locked={"type": "bool", "default": False},
        grants={
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "on": {"type": "str", "required": True},
                "privileges": {"type": "list", "elements": "str", "required": True},
                "grant_option": {"type": "bool", "default": False},
            },
        },
    ),
    "databases": {"type": "list", "elements": "str", "default": []},
    "certificate_file": {"type": "str"},
    "certificate": {"type": "str"},
    "certificate_timeout": {"type": "int", "default": 0},
    "left_alone": {
        "type": "list",
        "elements": "str",
        "default": ["mariadb.sys@localhost", "healthcheck@localhost", "healthcheck@127.0.0.1", "healthcheck@::1"],
    },
    "remove_unexpected": {"type": "bool", "default": False},
}

_LOGINS: t.Final[dict[str, t.Any]] = {
    "logins": _of_accounts(password={"type": "str", "no_log": True, "required": True}),
    "certificate": {"type": "str"},
    "only": {"type": "list", "elements": "str"},
    "port": {"type": "int", "default": 3306},
}

_TRUST: t.Final[dict[str, t.Any]] = {
    "authority": {"type": "str", "required": True},
    "ca_file": {"type": "str", "required": True},
    "server": {"type": "str", "default": "localhost"},
    "port": {"type": "int", "default": 3306},
    "login_user": {"type": "str", "required": True},
    "login_password": {"type": "str", "no_log": True, "required": True},
    "timeout": {"type": "int", "default": 0},
}

_REPLICATION: t.Final[dict[str, t.Any]] = {
    "primary": {"type": "int", "default": 0},
    "promote": {"type": "bool", "default": False},
    "allow": {
        "type": "list",
        "elements": "str",
        "choices": ["primary_alive", "replica_behind"],
        "default": [],
    },
    "reseed": {"type": "list", "elements": "int", "default": []},
    "semi_sync": {"type": "bool", "default": True},
    "renew_password": {"type": "bool", "default": False, "no_log": False},
    "cut_off": {"type": "bool", "default": False},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 3306},
    "replication_user": {"type": "str", "default": "replication"},
    "replication_password": {"type": "str", "no_log": True, "required": True},
    "backup_user": {"type": "str", "default": "backup"},
    "backup_password": {"type": "str", "no_log": True, "required": True},
    "ca_file": {"type": "str", "required": True},
    "catch_up_timeout": {"type": "int", "default": 60},
    "seed_timeout": {"type": "int", "default": 3600},
}

_OF_THE_ARCHIVE: t.Final[dict[str, t.Any]] = {
    **_STATEFULSET,
    "container": {"type": "str", "default": "archive"},
    "primary": {"type": "int", "default": 0},
    "timeout": {"type": "int", "default": 14400},
}

_ARCHIVE: t.Final[dict[str, t.Any]] = {
    **_OF_THE_ARCHIVE,
    "operation": {"type": "str", "choices": ["report", "full", "drill"], "default": "report"},
    "full_hours": {"type": "float", "default": 26},
    "log_minutes": {"type": "float", "default": 10},
    "job": {"type": "dict"},
    "compare": {
        "type": "dict",
        "options": {name: _COMMON[name] for name in ("container", "administrator", "root_password_file", "socket")},
    },
    "_run": {"type": "dict"},
}

_RESTORE: t.Final[dict[str, t.Any]] = {
    **_OF_THE_ARCHIVE,
    "to": {"type": "str", "required": True},
    "volume": {"type": "str"},
    "storage_class": {"type": "str", "required": True},
    "size": {"type": "str", "required": True},
    "labels": {"type": "dict", "default": {}},
    "job": {"type": "dict", "required": True},
}


def restore_spec() -> dict[str, t.Any]:
    """Options of C(mariadb_restore)."""
    return {**copy.deepcopy(_RESTORE), **lease_argument_spec()}


def archive_spec() -> dict[str, t.Any]:
    """Options of C(mariadb_archive)."""
    return copy.deepcopy(_ARCHIVE)


def common_spec() -> dict[str, t.Any]:
    """A fresh copy of what both modules take."""
    return {**copy.deepcopy(_COMMON), **lease_argument_spec(), **redaction_argument_spec()}


def accounts_spec() -> dict[str, t.Any]:
    """Options of C(mariadb_accounts)."""
    return {**common_spec(), **copy.deepcopy(_ACCOUNTS)}


def logins_spec() -> dict[str, t.Any]:
    """Options of C(mariadb_logins)."""
    return {**common_spec(), **copy.deepcopy(_LOGINS)}


def trust_spec() -> dict[str, t.Any]:
    """Options of C(mariadb_trust)."""
    return {**common_spec(), **copy.deepcopy(_TRUST)}


def replication_spec() -> dict[str, t.Any]:
    """Options of C(mariadb_replication)."""
    return {**common_spec(), **copy.deepcopy(_REPLICATION)}
