# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Against the simulated Azure."""

from __future__ import annotations

import pytest
import requests
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.reader import Reader

from tests.lab.azure.testing import serve

GROUPS = "2025-04-01"
CLUSTERS = "2026-02-01"


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("azure")) as running:
        with running.client() as client:
            url = f"{running.subscription}/resourceGroups/rg-app?api-version={GROUPS}"
            assert client.put(url, json={"location": "francecentral"}).is_success
        yield running


@pytest.fixture
def session():
    with requests.Session() as session:
        yield session


def reader(azure, session, **changed):
    settings = azure.settings
    options = {
        "cloud": f"{settings.base_url}/metadata/endpoints?api-version=2022-09-01",
        "tenant": settings.tenant_id,
        "client_id": settings.client_id,
        "secret": settings.client_secret,
        "timeout": 10,
    }
    return Reader(session, **{**options, **changed})


def test_the_cloud_is_known_by_its_arm_endpoint_too(azure, session):
    wanted = {"id": f"{azure.subscription}/resourceGroups/rg-app", "api_version": GROUPS}
    [found] = reader(azure, session, cloud=f"{azure.settings.base_url}/").resources([wanted])
    assert found["status"] == 200


def test_resources_are_read_at_once_in_the_order_asked(azure, session):
    there, gone = (f"{azure.subscription}/resourceGroups/{name}" for name in ("rg-app", "rg-gone"))
    found = reader(azure, session).resources([{"id": name, "api_version": GROUPS} for name in (gone, there)])
    assert [(one["id"], one["status"]) for one in found] == [(gone, 404), (there, 200)]
    assert found[0]["body"] is None
    assert found[1]["body"]["location"] == "francecentral"


def test_there_is_no_kubeconfig_without_a_cluster(azure, session):
    cluster = f"{azure.subscription}/resourceGroups/rg-app/providers/Microsoft.ContainerService/managedClusters/aks"
    assert reader(azure, session).kubeconfig(cluster) == {}


def test_a_wrong_secret_is_said_without_the_secret(azure, session):
    with pytest.raises(InputError) as refused:
        reader(azure, session, secret="not-the-secret").resources([])
    assert azure.settings.client_id in str(refused.value)
    assert "AADSTS7000215" in str(refused.value)
    assert "not-the-secret" not in str(refused.value)


def test_a_cloud_that_is_not_there_is_said(session, azure):
    with pytest.raises(PlatformError, match="no answer"):
        reader(azure, session, cloud="https://127.0.0.1:1/metadata").resources([])
