# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Static part of preflight: versions, names and values of variables, secrets in clear text."""

from __future__ import annotations

import os
import pathlib
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.rules import check_rules
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.secrets import find_secrets
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.sops import (
    encrypted_paths,
    find_clear_values,
    find_undecrypted,
    is_ciphertext,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import (
    Problem,
    RoleVariables,
    unknown_variables,
)
from ansible_collections.audioprothese.platform.plugins.plugin_utils.sops_files import read_sops_files
from ansible_collections.audioprothese.platform.plugins.plugin_utils.versions import check_versions, readers

_COLLECTION: t.Final = pathlib.Path(__file__).parents[2]
# Variables that Ansible itself puts beside those of the inventory.
_MAGIC: t.Final = frozenset(
    [
        "ansible_version",
        "environment",
        "group_names",
        "groups",
        "hostvars",
        "inventory_dir",
        "inventory_file",
        "inventory_hostname",
        "inventory_hostname_short",
        "omit",
        "play_hosts",
        "playbook_dir",
        "role_name",
        "role_names",
        "role_path",
        "vars",
    ]
)
# Facts and registered results of the roles, present when preflight runs again in one process.
_OWN_FACTS: t.Final = (
    "platform_documents",
    "estate_azure",
    "estate_kubernetes",
    "preflight_static",
    "preflight_dynamic",
)


class ActionModule(ActionBase):
    """Checks what can be known without any network."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run all checks and report every problem at once."""
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec={
                "production": {"type": "bool", "default": False},
                "ignored_variables": {"type": "list", "elements": "str", "default": []},
                "required_files": {
                    "type": "list",
                    "elements": "dict",
                    "default": [],
                    "options": {
                        "path": {"type": "path", "required": True},
                        "remedy": {"type": "str", "required": True},
                    },
                },
            }
        )
        defaults = self._role_defaults()
        variables = {
            name: value
            for name, value in (task_vars or {}).items()
            if _is_users(name) and not (name in defaults and defaults[name] == value)
        }
        versions, problems = check_versions(_COLLECTION)
        missing = _missing_files(options["required_files"])
        if missing:
            # Whatever is read from them would only be wrong for the same reason.
            return _report(missing, versions=versions, checked=0)
        roles = self._roles()
        problems += unknown_variables(variables, roles, {*options["ignored_variables"], *_OWN_FACTS})
        sops_files = read_sops_files((task_vars or {}).get("inventory_dir") or "")
        problems += _secrets(self._from_inventory(variables), sops_files)
        values = _Values(self._templar, defaults | (task_vars or {}))
        checked, wrong = _validate(roles, variables, values)
        problems += wrong
        problems += _rules(values, production=options["production"])
        return _report(problems, versions=versions, checked=checked)

    def _roles(self) -> list[RoleVariables]:
        roles = []
        for folder in sorted(path for path in (_COLLECTION / "roles").iterdir() if path.is_dir()):
            specs = self._load(folder / "meta" / "argument_specs.yml").get("argument_specs") or {}
            roles.append(RoleVariables(folder.name, specs, self._load(folder / "defaults" / "main.yml")))
        return roles

    def _role_defaults(self) -> dict[str, t.Any]:
        values: dict[str, t.Any] = {}
        for kind in ("defaults", "vars"):
            for path in sorted((_COLLECTION / "roles").glob(f"*/{kind}/main.yml")):
                values |= self._load(path)
        return values

    def _load(self, path: pathlib.Path) -> dict[str, t.Any]:
        if not path.is_file():
            return {}
        return self._loader.load_from_file(str(path), trusted_as_template=True) or {}

    def _from_inventory(self, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Without those given on the command line, where AWX puts its credentials."""
        given = self._task.get_variable_manager().extra_vars
        return {name: value for name, value in variables.items() if name not in given}


class _Values:
    """Final values of variables, templates evaluated, role defaults included."""

    def __init__(self, templar: t.Any, variables: dict[str, t.Any]) -> None:
        self._templar = templar.copy_with_new_env(available_variables=variables)
        self._variables = variables

    def __getitem__(self, name: str) -> t.Any:
        return self._templar.template(self._variables[name])


def _is_users(name: str) -> bool:
    return not name.startswith(("ansible_", "_")) and name not in _MAGIC


def _secrets(variables: dict[str, t.Any], sops_files: dict[str, object]) -> list[Problem]:
    """Secrets in clear text, in variables and in files that should be encrypted.

    A value that SOPS decrypted comes from no file that Ansible has read: one of the same name in a file is clear text.
    """
    from_sops = {path for document in sops_files.values() for path in encrypted_paths(document)}

    def is_encrypted(path: str, value: object) -> bool:
        return (
            type(value).__name__ in ("EncryptedString", "AnsibleVaultEncryptedUnicode")
            or is_ciphertext(value)
            or (path in from_sops and not _origin(value))
        )

    return [
        *(problem for where, document in sops_files.items() for problem in find_clear_values(where, document)),
        *find_undecrypted(variables),
        *find_secrets(variables, is_encrypted=is_encrypted),
    ]


def _missing_files(files: list[dict[str, str]]) -> list[Problem]:
    return [
        Problem(where=entry["path"], what="is not there", remedy=entry["remedy"])
        for entry in files
        if not pathlib.Path(entry["path"]).is_file()
    ]


def _origin(value: object) -> str:
    try:
        from ansible._internal._datatag._tags import Origin  # noqa: PLC0415
    except ImportError:
        return ""
    tag = Origin.get_tag(value)
    if tag is None or not tag.path:
        return ""
    path = os.path.relpath(tag.path)
    return f"{path}:{tag.line_num}" if tag.line_num else path


def _validate(roles: list[RoleVariables], variables: dict[str, t.Any], values: _Values) -> tuple[int, list[Problem]]:
    problems: list[Problem] = []
    checked: set[str] = set()
    for role in roles:
        options = {name: option for spec in role.specs.values() for name, option in (spec.get("options") or {}).items()}
        for name, option in options.items():
            if name in checked or name not in variables:
                if option.get("required") and name not in variables and name not in role.defaults:
                    problems.append(
                        Problem(where=name, what="is required by a role", remedy=str(option["description"]))
                    )
                continue
            checked.add(name)
            problems += _validate_one(name, option, variables[name], values)
    return len(checked), problems


def _validate_one(name: str, option: dict[str, t.Any], raw: object, values: _Values) -> list[Problem]:
    try:
        value = values[name]
    except AnsibleError as exc:
        reason = " ".join(str(exc).split())
        return [Problem(where=name, what=f"cannot be computed: {reason}", origin=_origin(raw))]
    outcome = ArgumentSpecValidator({name: option}).validate({name: value}, validate_role_argument_spec=True)
    return [
        Problem(where=name, what=message.rstrip("."), remedy=_meaning(option), origin=_origin(raw))
        for message in outcome.error_messages
    ]


def _meaning(option: dict[str, t.Any]) -> str:
    description = option.get("description") or ""
    return description if isinstance(description, str) else " ".join(description)


def _rules(values: _Values, *, production: bool) -> list[Problem]:
    def value_of(name: str) -> t.Any:
        try:
            return values[name]
        except AnsibleError:
            return None

    return check_rules(value_of, production=production)


def _report(problems: list[Problem], *, versions: dict[str, str], checked: int) -> dict[str, t.Any]:
    result: dict[str, t.Any] = {
        "changed": False,
        "problems": [str(problem) for problem in problems],
        "versions": versions,
        "checked": checked,
        "readers": readers(),
    }
    if problems:
        lines = "\n".join(f"- {problem}" for problem in problems)
        number = "One thing has" if len(problems) == 1 else f"{len(problems)} things have"
        result |= {"failed": True, "msg": f"{number} to be put right before this can run:\n{lines}"}
    return result
