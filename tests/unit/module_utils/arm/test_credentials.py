# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import threading
import time
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import AUTH_OPTIONS, auth_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.credentials import (
    Identity,
    SharedToken,
    build_credential,
    resolve_cloud,
    resolve_identity,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError, AuthenticationError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

PROFILES = """
[default]
client_id=from-default
secret=s1
tenant=t1
[prod]
client_id=from-prod
secret=s2
tenant=t2
cloud_environment=AzureChinaCloud
"""


@pytest.fixture
def profiles(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "credentials"
    path.write_text(PROFILES, encoding="utf-8")
    return path


SOURCES = [
    pytest.param({"client_id": "o", "secret": "x"}, {"AZURE_CLIENT_ID": "e"}, "options", "o", id="options win"),
    pytest.param({"ad_user": "u", "client_id": "o"}, {}, "options", "o", id="a user among the options"),
    pytest.param({}, {"AZURE_CLIENT_ID": "e"}, "env", "e", id="environment"),
    pytest.param(
        {}, {"AZURE_PROFILE": "prod", "AZURE_CLIENT_ID": "e"}, "credential_file", "from-prod", id="env profile"
    ),
    pytest.param({"profile": "prod"}, {"AZURE_CLIENT_ID": "e"}, "credential_file", "from-prod", id="profile option"),
    pytest.param({}, {}, "credential_file", "from-default", id="default profile"),
    pytest.param({"auth_source": "env"}, {}, "env", None, id="env only"),
    pytest.param(
        {"auth_source": "credential_file"}, {"AZURE_CLIENT_ID": "e"}, "credential_file", "from-default", id="file"
    ),
    pytest.param({"auth_source": "cli"}, {"AZURE_CLIENT_ID": "e"}, "cli", None, id="cli only"),
    pytest.param({"auth_source": "msi"}, {"AZURE_CLIENT_ID": "e"}, "msi", "e", id="managed identity"),
]


@pytest.mark.parametrize(("params", "environ", "source", "client_id"), SOURCES)
def test_who_we_are(
    profiles: pathlib.Path, params: dict[str, str], environ: dict[str, str], source: str, client_id: str | None
) -> None:
    found = resolve_identity(params, environ=environ, profile_file=profiles)
    assert (found.source, found.get("client_id")) == (source, client_id)


def test_without_anything_the_azure_cli_is_asked(tmp_path: pathlib.Path) -> None:
    assert resolve_identity({}, environ={}, profile_file=tmp_path / "none").source == "cli"


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("AZURE_SECRET", "secret"),
        ("AZURE_CLIENT_SECRET", "secret"),
        ("AZURE_TENANT", "tenant"),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_SUBSCRIPTION_ID", "subscription_id"),
        ("AZURE_FEDERATED_TOKEN_FILE", "federated_token_file"),
        ("AZURE_CLOUD_ENVIRONMENT", "cloud_environment"),
        ("AZURE_CERT_VALIDATION_MODE", "cert_validation_mode"),
        ("AZURE_X509_CERTIFICATE_PATH", "x509_certificate_path"),
        ("AZURE_DISABLE_INSTANCE_DISCOVERY", "disable_instance_discovery"),
    ],
)
def test_names_of_the_environment(name: str, option: str) -> None:
    assert resolve_identity({}, environ={"AZURE_CLIENT_ID": "e", name: "v"}).get(option) == "v"


def test_azcollections_name_wins_over_the_other() -> None:
    environ = {"AZURE_CLIENT_ID": "e", "AZURE_SECRET": "a", "AZURE_CLIENT_SECRET": "b"}
    assert resolve_identity({}, environ=environ).get("secret") == "a"


def test_the_cloud_comes_from_the_environment_whoever_we_are(profiles: pathlib.Path) -> None:
    environ = {"AZURE_CLOUD_ENVIRONMENT": "AzureUSGovernment"}
    found = resolve_identity({"client_id": "o"}, environ=environ, profile_file=profiles)
    assert found.get("cloud_environment") == "AzureUSGovernment"
    assert resolve_identity({"profile": "prod"}, environ=environ, profile_file=profiles).get("cloud_environment") == (
        "AzureChinaCloud"
    )


def test_an_unknown_profile_names_the_known_ones(profiles: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"no profile 'staging'.*Choose one of default, prod"):
        resolve_identity({"profile": "staging"}, environ={}, profile_file=profiles)


def test_a_broken_profile_file_does_not_leak_its_lines(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("secret hunter2\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        resolve_identity({"profile": "x"}, environ={}, profile_file=path)
    assert "hunter2" not in str(caught.value)


def test_an_identity_does_not_print_its_secret() -> None:
    assert "hunter2" not in repr(Identity("env", {"secret": "hunter2"}))


@pytest.mark.parametrize(
    ("name", "manager"),
    [
        (None, "https://management.azure.com"),
        ("AzureCloud", "https://management.azure.com"),
        ("AzureChinaCloud", "https://management.chinacloudapi.cn"),
        ("AZURE_US_GOVERNMENT", "https://management.usgovcloudapi.net"),
    ],
)
def test_clouds_by_name(name: str | None, manager: str) -> None:
    cloud = resolve_cloud(Identity("env", {"cloud_environment": name}))
    assert cloud.resource_manager == manager
    assert cloud.scope == f"{manager}/.default"


def test_an_unknown_cloud() -> None:
    with pytest.raises(InputError, match="Use one of AzureCloud"):
        resolve_cloud(Identity("env", {"cloud_environment": "AzureMarsCloud"}))


METADATA = {
    "name": "stack",
    "resourceManager": "https://management.stack.local/",
    "authentication": {
        "loginEndpoint": "https://login.stack.local/",
        "audiences": ["https://other/", "https://management.stack.local"],
    },
    "suffixes": {"keyVaultDns": ".vault.stack.local"},
}


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("https://management.stack.local", "https://management.stack.local/metadata/endpoints?api-version=2022-09-01"),
        ("https://management.stack.local/metadata/endpoints?api-version=2020-06-01",) * 2,
    ],
)
@pytest.mark.parametrize("document", [METADATA, [{"name": "x"}, METADATA]])
def test_a_cloud_by_its_metadata(address: str, asked: str, document: t.Any) -> None:
    seen: list[str] = []

    def fetch(url: str) -> t.Any:
        seen.append(url)
        return document

    cloud = resolve_cloud(Identity("env", {"cloud_environment": address}), fetch=fetch)
    assert seen == [asked]
    assert cloud.resource_manager == "https://management.stack.local"
    assert cloud.authority == "https://login.stack.local"
    assert cloud.scope == "https://management.stack.local/.default"
    assert cloud.vault_scope == "https://vault.stack.local/.default"


def test_an_address_that_is_no_cloud() -> None:
    with pytest.raises(ArmError, match="not a metadata document"):
        resolve_cloud(Identity("env", {"cloud_environment": "https://example.invalid"}), fetch=lambda url: {"a": 1})


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"secret": "s"}, "ClientSecretCredential"),
        ({"federated_token_file": "/token"}, "ClientAssertionCredential"),
    ],
)
def test_kinds_of_credentials(values: dict[str, str], kind: str) -> None:
    identity = Identity("env", {"client_id": "c", "tenant": "10000000-0000-4000-8000-000000000001", **values})
    assert type(build_credential(identity, resolve_cloud(identity))).__name__ == kind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"client_id": "c", "secret": "s"}, "tenant is not given"),
        ({"client_id": "c", "tenant": "t"}, "no secret, certi"),
    ],
)
def test_incomplete_credentials(values: dict[str, str], message: str) -> None:
    identity = Identity("options", values)
    with pytest.raises(InputError, match=message):
        build_credential(identity, resolve_cloud(identity))


class _Credential:
    def __init__(self, lifetime: float = 3600) -> None:
        self.asked, self.lifetime = 0, lifetime

    def get_token(self, *scopes: str, claims: str | None = None, **kwargs: t.Any) -> t.Any:
        from azure.core.credentials import AccessToken  # noqa: PLC0415

        self.asked += 1
        time.sleep(0.02)
        return AccessToken(f"{scopes[0]}-{self.asked}", int(time.time() + self.lifetime))


def test_threads_share_one_token_per_scope() -> None:
    credential = _Credential()
    shared = SharedToken(lambda: t.cast("t.Any", credential))
    threads = [threading.Thread(target=shared.get_token, args=("a",)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert credential.asked == shared.requests == 1
    assert shared.get_token("b").token == "b-2"


def test_a_token_is_renewed_before_it_ends() -> None:
    credential = _Credential(lifetime=200)
    shared = SharedToken(lambda: t.cast("t.Any", credential))
    shared.get_token("a")
    shared.get_token("a")
    assert credential.asked == 2


def test_a_refused_token_is_one_sentence_with_the_remedy() -> None:
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415

    class Refusing:
        def get_token(self, *scopes: str, **kwargs: t.Any) -> t.Any:
            raise ClientAuthenticationError(
                "Authentication failed: AADSTS7000222: The provided client secret keys are expired.\nTrace ID: y"
            )

    shared = SharedToken(lambda: t.cast("t.Any", Refusing()), where="app x")
    with pytest.raises(
        AuthenticationError, match=r"app x: cannot get a token: the client secret has expired"
    ) as caught:
        shared.get_token("a")
    assert "Create a new secret" in str(caught.value)
    assert "Trace" not in str(caught.value)


def test_the_options_are_those_of_the_documentation() -> None:
    assert set(auth_argument_spec()) == set(AUTH_OPTIONS)
    assert {name for name, spec in auth_argument_spec().items() if spec.get("no_log")} == {"secret", "password"}
