"""How containerd of a node finds the registries that the lab plays."""

from __future__ import annotations

from pathlib import Path

from tests.lab.control.home import write_private

__all__ = ["hosts_folder", "play"]


def hosts_folder(home: Path) -> Path:
    """Return the folder with a `hosts.toml` for each registry that is played.

    https://github.com/containerd/containerd/blob/main/docs/hosts.md
    """
    return home / "registry" / "certs.d"


def play(home: Path, url: str, registry: str) -> None:
    """Let nodes find the images of a registry, by the name they have there, in the lab's registry at `url`."""
    mirror = f"{url}/v2/{registry}"
    text = f'server = "{mirror}"\n[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n  override_path = true\n'
    path = hosts_folder(home) / registry / "hosts.toml"
    if not path.exists() or path.read_text() != text:
        write_private(path, text)
