# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.registry import images
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.images import import_body, parse, plan

REGISTRY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerRegistry/registries/cr"
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ITEM = {"registry": "docker.io", "repository": "library/mariadb", "tag": "10.11.18", "digest": A}


def test_images_are_sorted_and_said_once() -> None:
    other = {**ITEM, "repository": "library/busybox"}
    names = [image.name for image in parse([ITEM, other, ITEM])]
    assert names == ["library/busybox:10.11.18", "library/mariadb:10.11.18"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repository": "Library/MariaDB"}, "'Library/MariaDB' is no repository"),
        ({"repository": ""}, "'' is no repository"),
        ({"tag": "10 11"}, "'10 11' is no tag"),
        ({"tag": ""}, "'' is no tag"),
        ({"digest": "sha256:abc"}, "'sha256:abc' is no digest"),
        ({"digest": A.upper()}, "is no digest"),
    ],
)
def test_what_is_no_image_is_refused(wrong: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse([{**ITEM, **wrong}])
    assert message in str(refused.value)
    assert "images: docker.io/" in str(refused.value)


@pytest.mark.parametrize("other", [{"digest": B}, {"registry": "quay.io"}])
def test_a_name_holds_one_image(other: dict[str, str]) -> None:
    with pytest.raises(InputError, match="different sources or digests"):
        parse([ITEM, {**ITEM, **other}])


@pytest.mark.parametrize(
    ("digest", "live", "verb", "verdict", "unverified"),
    [
        (A, None, "create", "missing", True),
        (A, {}, "create", "missing", False),
        (A, {"library/mariadb:10.11.18": B}, "update", "drift", False),
        (A, {"library/mariadb:10.11.18": A}, "", "", False),
        ("", {}, "create", "missing", False),
        ("", {"library/mariadb:10.11.18": B}, "", "", False),
        (A, {"library/other:10.11.18": A}, "create", "missing", False),
    ],
)
def test_what_is_imported(digest: str, live: dict[str, str] | None, verb: str, verdict: str, unverified: bool) -> None:
    outcome = plan(parse([{**ITEM, "digest": digest}]), live, registry_id=REGISTRY)
    assert [action.verb for action in outcome.actions] == ([verb] if verb else [])
    assert [finding.verdict for finding in outcome.findings] == ([verdict] if verdict else [])
    assert all(action.unverified is unverified for action in outcome.actions)


def test_a_drift_names_both_digests() -> None:
    outcome = plan(parse([ITEM]), {"library/mariadb:10.11.18": B}, registry_id=REGISTRY)
    (finding,), (action,) = outcome.findings, outcome.actions
    assert (finding.path, finding.desired, finding.live) == ("digest", A, B)
    assert action.changes[0].to_dict() == {"path": "digest", "desired": A, "live": B}
    assert action.resource == f"{REGISTRY}/images/library/mariadb:10.11.18"


def test_the_digest_is_asked_for_and_the_tag_is_only_its_name() -> None:
    (image,) = parse([ITEM])
    assert import_body(image, force=True) == {
        "source": {"registryUri": "docker.io", "sourceImage": f"library/mariadb@{A}"},
        "targetTags": ["library/mariadb:10.11.18"],
        "mode": "Force",
    }
    (image,) = parse([{**ITEM, "digest": ""}])
    body = import_body(image, force=False)
    assert (body["source"]["sourceImage"], body["mode"]) == ("library/mariadb:10.11.18", "NoForce")


@pytest.mark.sabotage
def test_a_wrong_digest_that_is_accepted_turns_the_proof_red(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(wanted: list[images.Image], live: dict[str, str] | None, *, registry_id: str) -> images.Outcome:
        accepted = {image.name: image.digest for image in wanted if image.name in (live or {})}
        return images.plan(wanted, accepted, registry_id=registry_id)

    proof = test_a_drift_names_both_digests
    monkeypatch.setitem(proof.__globals__, "plan", careless)
    with pytest.raises(ValueError, match="not enough values"):
        proof()
