# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Azure resources as a second reader saw them, against a few properties that must hold."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import get_path

__all__ = ["judge_azure"]

_OK: t.Final = 200
# A read is answered with a conflict only where the resource provider is not registered, so that nothing can exist.
_ABSENT: t.Final = (404, 409)


def judge_azure(expected: Iterable[Mapping[str, t.Any]], answers: Mapping[str, Mapping[str, t.Any]]) -> list[Finding]:
    """One finding for each property that must hold, or one for a resource that cannot be judged.

    Args:
        expected: resources, each with C(id) and C(checks), a list of C(path) and C(value).
        answers: C(status) and C(body) by lower-case id; what was not asked for is absent.
    """
    return [finding for entry in expected for finding in _judge(entry, answers.get(str(entry["id"]).lower()))]


def _judge(entry: Mapping[str, t.Any], answer: Mapping[str, t.Any] | None) -> Iterator[Finding]:
    resource = str(entry["id"])
    common = {"source": "azure", "resource": resource, "type": str(entry.get("type") or "")}
    if answer is None:
        yield Finding(**common, verdict="not_verifiable", message="nobody but the writer could read it")
    elif answer["status"] in _ABSENT:
        yield Finding(**common, verdict="missing", message="it does not exist")
    elif answer["status"] != _OK:
        yield Finding(**common, verdict="error", message=f"reading it was answered with {answer['status']}")
    else:
        for check in entry["checks"]:
            path, value = check["path"], check["value"]
            live = get_path(answer["body"], path)
            same = _equal(value, live)
            message = "" if same else f"{path} is {live!r} instead of {value!r}"
            yield Finding(
                **common, path=path, desired=value, live=live, verdict="equal" if same else "drift", message=message
            )


def _equal(wanted: t.Any, live: t.Any) -> bool:
    if isinstance(wanted, str) and isinstance(live, str):
        return wanted.casefold() == live.casefold()
    return bool(wanted == live)
