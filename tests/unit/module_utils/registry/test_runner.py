# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    InputError,
    LeaseError,
    OutcomeError,
    PlanMismatch,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.images import Image, parse
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.runner import (
    Options,
    Runner,
)

REGISTRY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerRegistry/registries/cr"
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WANTED = parse(
    [
        {"registry": "docker.io", "repository": "library/mariadb", "tag": "1", "digest": A},
        {"registry": "docker.io", "repository": "library/nginx", "tag": "1", "digest": ""},
    ]
)


class FakeRegistry:
    """Holds digests by name; `brings` is what an import without a digest, or a wrong one, leaves there."""

    def __init__(self, held: dict[str, str] | None, *, brings: str = "") -> None:
        self.held, self.brings = held, brings
        self.imports: list[tuple[str, bool]] = []

    def login_server(self) -> str | None:
        return None if self.held is None else "cr.azurecr.io"

    def digest(self, server: str, image: Image) -> str | None:
        assert self.held is not None
        return self.held.get(image.name)

    def bring(self, image: Image, *, force: bool) -> None:
        assert self.held is not None
        self.imports.append((image.name, force))
        self.held[image.name] = self.brings or image.digest or B


def run(registry: FakeRegistry, *, check: bool = False, expect_plan: str = "") -> dict[str, t.Any]:
    options = Options(registry_id=REGISTRY, check=check, expect_plan=expect_plan)
    return Runner(registry, options).run(WANTED)


def test_the_plan_of_a_check_is_that_of_the_run_and_the_second_run_does_nothing() -> None:
    registry = FakeRegistry({"library/mariadb:1": B})
    predicted = run(registry, check=True)
    assert registry.imports == []
    done = run(registry, expect_plan=str(predicted["plan_digest"]))
    assert done["plan"] == predicted["plan"]
    assert done["findings"] == predicted["findings"]
    assert registry.imports == [("library/mariadb:1", True), ("library/nginx:1", False)]
    again = run(registry)
    assert (again["changed"], again["findings"]) == (False, [])


def test_a_check_before_the_registry_exists_reports_all_as_missing() -> None:
    result = run(FakeRegistry(None), check=True)
    assert [finding["verdict"] for finding in result["findings"]] == ["missing", "missing"]
    with pytest.raises(InputError, match="does not exist"):
        run(FakeRegistry(None))


def test_another_plan_than_the_approved_one_imports_nothing() -> None:
    registry = FakeRegistry({})
    with pytest.raises(PlanMismatch):
        run(registry, expect_plan="sha256:other")
    assert registry.imports == []


def test_a_digest_that_is_not_the_pinned_one_fails_and_says_what_was_done() -> None:
    registry = FakeRegistry({}, brings=B)
    with pytest.raises(OutcomeError, match="after the import") as failed:
        run(registry)
    assert registry.imports == [("library/mariadb:1", False)]
    assert failed.value.outcome["plan"] == []


def test_a_lost_lease_stops_before_the_next_import() -> None:
    registry = FakeRegistry({})

    def lost() -> None:
        raise LeaseError("lost")

    with pytest.raises(OutcomeError, match="lost"):
        Runner(registry, Options(registry_id=REGISTRY), hold=lambda: lost).run(WANTED)
    assert registry.imports == []


@pytest.mark.sabotage
def test_an_import_that_nobody_looks_at_turns_the_proof_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "_proven", lambda self, server, image: image.digest or B)
    with pytest.raises(pytest.fail.Exception):
        test_a_digest_that_is_not_the_pinned_one_fails_and_says_what_was_done()
