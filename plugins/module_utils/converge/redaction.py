# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets never leave a module: their values are replaced by a keyed digest, so that a change stays visible."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets as stdlib_secrets
import typing as t
import urllib.parse

__all__ = ["FINGERPRINT", "Redactor", "redaction_argument_spec"]

FINGERPRINT = re.compile(r"<secret [0-9a-f]{12}>")
# A shorter value would blank out innocent text wherever it happens to occur.
_SHORTEST_SUBSTRING = 6


class Redactor:
    """Knows the secrets of one run and takes them out of whatever is reported.

    Args:
        key: the environment's digest key. Without it a key of this run is used: fingerprints then differ from run
            to run, and C(stable) is false.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self.stable = key is not None
        self._key = key or stdlib_secrets.token_bytes(32)
        self._fingerprints: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        """Register a secret, so that it is replaced as it stands, base64, URL-quoted and JSON-escaped."""
        if not value or value in self._fingerprints:
            return
        mark = self.fingerprint(value)
        forms = {
            value,
            value.strip(),
            base64.b64encode(value.encode()).decode(),
            urllib.parse.quote(value, safe=""),
            urllib.parse.quote_plus(value),
            json.dumps(value)[1:-1],
        }
        for form in forms - {""}:
            self._fingerprints.setdefault(form, mark)
        self._pattern = None

    def fingerprint(self, value: str) -> str:
        """The digest that stands for a value: C(<secret 1a2b3c4d5e6f>)."""
        return f"<secret {hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()[:12]}>"

    def redact(self, obj: t.Any) -> t.Any:
        """A copy of the structure without any registered secret."""
        if isinstance(obj, dict):
            return {self.redact(key): self.redact(item) for key, item in obj.items()}
        if isinstance(obj, (list, tuple)):
            return [self.redact(item) for item in obj]
        if not isinstance(obj, str) or not self._fingerprints:
            return obj
        if obj in self._fingerprints:
            return self._fingerprints[obj]
        if self._pattern is None:
            forms = sorted((f for f in self._fingerprints if len(f) >= _SHORTEST_SUBSTRING), key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, forms)) or r"(?!)")
        return self._pattern.sub(lambda match: self._fingerprints[match.group(0)], obj)


def redaction_argument_spec() -> dict[str, dict[str, t.Any]]:
    """The option C(redaction_secret): where the key of the fingerprints is kept."""
    options = {"vault_id": {"type": "str", "required": True}, "name": {"type": "str", "required": True}}
    return {"redaction_secret": {"type": "dict", "no_log": False, "options": options}}
