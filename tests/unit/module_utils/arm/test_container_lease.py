# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.container_lease import ContainerLease
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import Run


class Container:
    """A blob container as the lease operation of ARM treats it."""

    def __init__(self, *, exists: bool = True) -> None:
        self.exists, self.lease = exists, ""
        self.metadata: dict[str, str] = {}

    def post(self, path: str, _api_version: str, body: dict[str, t.Any], **_: t.Any) -> None:
        assert path == "/container/lease"
        if not self.exists:
            raise ArmError("not found", status=404, code="ContainerNotFound")
        wanted = body.get("leaseId") or body.get("proposedLeaseId") or ""
        if body["action"] == "Break":
            self.lease = ""
        elif self.lease not in ("", wanted) or (body["action"] == "Renew" and not self.lease):
            raise ArmError("leased", status=409, code="LeaseAlreadyPresent")
        else:
            self.lease = "" if body["action"] == "Release" else wanted

    def put(self, _path: str, _api_version: str, body: dict[str, t.Any], **_: t.Any) -> None:
        self.metadata = body["properties"]["metadata"]

    def get(self, *_: t.Any) -> dict[str, t.Any]:
        return {"properties": {"metadata": self.metadata}}


def lease(container: Container, name: str) -> ContainerLease:
    run = Run(id=name, pid=1, started=1, holder=f"{name}@host", since="today", keeper="", python_path="")
    return ContainerLease(t.cast("t.Any", container), container_id="/container", run=run)


def test_one_holder_at_a_time_and_the_other_is_named() -> None:
    container = Container()
    anna, bert = lease(container, "anna"), lease(container, "bert")
    assert anna.acquire(break_lease=False) is None
    assert anna.acquire(break_lease=False) is None
    assert bert.acquire(break_lease=False) == "anna@host since today"
    bert.release()
    assert container.lease == "anna"
    anna.release()
    assert bert.acquire(break_lease=False) is None


def test_breaking_is_explicit_and_the_first_holder_notices() -> None:
    container = Container()
    anna, bert = lease(container, "anna"), lease(container, "bert")
    anna.acquire(break_lease=False)
    assert bert.acquire(break_lease=True) is None
    assert anna.acquire(break_lease=False) == "bert@host since today"


def test_before_the_container_exists_there_is_nothing_to_hold() -> None:
    container = Container(exists=False)
    anna = lease(container, "anna")
    assert anna.acquire(break_lease=False) is None
    container.exists = True
    assert anna.acquire(break_lease=False) is None
    assert container.lease == "anna"


def test_a_failure_to_ask_is_not_a_free_lease() -> None:
    container = Container()
    container.post = lambda *_, **__: (_ for _ in ()).throw(ArmError("unavailable", status=503))  # type: ignore[method-assign]
    with pytest.raises(ArmError):
        lease(container, "anna").acquire(break_lease=False)
