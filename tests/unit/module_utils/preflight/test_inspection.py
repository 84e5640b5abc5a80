# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import socket
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.azure import Inspection

S = "/subscriptions/10000000-0000-4000-8000-000000000002"
TENANT = "10000000-0000-4000-8000-000000000001"
GROUP = f"{S}/resourceGroups/g/providers"
CLUSTER = f"{GROUP}/Microsoft.ContainerService/managedClusters/aks"
VAULT = f"{GROUP}/Microsoft.KeyVault/vaults/kv"
STORE = f"{GROUP}/Microsoft.Storage/storageAccounts/st"
USAGES = f"{S}/providers/Microsoft.Compute/locations/francecentral/usages"
DOCUMENT = {
    "id": CLUSTER,
    "location": "francecentral",
    "properties": {"agentPoolProfiles": [{"name": "system", "vmSize": "Standard_D4ds_v5", "minCount": 3}]},
}


class Arm:
    """Answers by path; what it does not know is not there."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def get(self, path, _api_version, *, doing="read"):
        self.asked.append(path)
        answer = self.answers.get(path, ArmError(f"cannot {doing}", where=path, status=404))
        if isinstance(answer, Exception):
            raise answer
        return answer

    post = get


def inspect(answers):
    return Inspection(t.cast("t.Any", Arm(answers)), timeout=1)


def usages(limit):
    return {
        "value": [
            {"name": {"value": "cores", "localizedValue": "Total Regional vCPUs"}, "limit": limit, "currentValue": 0}
        ]
    }


def test_the_subscription_must_belong_to_the_tenant():
    inspection = inspect({S: {"tenantId": "another", "state": "Enabled"}})
    inspection.identity(tenant=TENANT, subscription=S.rpartition("/")[2])
    (problem,) = inspection.problems
    assert "belongs to tenant another" in str(problem)


@pytest.mark.parametrize(
    ("state", "fine"), [("Enabled", True), ("Warned", True), ("Disabled", False), ("Deleted", False)]
)
def test_the_subscription_must_accept_changes(state, fine):
    inspection = inspect({S: {"tenantId": TENANT, "state": state}})
    inspection.identity(tenant=TENANT.upper(), subscription=S.rpartition("/")[2])
    assert (inspection.problems == []) is fine


def test_a_missing_subscription_is_a_sentence():
    inspection = inspect({})
    inspection.identity(tenant=TENANT, subscription="")
    assert "platform_subscription_id" in str(inspection.problems[0])


@pytest.mark.parametrize(("limit", "fits"), [(12, True), (11, False)])
def test_quota_is_compared_while_the_cluster_does_not_exist(limit, fits):
    inspection = inspect({USAGES: usages(limit)})
    inspection.quota([DOCUMENT])
    assert (inspection.problems == []) is fits


def test_quota_of_what_exists_is_not_asked_for():
    arm = Arm({CLUSTER: {"properties": {"agentPoolProfiles": [{"name": "system", "count": 3}]}}, USAGES: usages(0)})
    inspection = Inspection(t.cast("t.Any", arm), timeout=1)
    inspection.quota([DOCUMENT])
    assert inspection.problems == []
    assert USAGES not in arm.asked


@pytest.mark.sabotage
def test_counting_what_exists_once_more_is_noticed(monkeypatch):
    monkeypatch.setattr(Inspection, "_find", lambda *_args: None)
    with pytest.raises(AssertionError):
        test_quota_of_what_exists_is_not_asked_for()


def test_quota_of_an_unregistered_provider_is_left_for_later():
    refusal = ArmError("not registered", where=S, status=409, code="MissingSubscriptionRegistration")
    inspection = inspect({USAGES: refusal})
    inspection.quota([DOCUMENT])
    assert (inspection.problems, inspection.unchecked) == ([], ["quota"])


def test_another_refusal_of_the_quotas_is_an_error():
    inspection = inspect({USAGES: ArmError("forbidden", where=S, status=403, code="AuthorizationFailed")})
    with pytest.raises(ArmError):
        inspection.quota([DOCUMENT])


def test_an_endpoint_that_does_not_exist_is_left_for_later():
    inspection = inspect({})
    inspection.endpoints([{"id": CLUSTER, "name": "API server"}, {"id": VAULT, "name": "Key Vault"}])
    assert (inspection.problems, inspection.unchecked) == ([], ["endpoints"])


def closed_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{listener.getsockname()[1]}"


def test_each_kind_of_endpoint_is_knocked_at_its_own_address():
    address = closed_address()
    kubeconfig = f"clusters:\n- name: aks\n  cluster:\n    server: {address}\n    certificate-authority-data: QQ==\n"
    inspection = inspect(
        {
            f"{CLUSTER}/listClusterUserCredential": {
                "kubeconfigs": [{"value": base64.b64encode(kubeconfig.encode()).decode()}]
            },
            CLUSTER: {"properties": {"provisioningState": "Succeeded"}},
            VAULT: {"properties": {"vaultUri": address}},
            STORE: {"properties": {"primaryEndpoints": {"blob": address}}},
        }
    )
    names = {CLUSTER: "API server", VAULT: "Key Vault", STORE: "Storage"}
    inspection.endpoints([{"id": resource, "name": name} for resource, name in names.items()])
    assert inspection.unchecked == []
    assert [problem.where for problem in inspection.problems] == list(names.values())
    assert all(address.removeprefix("https://") in problem.what for problem in inspection.problems)


def test_a_cluster_that_is_being_created_has_no_address_yet():
    arm = Arm({CLUSTER: {"properties": {"provisioningState": "Creating"}}})
    inspection = Inspection(t.cast("t.Any", arm), timeout=1)
    inspection.endpoints([{"id": CLUSTER, "name": "API server"}])
    assert (inspection.problems, inspection.unchecked) == ([], ["endpoints"])
    assert arm.asked == [CLUSTER]
