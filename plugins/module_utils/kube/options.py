# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of C(k8s_applyset) beside those of the connection, for the module and its action plugin."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import lease_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import redaction_argument_spec

__all__ = ["CHART_OPTIONS", "argument_spec"]

CHART_OPTIONS: dict[str, t.Any] = {
    "path": {"type": "path"},
    "ref": {"type": "str"},
    "version": {"type": "str"},
    "release": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "values": {"type": "dict"},
    "hooks": {"type": "str", "choices": ["refuse", "strip"], "default": "refuse"},
    "kube_version": {"type": "str", "default": "1.35"},
    "api_versions": {"type": "list", "elements": "str", "default": []},
}

_OPTIONS: dict[str, t.Any] = {
    "applyset": {"type": "str", "required": True},
    "applyset_namespace": {"type": "str", "default": "kube-system"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "templates": {"type": "list", "elements": "str", "default": []},
    "documents": {"type": "list", "elements": "dict", "default": []},
    "chart": {"type": "dict", "options": CHART_OPTIONS},
    "charts": {"type": "list", "elements": "dict", "default": [], "options": CHART_OPTIONS},
    "helm_binary": {"type": "path"},
    "prune": {"type": "bool", "default": True},
    "allow_delete": {"type": "list", "elements": "str", "default": []},
    "allow_upgrade": {"type": "list", "elements": "str", "default": []},
    "allow_other_volumes": {"type": "list", "elements": "str", "default": []},
    "force_conflicts": {"type": "bool", "default": False},
    "take_over": {
        "type": "list",
        "elements": "str",
        "default": ["argocd-controller", "before-first-apply", "k9s*", "kubectl*", "Mozilla*"],
    },
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 600},
    "timeout": {"type": "int", "default": 300},
    "parallel": {"type": "int", "default": 12},
    "cluster": {"type": "str"},
    "resources": {"type": "dict", "default": {}},
    "expect_plan": {"type": "str"},
    "_input": {"type": "path"},
    "_progress": {"type": "str"},
}


def argument_spec() -> dict[str, t.Any]:
    """A fresh copy of the options, to be extended by a module."""
    return {**copy.deepcopy(_OPTIONS), **lease_argument_spec(), **redaction_argument_spec()}
