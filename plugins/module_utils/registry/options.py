# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of C(registry_images) beside those of the connection."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import lease_argument_spec

__all__ = ["argument_spec"]

_OPTIONS: t.Final[dict[str, t.Any]] = {
    "registry_id": {"type": "str", "required": True},
    "images": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "registry": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "tag": {"type": "str", "required": True},
            "digest": {"type": "str", "default": ""},
            "platform": {"type": "str", "default": "linux/amd64"},
        },
    },
    "endpoint": {"type": "str", "default": ""},
    "expect_plan": {"type": "str"},
    "_progress": {"type": "str"},
}


def argument_spec() -> dict[str, t.Any]:
    """A fresh copy of the options, to be extended by the module."""
    return {**copy.deepcopy(_OPTIONS), **lease_argument_spec()}
