"""The registry of a lab, and importImage: it copies manifests and blobs where a registry runs, else it remembers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError

from tests.lab.azure import image_store
from tests.lab.azure.testing import Running, serve
from tests.lab.images.registry import Registry
from tests.lab.tests.registries import held, push, push_index, registry_daemon
from tests.lab.tests.sdk import LOCATION, Clients
from tests.tools import pin_images

REGISTRY_AUDIENCE = "https://containerregistry.azure.net"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry_daemon(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def azure(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serve(tmp_path_factory.mktemp("azure"), registry_url=registry.url) as running:
        yield running


@pytest.fixture
def acr(azure: Running, group: str) -> tuple[Clients, str, str]:
    """Make a production registry; clients, resource group and its name."""
    return made_registry(azure, group)


def made_registry(azure: Running, group: str) -> tuple[Clients, str, str]:
    sdk, name, rg = Clients(azure), "acr" + uuid.uuid4().hex[:10], group.rsplit("/", 1)[-1]
    policies = {"azureADAuthenticationAsArmPolicy": {"status": "disabled"}}
    body = {"location": LOCATION, "sku": {"name": "Premium"}, "properties": {"policies": policies}}
    sdk.registries.registries.begin_create(rg, name, body).result(30)
    return sdk, rg, name


def import_image(acr: tuple[Clients, str, str], image: str, tag: str, *, force: bool = False) -> None:
    sdk, rg, name = acr
    body = {
        "source": {"registryUri": "docker.io", "sourceImage": image},
        "targetTags": [tag],
        "mode": "Force" if force else "NoForce",
    }
    sdk.registries.registries.begin_import_image(rg, name, body).result(60)


def data_plane(
    azure: Running, name: str, repository: str, reference: str, *, audience: str, second: bool = False
) -> Any:
    """Ask for a manifest the way a client of a registry does."""
    host, settings = f"{name}.azurecr.io", azure.settings
    principal = azure.simulator.directory.by_object_id(settings.second_object_id if second else settings.object_id)
    assert principal
    entra, _ = azure.simulator.tokens.issue(principal, audience)
    with httpx.Client(
        base_url=f"{azure.base_url}/registries/{host}", verify=azure.context(), trust_env=False
    ) as client:
        form = {"grant_type": "access_token", "service": host, "access_token": entra}
        exchanged = client.post("/oauth2/exchange", data=form)
        if exchanged.status_code != 200:
            return exchanged
        form = {"service": host, "scope": f"repository:{repository}:pull", **exchanged.json()}
        token = client.post("/oauth2/token", data=form).json()["access_token"]
        return client.head(f"/v2/{repository}/manifests/{reference}", headers={"Authorization": f"Bearer {token}"})


def test_an_import_copies_manifest_and_layers(
    registry: Registry, azure: Running, acr: tuple[Clients, str, str]
) -> None:
    digest = push(registry, "docker.io/library/thing", "1.0")
    import_image(acr, "library/thing:1.0", "library/thing:1.0")
    target = f"{acr[2]}.azurecr.io/library/thing"
    copied = held(registry, target, "1.0")
    assert copied.status_code == 200, copied.text
    assert copied.headers["Docker-Content-Digest"] == digest
    layer = copied.json()["layers"][0]["digest"]
    blob = httpx.get(f"{registry.url}/v2/{target}/blobs/{layer}", trust_env=False)
    assert (blob.status_code, blob.text) == (200, "one")
    shown = data_plane(azure, acr[2], "library/thing", "1.0", audience=REGISTRY_AUDIENCE)
    assert (shown.status_code, shown.headers["Docker-Content-Digest"]) == (200, digest)


def test_an_index_is_copied_with_all_its_images(registry: Registry, acr: tuple[Clients, str, str]) -> None:
    digest = push_index(registry, "docker.io/library/many", "1.0", ("amd64", "arm64"))
    import_image(acr, f"library/many@{digest}", "library/many:1.0")
    copied = held(registry, f"{acr[2]}.azurecr.io/library/many", "1.0")
    assert copied.headers["Docker-Content-Digest"] == digest
    for item in copied.json()["manifests"]:
        assert held(registry, f"{acr[2]}.azurecr.io/library/many", item["digest"]).status_code == 200


@pytest.mark.parametrize(
    "image", ["library/unknown:1.0", "library/thing:no-such-tag", f"library/thing@sha256:{'0' * 64}"]
)
def test_what_the_source_does_not_hold_is_refused(
    image: str, registry: Registry, acr: tuple[Clients, str, str]
) -> None:
    push(registry, "docker.io/library/thing", "1.0")
    with pytest.raises(HttpResponseError, match="MANIFEST_UNKNOWN"):
        import_image(acr, image, "library/thing:1.0")
    sdk, group, name = acr
    assert sdk.registries.registries.get(group, name).properties.provisioning_state == "Succeeded"
    assert held(registry, f"{acr[2]}.azurecr.io/library/thing", "1.0").status_code == 404


def test_a_tag_is_replaced_only_by_force(registry: Registry, azure: Running, acr: tuple[Clients, str, str]) -> None:
    first = push(registry, "docker.io/library/moving", "1.0", content="first")
    import_image(acr, "library/moving:1.0", "library/moving:1.0")
    second = push(registry, "docker.io/library/moving", "1.0", content="second")
    with pytest.raises(HttpResponseError, match="already exists in target registry"):
        import_image(acr, "library/moving:1.0", "library/moving:1.0")
    target = f"{acr[2]}.azurecr.io/library/moving"
    assert held(registry, target, "1.0").headers["Docker-Content-Digest"] == first
    import_image(acr, "library/moving:1.0", "library/moving:1.0", force=True)
    assert held(registry, target, "1.0").headers["Docker-Content-Digest"] == second
    shown = data_plane(azure, acr[2], "library/moving", "1.0", audience=REGISTRY_AUDIENCE)
    assert shown.headers["Docker-Content-Digest"] == second


def test_the_data_plane_knows_whom_it_answers(azure: Running, acr: tuple[Clients, str, str]) -> None:
    wrong_audience = data_plane(azure, acr[2], "library/thing", "1.0", audience=azure.base_url)
    assert wrong_audience.status_code == 401
    powerless = data_plane(azure, acr[2], "library/thing", "1.0", audience=REGISTRY_AUDIENCE, second=True)
    assert powerless.status_code == 401
    unknown = data_plane(azure, acr[2], "library/thing", "1.0", audience=REGISTRY_AUDIENCE)
    assert unknown.status_code == 404


def test_without_a_registry_an_import_is_remembered(tmp_path: Path) -> None:
    with serve(tmp_path) as azure:
        with azure.client() as client:
            group = f"{azure.subscription}/resourceGroups/rg"
            client.put(f"{group}?api-version=2021-04-01", json={"location": LOCATION})
        acr, digest = made_registry(azure, group), "sha256:" + "ab" * 32
        import_image(acr, f"library/thing@{digest}", "library/thing:1.0")
        shown = data_plane(azure, acr[2], "library/thing", "1.0", audience=REGISTRY_AUDIENCE)
        assert shown.headers["Docker-Content-Digest"] == digest


@pytest.mark.sabotage
def test_an_import_that_only_remembers_turns_the_proof_red(
    registry: Registry, azure: Running, acr: tuple[Clients, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def remember(self: image_store.Images, **_: Any) -> None:
        return None

    monkeypatch.setattr(image_store.Images, "copy", remember)
    with pytest.raises(AssertionError):
        test_an_import_copies_manifest_and_layers(registry, azure, acr)


# --- make pin-images, against a real registry


def table_entry(registry: Registry, repository: str, tag: str) -> tuple[dict[str, str], dict[str, str]]:
    entry = {"registry": "published.example", "repository": repository, "tag": tag, "platform": "linux/amd64"}
    return entry, {"published.example": registry.url}


def test_a_pin_is_the_digest_that_is_published(registry: Registry) -> None:
    digest = push_index(registry, "library/many", "2.0", ("amd64", "arm64"))
    entry, hosts = table_entry(registry, "library/many", "2.0")
    assert pin_images.resolve(entry, hosts=hosts) == digest
    single = push(registry, "library/single", "2.0")
    entry, hosts = table_entry(registry, "library/single", "2.0")
    assert pin_images.resolve(entry, hosts=hosts) == single


def test_an_image_for_other_machines_is_not_pinned(registry: Registry) -> None:
    push_index(registry, "library/arm", "1.0", ("arm64",))
    entry, hosts = table_entry(registry, "library/arm", "1.0")
    with pytest.raises(pin_images.PinError, match="serves linux/arm64, not linux/amd64"):
        pin_images.resolve(entry, hosts=hosts)


def test_nothing_is_written_while_one_image_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "images.yml"
    table.write_text(pin_images.TABLE.read_text())
    monkeypatch.setattr(pin_images, "TABLE", table)

    def resolve(image: dict[str, str]) -> str:
        if "mariadb" in image["repository"]:
            raise pin_images.PinError("docker.io cannot be reached")
        return "sha256:" + "0" * 64

    monkeypatch.setattr(pin_images, "resolve", resolve)
    with pytest.raises(SystemExit, match=r"nothing was written:\n  mariadb: docker.io cannot be reached"):
        pin_images.main()
    assert (
        table.read_text()
        == Path(pin_images.__file__).parents[2].joinpath("roles/platform/files/images.yml").read_text()
    )


def test_pins_change_nothing_but_digests() -> None:
    text = "---\n# Why.\none:\n  tag: '1'\n  digest: \"\"\n\ntwo:\n  digest: sha256:old\n  tag: '2'\n"
    assert pin_images.pinned(text, {"one": "sha256:a", "two": "sha256:b"}) == (
        "---\n# Why.\none:\n  tag: '1'\n  digest: sha256:a\n\ntwo:\n  digest: sha256:b\n  tag: '2'\n"
    )
    with pytest.raises(pin_images.PinError, match="three"):
        pin_images.pinned(text, {"three": "sha256:c"})
