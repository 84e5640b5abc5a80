"""A registry daemon for tests, and small images made of nothing but JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.integration.support.lab import free_port_block
from tests.lab.azure.image_store import INDEXES, MANIFESTS
from tests.lab.build import builder
from tests.lab.control.home import PORTS, Home
from tests.lab.images.registry import Registry
from tests.lab.nodes.images import Image, archive

__all__ = ["digest_of", "held", "push", "push_image", "push_index", "registry_daemon"]

MANIFEST, INDEX = MANIFESTS[0], INDEXES[0]


@contextlib.contextmanager
def registry_daemon(folder: Path) -> Iterator[Registry]:
    """Run one in a lab of its own, whatever happens."""
    builder.build_missing()
    registry = Registry(Home(folder, free_port_block(size=len(PORTS))))
    try:
        registry.start()
        yield registry
    finally:
        registry.daemon.stop()


def push(registry: Registry, repository: str, tag: str, *, content: str = "one", architecture: str = "amd64") -> str:
    """Put an image with one layer there; its digest."""
    layer = content.encode()
    config = json.dumps({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []}})
    for blob in (layer, config.encode()):
        _upload(registry, repository, blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config.encode()),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    return _put(registry, repository, tag, manifest)


def push_image(registry: Registry, image: Image, repository: str, tag: str) -> str:
    """Put an image of the node's own making there; its digest."""
    with tarfile.open(archive(image)) as tar:
        config, layer = (tar.extractfile(name).read() for name in ("config.json", "layer.tar"))  # type: ignore[union-attr]
    for blob in (config, layer):
        _upload(registry, repository, blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    return _put(registry, repository, tag, manifest)


def push_index(registry: Registry, repository: str, tag: str, architectures: tuple[str, ...]) -> str:
    """Put an index there, with an image for each architecture; its digest."""
    items = []
    for architecture in architectures:
        digest = push(registry, repository, architecture, content=architecture, architecture=architecture)
        size = len(held(registry, repository, digest).content)
        platform = {"os": "linux", "architecture": architecture}
        items.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform})
    return _put(registry, repository, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": items})


def held(registry: Registry, repository: str, reference: str) -> httpx.Response:
    """What the registry answers about a manifest."""
    headers = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
    return httpx.get(f"{registry.url}/v2/{repository}/manifests/{reference}", headers=headers, trust_env=False)


def digest_of(content: bytes) -> str:
    """The digest of any content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _put(registry: Registry, repository: str, reference: str, manifest: dict[str, Any]) -> str:
    answer = httpx.put(
        f"{registry.url}/v2/{repository}/manifests/{reference}",
        content=json.dumps(manifest),
        headers={"Content-Type": manifest["mediaType"]},
        trust_env=False,
    )
    answer.raise_for_status()
    return str(answer.headers["Docker-Content-Digest"])


def _upload(registry: Registry, repository: str, blob: bytes) -> None:
    with httpx.Client(base_url=registry.url, trust_env=False) as client:
        place = client.post(f"/v2/{repository}/blobs/uploads/").headers["Location"]
        answer = client.put(place, params={**httpx.URL(place).params, "digest": digest_of(blob)}, content=blob)
        answer.raise_for_status()


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
