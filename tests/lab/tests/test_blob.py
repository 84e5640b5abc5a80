"""Blob storage, driven by the unmodified azure-storage-blob: who may do what, and what nobody may."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContainerClient

from tests.lab.azure import blob
from tests.lab.azure.behaviours import blob_containers
from tests.lab.blob.testing import STORAGE_VERSION, Storage, storage_account


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with storage_account(tmp_path_factory.mktemp("storage")) as account:
        yield account


def client(
    storage: Storage, name: str, *, days: int = 0, credential: Any = None, second: bool = False
) -> ContainerClient:
    url = storage.container(name, days=days) if not second else f"{storage.address}/{name}"
    return ContainerClient.from_container_url(url, credential or storage.credential(second=second), retry_total=0)


def names(container: ContainerClient) -> list[str]:
    return [found.name for found in container.list_blobs()]


def refused(call: Callable[[], Any], status: int, code: str) -> None:
    with pytest.raises(HttpResponseError) as found:
        call()
    assert (found.value.status_code, found.value.error_code) == (status, code)  # type: ignore[attr-defined]


def test_blobs_are_written_in_blocks_listed_and_read(storage: Storage) -> None:
    container = client(storage, "blocks")
    made = container.get_blob_client("a/b c.bin")
    made.stage_block("one", b"first ")
    made.stage_block("two", b"second")
    assert [found.name for found in container.list_blobs()] == []
    with pytest.raises(ResourceNotFoundError):
        made.download_blob()
    made.commit_block_list([BlobBlock("one"), BlobBlock("two")], metadata={"manifest": "{}"})
    assert made.download_blob().readall() == b"first second"
    [listed] = container.list_blobs(name_starts_with="a/", include=["metadata"])
    assert (listed.name, listed.size, listed.metadata) == ("a/b c.bin", 12, {"manifest": "{}"})
    made.delete_blob()
    assert list(container.list_blobs()) == []


def test_a_reader_reads_and_nothing_else(storage: Storage) -> None:
    client(storage, "readers").upload_blob("a", b"content")
    reader = client(storage, "readers", second=True)
    assert reader.download_blob("a").readall() == b"content"
    assert reader.get_container_properties().name == "readers"
    for call in (lambda: reader.upload_blob("b", b""), lambda: reader.delete_blob("a")):
        refused(call, 403, "AuthorizationPermissionMismatch")


def test_who_may_only_add_makes_a_blob_and_never_changes_one(storage: Storage) -> None:
    container, actions = client(storage, "added"), ["read", "add/action"]
    storage.allow_actions(actions, storage.azure.settings.second_object_id, "3", container=container.container_name)
    container.upload_blob("there", b"content")
    adder = client(storage, "added", second=True)
    adder.upload_blob("new", b"content", overwrite=True)
    made = adder.get_blob_client("new")
    made.stage_block("more", b"other")
    for call in (
        lambda: adder.upload_blob("there", b"other", overwrite=True),
        lambda: made.commit_block_list([BlobBlock("more")]),
        lambda: made.set_blob_metadata({"manifest": "other"}),
        made.delete_blob,
    ):
        refused(call, 403, "AuthorizationPermissionMismatch")
    assert [adder.download_blob(name).readall() for name in ("new", "there")] == [b"content"] * 2


class Token:
    """A credential with any token."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self.token, 4_000_000_000)


def test_only_a_token_for_storage_counts(storage: Storage) -> None:
    simulator, settings = storage.azure.simulator, storage.azure.settings
    known = simulator.directory.by_object_id(settings.object_id)
    assert known is not None
    for_arm, _ = simulator.tokens.issue(known, settings.base_url)
    too_old, _ = simulator.tokens.issue(known, blob.AUDIENCE, lifetime=-10)
    for token in (for_arm, too_old, "none"):
        refused(
            functools.partial(names, client(storage, "tokens", credential=Token(token))),
            401,
            "InvalidAuthenticationInfo",
        )


def test_what_arm_does_not_have_is_not_there(storage: Storage) -> None:
    refused(lambda: list(client(storage, "unknown", second=True).list_blobs()), 404, "ContainerNotFound")
    refused(client(storage, "known").delete_container, 403, "AuthorizationPermissionMismatch")


def test_a_container_that_is_made_anew_is_empty(storage: Storage) -> None:
    container = client(storage, "again")
    container.upload_blob("a", b"content")
    with storage.azure.client() as arm:
        place = f"{storage.scope}/blobServices/default/containers/again?api-version={STORAGE_VERSION}"
        assert arm.delete(place).is_success
    assert names(client(storage, "again")) == []


@pytest.fixture
def kept(storage: Storage, request: pytest.FixtureRequest) -> ContainerClient:
    """A container with a policy and one blob."""
    container = client(storage, f"kept-{len(request.node.name)}", days=1)
    container.upload_blob("a", b"content")
    return container


def test_a_blob_under_a_policy_stays_as_it_is(kept: ContainerClient) -> None:
    made = kept.get_blob_client("a")
    made.stage_block("more", b"other")
    calls: list[Callable[[], Any]] = [
        made.delete_blob,
        lambda: made.upload_blob(b"other", overwrite=True),
        lambda: made.commit_block_list([BlobBlock("more")]),
        lambda: made.set_blob_metadata({"manifest": "other"}),
    ]
    for call in calls:
        refused(call, 409, "BlobImmutableDueToPolicy")
    assert made.download_blob().readall() == b"content"


def test_after_its_time_it_can_be_removed_and_not_written(
    kept: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob, "DAY", 0)
    refused(lambda: kept.upload_blob("a", b"other", overwrite=True), 409, "BlobImmutableDueToPolicy")
    kept.delete_blob("a")
    assert list(kept.list_blobs()) == []


def delete_container(storage: Storage, container: ContainerClient) -> tuple[int, str]:
    """Delete it as a resource; status and code of the error."""
    place = f"{storage.scope}/blobServices/default/containers/{container.container_name}"
    with storage.azure.client() as arm:
        answer = arm.delete(f"{place}?api-version={STORAGE_VERSION}")
    return answer.status_code, "" if answer.is_success else answer.json()["error"]["code"]


def test_a_container_with_a_policy_is_deleted_once_it_is_empty(
    storage: Storage, kept: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.upload_blob("b", b"content")
    monkeypatch.setattr(blob, "DAY", 0)
    kept.delete_blob("a")
    assert delete_container(storage, kept) == (409, "ContainerProtectedFromDeletion")
    assert names(kept) == ["b"]
    kept.delete_blob("b")
    assert delete_container(storage, kept) == (200, "")


@pytest.mark.sabotage
def test_without_its_policy_a_container_is_deleted_with_its_blobs(
    storage: Storage, kept: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_containers, "POLICY_TYPE", "nothing/has/this")
    assert delete_container(storage, kept) == (200, "")


@pytest.mark.sabotage
def test_without_the_policy_a_blob_is_overwritten_and_removed(
    kept: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob, "POLICY_TYPE", "nothing/has/this")
    kept.upload_blob("a", b"other", overwrite=True)
    kept.delete_blob("a")


@pytest.mark.sabotage
def test_without_its_check_a_reader_writes(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    client(storage, "open")
    allowed = "tests.lab.azure.authorization.Authorization.allowed"
    monkeypatch.setattr(allowed, lambda *_, **__: True)
    client(storage, "open", second=True).upload_blob("a", b"content")
