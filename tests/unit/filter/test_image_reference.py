"""How an image is named."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.filter.image_reference import image_reference

IMAGE = {"registry": "docker.io", "repository": "library/mariadb", "tag": "10.11.18", "digest": ""}


@pytest.mark.parametrize(
    ("image", "registry", "reference"),
    [
        (IMAGE, "", "docker.io/library/mariadb:10.11.18"),
        (IMAGE, "our.azurecr.io", "our.azurecr.io/library/mariadb:10.11.18"),
        (IMAGE | {"digest": "sha256:1f"}, "", "docker.io/library/mariadb:10.11.18@sha256:1f"),
        ({**IMAGE, "tag": 8.6}, "", "docker.io/library/mariadb:8.6"),
    ],
)
def test_reference(image: dict[str, Any], registry: str, reference: str) -> None:
    assert image_reference(image, registry) == reference


@pytest.mark.parametrize("image", ["mariadb", {}, {**IMAGE, "tag": ""}])
def test_what_is_no_image(image: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="takes an image with registry, repository, tag"):
        image_reference(image)
