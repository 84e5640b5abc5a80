# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(alert_rules)."""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Callable, Collection, Mapping

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: alert_rules
short_description: Fit the alerts of Prometheus to an environment
version_added: 0.3.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Takes files of rules, leaves alerts out, and changes others. Rules that record are left as they are.
  - A name that no rule has is an error.
options:
  _input:
    description: Rules by the name of their file, each with C(groups) as Prometheus reads them.
    type: dict
    required: true
  wait:
    description: How long every alert that waits at all (C(for)) waits; empty leaves each its own time.
    type: str
    default: ""
  overrides:
    description: What differs of a rule, by the name of its alert, recursively merged.
    type: dict
    default: {}
  left_out:
    description: Names of alerts that are not wanted.
    type: list
    elements: str
    default: []
  runbook_base:
    description: What the annotation C(runbook_url) is relative to.
    type: str
    default: ""
"""

EXAMPLES = r"""
rules: "{{ files | audioprothese.platform.alert_rules(wait='10m', left_out=['BackupArchiveMissing']) }}"
"""

RETURN = r"""
_value:
  description: The same files.
  type: dict
"""

Rule = dict[str, t.Any]


def alert_rules(
    files: Mapping[str, t.Any],
    *,
    wait: str = "",
    overrides: Mapping[str, t.Any] | None = None,
    left_out: Collection[str] = (),
    runbook_base: str = "",
) -> dict[str, t.Any]:
    """Rules of an environment."""
    changes = overrides or {}
    rules = [rule for file in files.values() for group in file["groups"] for rule in group["rules"]]
    _refuse_unknown([*changes, *left_out], {rule["alert"] for rule in rules if "alert" in rule})

    def fitted(rule: Rule) -> Rule:
        if "alert" not in rule:
            return rule
        waiting = {"for": wait} if wait and "for" in rule else {}
        changed = _merged({**rule, **waiting}, changes.get(rule["alert"], {}))
        return _merged(changed, {"annotations": {"runbook_url": runbook_base + changed["annotations"]["runbook_url"]}})

    return {
        name: {
            "groups": [
                {**group, "rules": [fitted(rule) for rule in group["rules"] if rule.get("alert") not in left_out]}
                for group in file["groups"]
            ]
        }
        for name, file in files.items()
    }


def _merged(value: Rule, change: Mapping[str, t.Any]) -> Rule:
    merged = dict(value)
    for key, item in change.items():
        both = isinstance(item, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], item) if both else item
    return merged


def _refuse_unknown(names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise AnsibleFilterError(f"audioprothese.platform.alert_rules: there is no alert {name}{hint}")


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., dict[str, t.Any]]]:
        """Name and function."""
        return {"alert_rules": alert_rules}
