"""Small images of one static program, made here: what a node needs before any registry serves it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.build.builder import cache_root

__all__ = ["Image", "archive"]

EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image: `files` maps a path in it (no leading slash) to a file here; links are followed.

    `user` is the numeric user it runs as, with its group; `scratch` are folders that anybody may write to.
    """

    name: str
    files: dict[str, Path]
    entrypoint: list[str]
    user: str = "65532:65532"
    scratch: tuple[str, ...] = ()


def archive(image: Image) -> Path:
    """Return the image as a file that `ctr images import` reads; made when it is not in the cache.

    The format: https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
    """
    digest = hashlib.sha256(json.dumps([image.name, image.entrypoint, image.user, image.scratch]).encode())
    for inside, path in sorted(image.files.items()):
        digest.update(f"{inside}\0{path.resolve()}".encode())
    label = image.name.rpartition("/")[2].replace(":", "-")
    target = cache_root() / "images" / f"{label}-{digest.hexdigest()[:12]}.tar"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as aside:
            _write(image, Path(aside.name))
        Path(aside.name).rename(target)
    return target


def _write(image: Image, target: Path) -> None:
    with tempfile.TemporaryFile(dir=target.parent) as layer:
        with tarfile.open(fileobj=layer, mode="w") as tar:
            folders = {str(parent) for inside in image.files for parent in Path(inside).parents} - {"."}
            for folder in sorted(folders):
                tar.addfile(_entry(folder, kind=tarfile.DIRTYPE, mode=0o755))
            for folder in image.scratch:
                tar.addfile(_entry(folder, kind=tarfile.DIRTYPE, mode=0o1777))
            for inside, path in sorted(image.files.items()):
                entry = _entry(inside, size=path.stat().st_size, mode=0o755)
                with path.open("rb") as content:
                    tar.addfile(entry, content)
        size = layer.tell()
        layer.seek(0)
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": EPOCH,
            "config": {"Entrypoint": image.entrypoint, "User": image.user, "Env": ["PATH=/bin:/usr/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [image.name], "Layers": ["layer.tar"]}]
        with tarfile.open(target, mode="w") as tar:
            for name, document in (("config.json", config), ("manifest.json", manifest)):
                content_bytes = json.dumps(document, sort_keys=True).encode()
                tar.addfile(_entry(name, size=len(content_bytes)), io.BytesIO(content_bytes))
            layer.seek(0)
            tar.addfile(_entry("layer.tar", size=size), layer)


def _entry(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode = kind, size, mode
    return entry
