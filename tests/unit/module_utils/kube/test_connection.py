# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import Reference
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.connection import (
    AKS_SCOPE,
    aks_configuration,
    configuration,
    private_hint,
    secrets_of,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.lookup import Azure, Lookup

CLUSTER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
VAULT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"


def kubeconfig(server: str = "https://one.example", **user: str) -> dict[str, t.Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": "Y2E="}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "a", "context": {"cluster": "c", "user": "u"}},
            {"name": "b", "context": {"cluster": "c", "user": "u"}},
        ],
        "current-context": "a",
    }


class Arm:
    """Azure as far as these functions ask it."""

    def __init__(self, **answers: t.Any) -> None:
        self.answers, self.tokens = answers, 0
        self.asked: list[str] = []
        self.cloud = t.cast("t.Any", None)

    def post(self, path: str, api_version: str, *, doing: str) -> t.Any:
        self.asked.append(path)
        answer = self.answers["post"]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get(self, path: str, api_version: str, *, doing: str) -> t.Any:
        assert api_version
        self.asked.append(path)
        if path not in self.answers.get("get", {}):
            raise ArmError("not found", where=path, status=404)
        return self.answers["get"][path]

    def token(self, scope: str) -> str:
        assert scope == AKS_SCOPE
        self.tokens += 1
        return f"token-{self.tokens}"

    def requests(self) -> dict[str, int]:
        return {"GET": len(self.asked)}


def test_a_kubeconfig_gives_address_and_token() -> None:
    found = configuration({"kubeconfig": kubeconfig(token="t0ken")})
    assert found.host == "https://one.example"
    assert "t0ken" in str(found.api_key)


def test_options_win_over_the_kubeconfig(tmp_path: t.Any) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(kubeconfig(token="t0ken")))
    options = {"host": "https://two.example/", "api_key": "mine", "validate_certs": False, "ca_cert": "/ca.pem"}
    found = configuration({"kubeconfig": str(path), "context": "b", **options})
    assert (found.host, found.verify_ssl, found.ssl_ca_cert) == ("https://two.example", False, "/ca.pem")
    assert found.get_api_key_with_prefix("BearerToken", alias="authorization") == "Bearer mine"


def test_a_host_needs_no_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert configuration({"host": "https://two.example", "api_key": "mine"}).host == "https://two.example"


@pytest.mark.parametrize(
    "options",
    [{"kubeconfig": "/nowhere/config"}, {"kubeconfig": kubeconfig(), "context": "missing"}, {"kubeconfig": {}}],
)
def test_what_gives_no_connection_is_one_sentence(options: dict[str, t.Any]) -> None:
    with pytest.raises(InputError, match="it gives no connection") as caught:
        configuration(options)
    assert "\n" not in str(caught.value)


def test_secrets_inside_a_kubeconfig_are_known() -> None:
    assert secrets_of(kubeconfig(token="a", username="not one", **{"client-key-data": "b"})) == {"a", "b"}
    assert secrets_of("/a/path") == set()


def test_aks_is_reached_with_a_token_that_is_renewed() -> None:
    encoded = base64.b64encode(yaml.safe_dump(kubeconfig("https://aks.example:443")).encode()).decode()
    arm = Arm(post={"kubeconfigs": [{"name": "clusterUser", "value": encoded}]})
    found = aks_configuration(t.cast("t.Any", arm), CLUSTER)
    assert found is not None
    assert found.host == "https://aks.example:443"
    first, second = (found.get_api_key_with_prefix("BearerToken", alias="authorization") for _ in range(2))
    assert first != second
    assert str(first).startswith("Bearer token-")
    assert arm.asked == [f"{CLUSTER}/listClusterUserCredential"]


def test_a_cluster_that_does_not_exist_is_none() -> None:
    assert aks_configuration(t.cast("t.Any", Arm(post=ArmError("no", status=404))), CLUSTER) is None
    with pytest.raises(ArmError):
        aks_configuration(t.cast("t.Any", Arm(post=ArmError("no", status=403))), CLUSTER)
    with pytest.raises(KubeError, match="holds no kubeconfig"):
        aks_configuration(t.cast("t.Any", Arm(post={"kubeconfigs": []})), CLUSTER)


def test_the_hint_names_the_host() -> None:
    assert "aks.example:443 is the address of a private cluster" in private_hint("https://aks.example:443")


def test_references_come_from_an_earlier_task_or_from_arm_once() -> None:
    live = {"properties": {"clientId": "from arm"}}
    arm = Arm(get={IDENTITY: live})
    given = Lookup(Azure(lambda: t.cast("t.Any", arm)), {IDENTITY.upper(): {"properties": {"clientId": "given"}}})
    assert given(Reference("ref", IDENTITY, "properties.clientId")) == "given"
    assert arm.asked == []
    asking = Lookup(Azure(lambda: t.cast("t.Any", arm)))
    assert [asking(Reference("ref", IDENTITY, p)) for p in ("properties.clientId", "properties.x")] == [
        "from arm",
        None,
    ]
    assert arm.asked == [IDENTITY]
    assert asking(Reference("ref", IDENTITY + "2", "properties.clientId")) is None


def test_a_type_without_a_known_version_is_an_input_error() -> None:
    unknown = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Unknown/things/t"
    with pytest.raises(InputError, match=r"no api-version is known for the type Microsoft\.Unknown/things"):
        Lookup(Azure(lambda: t.cast("t.Any", Arm())))(Reference("ref", unknown, "id"))


def test_secrets_of_a_vault_that_does_not_exist_are_unknown() -> None:
    azure = Azure(lambda: t.cast("t.Any", Arm()))
    assert azure.requests() == {}
    assert Lookup(azure)(Reference("secret", VAULT, "root")) is None
    assert azure.requests() == {"azure": {"GET": 1}}
    assert Lookup(azure)(Reference("secret_version", VAULT, "root")) is None
