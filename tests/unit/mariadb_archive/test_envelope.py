"""Blobs: sealed as a whole, described by a manifest that cannot be exchanged."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator

import pytest
from mariadb_archive import manifests
from mariadb_archive.envelope import Archive, Entry
from mariadb_archive.errors import BackupError
from mariadb_archive.manifests import Log
from mariadb_archive.store import AlreadyThere

from tests.unit.mariadb_archive.memory import MemoryStore, PlainKey

PLAIN = [b"changes " * 1000, os.urandom(3 << 20)]


def log(number: int = 1) -> Log:
    return Log(
        instance="mariadb",
        lineage="0123456789ab",
        server_version="10.11.18",
        file=f"mariadb-bin.{number:06}",
        number=number,
        before={"0": "0-1-5"},
        after={"0": "0-1-9"},
        first=100,
        last=200,
        until=201,
    )


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def archive(store: MemoryStore) -> Archive:
    made = Archive(store, PlainKey())
    made.add(log(), PLAIN)
    return made


def only(archive: Archive) -> Entry:
    [entry] = archive.entries("mariadb")
    return entry


def test_content_and_facts_come_back(archive: Archive) -> None:
    entry = only(archive)
    assert b"".join(archive.read(entry)) == b"".join(PLAIN)
    assert dataclasses.replace(entry.manifest, stored=None) == log()
    assert entry.manifest.stored is not None
    assert entry.manifest.stored.plain_bytes == sum(map(len, PLAIN))
    assert entry.manifest.stored.key_id == "key-1"


def test_nothing_is_readable_in_the_store(archive: Archive, store: MemoryStore) -> None:
    content, manifest = store.content[log().name]
    assert b"changes changes" not in content
    assert manifest.isascii()
    assert len(manifest) < 4000  # metadata of a blob: 8 KiB


def test_what_breaks_while_it_is_read_is_not_stored(store: MemoryStore) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"half"
        raise BackupError("the disk broke")

    with pytest.raises(BackupError, match="the disk broke"):
        Archive(store, PlainKey()).add(log(), breaking())
    assert not store.content


def test_nothing_is_overwritten(archive: Archive, store: MemoryStore) -> None:
    before = dict(store.content)
    with pytest.raises(AlreadyThere):
        archive.add(log(), [b"other"])
    assert store.content == before


def test_another_key_does_not_open(archive: Archive, store: MemoryStore) -> None:
    with pytest.raises(BackupError, match=r"mariadb-bin.000001: key-1 does not unwrap"):
        list(Archive(store, PlainKey("key-2")).read(only(archive)))


CHANGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a bit": (lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "piece 3 is not what was stored"),
    "cut off": (lambda content: content[:-100], "its manifest says"),
    "a header of something else": (lambda content: b"x" + content[1:], "is not of this program"),
    "a header that lies": (lambda content: content.replace(b"000001", b"000002", 1), "the content of .*000002"),
    "a key that was not wrapped": (
        lambda content: content.replace(b'"key": "', b'"key": "A', 1)[:-1],
        "does not unwrap|header",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_a_changed_blob_is_refused(
    archive: Archive, store: MemoryStore, change: Callable[[bytes], bytes], message: str
) -> None:
    store.change(log().name, change)
    with pytest.raises(BackupError, match=message):
        list(archive.read(only(archive)))


def test_a_cut_is_found_by_its_pieces_also_when_the_manifest_is_right(archive: Archive, store: MemoryStore) -> None:
    entry = only(archive)
    store.change(log().name, lambda content: content[:-100])
    with pytest.raises(BackupError, match="is not what was stored"):
        list(archive.read(entry))


def test_a_blob_in_the_place_of_another_is_refused(archive: Archive, store: MemoryStore) -> None:
    archive.add(log(2), PLAIN)
    store.content[log(1).name] = (store.content[log(2).name][0], store.content[log(1).name][1])
    first = archive.entries("mariadb")[0]
    with pytest.raises(BackupError, match=r"has the content of mariadb/0123456789ab/log/mariadb-bin.000002"):
        list(archive.read(first))


def test_a_changed_manifest_is_refused(archive: Archive, store: MemoryStore) -> None:
    content, manifest = store.content[log().name]
    store.content[log().name] = (content, manifest.replace('"until":201', '"until":999'))
    entry = only(archive)
    with pytest.raises(BackupError, match=r"manifest .* is not the one it was stored with"):
        archive.check(entry)


@pytest.mark.sabotage
def test_without_its_signature_a_changed_manifest_passes(
    archive: Archive, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, manifest = store.content[log().name]
    store.content[log().name] = (content, manifest.replace('"until":201', '"until":999'))
    monkeypatch.setattr("hmac.compare_digest", lambda one, other: True)
    archive.check(only(archive))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("{}", "cannot be read"),
        (json.dumps({"version": 2, "kind": "log"}), "is of version 2; this program reads 1"),
        (json.dumps({"version": 1, "kind": "log", "stored": {}}), "cannot be read"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, message: str) -> None:
    with pytest.raises(BackupError, match=message):
        manifests.decode("mariadb/0123456789ab/log/mariadb-bin.000001", text)
