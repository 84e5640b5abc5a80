# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stable digests of plain data."""

from __future__ import annotations

import hashlib
import json
import typing as t

__all__ = ["canonical", "digest"]


def canonical(obj: t.Any) -> str:
    """One text for one value: JSON with sorted keys. Anything that is not JSON is a TypeError."""
    return json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(obj: t.Any) -> str:
    """C(sha256:<hex>) of the canonical text."""
    return f"sha256:{hashlib.sha256(canonical(obj).encode()).hexdigest()}"
