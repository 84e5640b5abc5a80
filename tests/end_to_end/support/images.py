"""Other images than those that the platform names."""

from __future__ import annotations

import json

import yaml

from tests.integration.support.lab import ROOT, Lab

__all__ = ["image_overrides"]

# Its module is not published, so that the lab leaves it out (inventories/lab).
NOT_BUILT = {"grafana"}


def image_overrides(lab: Lab, **tags: str) -> dict[str, dict[str, str]]:
    """Return `platform_image_overrides` with other tags for some images; the lab has built each that it runs."""
    built = json.loads((lab.home / "images.json").read_text(encoding="utf-8"))
    table = yaml.safe_load((ROOT / "roles" / "platform" / "files" / "images.yml").read_text(encoding="utf-8"))
    images = {name: {**image, "tag": tags.get(name, image["tag"])} for name, image in table.items()}
    return {
        name: {"tag": image["tag"], "digest": built["{registry}/{repository}:{tag}".format(**image)]}
        for name, image in images.items()
        if name not in NOT_BUILT
    }
