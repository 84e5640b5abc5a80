# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a page and a certificate must be, against what was answered. Pure: plain data in, findings out."""

from __future__ import annotations

import datetime as dt
import json
import re
import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import get_path

__all__ = ["Answer", "judge_certificate", "judge_page", "not_asked"]

Page = Mapping[str, t.Any]


class Answer(t.NamedTuple):
    """What came back.

    Attributes:
        status: HTTP status, 0 when nothing was answered.
        headers: by lower-case name.
        body: as text.
        problem: why nothing was answered, for a person.
    """

    status: int = 0
    headers: Mapping[str, str] = {}
    body: str = ""
    problem: str = ""


def judge_page(page: Page, answer: Answer) -> list[Finding]:
    """One finding for each thing that must hold of a page.

    Args:
        page: C(url), C(method), C(status) (a list), C(headers) (name to regular expression), C(body) (a regular
            expression) and C(json) (path to value).
        answer: what came back.
    """
    if not answer.status:
        return [_finding(page, "status", page["status"], None, good=False, message=f"no answer: {answer.problem}")]
    return list(_judge(page, answer))


def not_asked(page: Page, why: str) -> Finding:
    """The finding about a page that nobody may ask for now."""
    return Finding(source="http", resource=_name(page), type="", verdict="not_verifiable", message=why)


def judge_certificate(host: str, certificate: Mapping[str, t.Any], *, now: dt.datetime, days: int) -> Finding:
    """Whether a certificate that verified lasts long enough.

    Args:
        host: the name that was asked for.
        certificate: as C(ssl.SSLSocket.getpeercert) returns it, or C(problem) with why there is none.
        now: an aware time.
        days: what must be left of it.
    """
    if problem := certificate.get("problem"):
        return Finding(
            source="http",
            resource=host,
            type="certificate",
            path="certificate",
            verdict="error",
            message=f"its certificate is not trusted, or there is none: {problem}",
        )
    # The format that OpenSSL prints and the module ssl documents, always in GMT.
    ends = dt.datetime.strptime(certificate["notAfter"], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=dt.UTC)
    left = (ends - now) // dt.timedelta(days=1)
    return Finding(
        source="http",
        resource=host,
        type="certificate",
        path="certificate.notAfter",
        desired=f"at least {days} days from now",
        live=ends.isoformat(),
        verdict="equal" if left >= days else "error",
        message=f"its certificate ends in {left} days"
        + ("" if left >= days else "; the next run of deploy.yml renews it, see docs/operations.md"),
    )


def _judge(page: Page, answer: Answer) -> Iterator[Finding]:
    wanted = page["status"]
    yield _finding(
        page, "status", wanted, answer.status, good=answer.status in wanted, message=f"answered {answer.status}"
    )
    for name, pattern in (page.get("headers") or {}).items():
        live = answer.headers.get(name.lower())
        good = live is not None and re.search(pattern, live) is not None
        message = f"{name} is {live!r}" if live is not None else f"it comes without {name}"
        yield _finding(page, f"headers.{name.lower()}", pattern, live, good=good, message=message)
    if pattern := page.get("body"):
        good = re.search(pattern, answer.body) is not None
        message = f"{len(answer.body)} characters" + ("" if good else f" without {pattern!r}")
        yield _finding(page, "body", pattern, None, good=good, message=message)
    if fields := page.get("json"):
        yield from _judge_fields(page, fields, answer.body)


def _judge_fields(page: Page, fields: Mapping[str, t.Any], body: str) -> Iterator[Finding]:
    try:
        document = json.loads(body)
    except ValueError:
        yield _finding(page, "json", fields, None, good=False, message="what it answers is not JSON")
        return
    for path, value in fields.items():
        live = get_path(document, path)
        yield _finding(page, f"json.{path}", value, live, good=live == value, message=f"{path} is {live!r}")


def _finding(page: Page, path: str, desired: t.Any, live: t.Any, *, good: bool, message: str) -> Finding:
    return Finding(
        source="http",
        resource=_name(page),
        type="",
        path=path,
        desired=desired,
        live=live,
        verdict="equal" if good else "error",
        message=message,
    )


def _name(page: Page) -> str:
    method = page.get("method") or "GET"
    return str(page["url"]) if method == "GET" else f"{method} {page['url']}"
