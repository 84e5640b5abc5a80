# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""arm_resources over the wire: the real client and runner against the simulated Azure, with faults and rivals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient, connect
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.runner import Options, Report, run
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress

from tests.integration.support.lab import ROOT
from tests.lab.azure.testing import Running, serve

IDENTITIES = "2024-11-30"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
NO_OP_BUDGET = 5.0
"""Seconds for 60 unchanged resources at 20 ms each; about 1 s on an idle machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one simulated Azure to all tests of this file."""
    with serve(tmp_path_factory.mktemp("azure"), preregistered=()) as running:
        yield running


@pytest.fixture
def azure(server: Running) -> Running:
    """Empty the simulated Azure."""
    server.control("DELETE", "/lab/faults")
    server.control("POST", "/lab/reset")
    return server


def connection(azure: Running, **changes: str) -> dict[str, Any]:
    settings = azure.settings
    return {
        "client_id": settings.client_id,
        "secret": settings.client_secret,
        "tenant": settings.tenant_id,
        "cloud_environment": azure.base_url,
        "disable_instance_discovery": True,
        **changes,
    }


def client(azure: Running, **changes: str) -> ArmClient:
    return connect(connection(azure, **changes))


def converge(azure: Running, documents: list[dict[str, Any]], **options: Any) -> Report:
    return run(Options(documents=documents, **options), lambda: client(azure), progress=Progress())


def writes(azure: Running) -> int:
    return int(azure.control("GET", "/lab/requests")["azure"]["write"])


def network(azure: Running, subnets: int = 2) -> list[dict[str, Any]]:
    group = f"{azure.subscription}/resourceGroups/rg"
    net = f"{group}/providers/Microsoft.Network"
    rule = {
        "priority": 100,
        "direction": "Inbound",
        "access": "Allow",
        "protocol": "Tcp",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "443",
    }
    return [
        {
            "id": f"{net}/virtualNetworks/vnet",
            "location": "France Central",
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "subnets": [
                    {
                        "name": f"s{i}",
                        "properties": {
                            "addressPrefix": f"10.0.{i}.0/24",
                            "networkSecurityGroup": {"id": f"{net}/networkSecurityGroups/nsg"},
                        },
                    }
                    for i in range(subnets)
                ],
            },
        },
        {
            "id": f"{net}/networkSecurityGroups/nsg",
            "location": "francecentral",
            "properties": {"securityRules": [{"name": "https", "properties": rule}]},
        },
        {"id": group, "location": "francecentral", "tags": {"env": "lab"}},
        {"id": f"{azure.subscription}/providers/Microsoft.Network"},
    ]


def arm(azure: Running, verb: str, path: str, body: Any = None, version: str = "2025-05-01") -> Any:
    with azure.client() as http:
        answer = http.request(verb, f"{path}?api-version={version}", json=body)
    assert answer.status_code < 400, answer.text
    return answer.json() if answer.content else None


def test_predict_create_and_find_nothing_to_do(azure: Running) -> None:
    documents = network(azure)
    predicted = converge(azure, documents, check_mode=True).result
    assert writes(azure) == 0
    assert predicted["summary"]["missing"] == len(documents)
    done = converge(azure, documents).result
    assert done["plan_digest"] == predicted["plan_digest"]
    written = writes(azure)
    assert written >= len(documents)
    again = converge(azure, documents).result
    assert (again["changed"], again["findings"], again["summary"]["equal"]) == (False, [], len(documents))
    assert writes(azure) == written
    assert set(again["requests"]) == {"GET", "TOKEN", "retries", "throttled"}


def test_changes_behind_our_back_are_found_and_corrected(azure: Running) -> None:
    documents = network(azure)
    converge(azure, documents)
    nsg, vnet, group = (documents[i]["id"] for i in (1, 0, 2))
    live = arm(azure, "GET", nsg)
    opened = {**live["properties"]["securityRules"][0], "name": "opened"}
    opened["properties"] = {**opened["properties"], "priority": 200, "destinationPortRange": "22"}
    live["properties"]["securityRules"].append(opened)
    live["properties"]["securityRules"][0]["properties"]["access"] = "Deny"
    arm(azure, "PUT", nsg, live)
    arm(azure, "PUT", f"{vnet}/subnets/by-hand", {"properties": {"addressPrefix": "10.0.99.0/24"}})
    arm(azure, "PUT", group, {"location": "francecentral", "tags": {"env": "prod", "cost": "42"}}, "2021-04-01")
    before = writes(azure)
    found = {(f["path"], f["verdict"]) for f in converge(azure, documents, check_mode=True).result["findings"]}
    assert found == {
        ("properties.securityRules[name=https].properties.access", "drift"),
        ("properties.securityRules[name=opened]", "unexpected"),
        ("properties.subnets[name=by-hand]", "unexpected"),
        ("tags.env", "drift"),
    }
    assert writes(azure) == before
    converge(azure, documents)
    assert [f["path"] for f in converge(azure, documents).result["findings"]] == ["properties.subnets[name=by-hand]"]
    assert [s["name"] for s in arm(azure, "GET", vnet)["properties"]["subnets"]] == ["s0", "s1", "by-hand"]
    assert arm(azure, "GET", group, version="2021-04-01")["tags"] == {"env": "lab", "cost": "42"}


def test_throttling_and_hiccups_are_ridden_out_and_counted(azure: Running) -> None:
    azure.control("POST", "/lab/faults", {"fault": "throttle", "match": "PUT .*virtualNetworks", "retry_after": 1})
    azure.control("POST", "/lab/faults", {"fault": "error", "match": "GET .*networkSecurityGroups", "count": 2})
    azure.control("POST", "/lab/faults", {"fault": "drop", "match": "PUT .*networkSecurityGroups"})
    report = converge(azure, network(azure))
    assert not report.error
    assert report.result["requests"]["throttled"] == 1
    assert report.result["requests"]["retries"] >= 3


def test_a_read_that_keeps_failing_fails_the_run_before_any_write(
    azure: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    azure.control("POST", "/lab/faults", {"fault": "error", "match": "GET .*networkSecurityGroups", "count": 99})
    with pytest.raises(ArmError, match=r"networkSecurityGroups/nsg: cannot read: Azure answered 500"):
        converge(azure, network(azure))
    assert writes(azure) == 0


def test_an_operation_that_fails_is_reported_and_repaired_by_the_next_run(azure: Running) -> None:
    azure.control(
        "POST",
        "/lab/faults",
        {
            "fault": "fail-operation",
            "match": "PUT .*virtualNetworks",
            "code": "InternalServerError",
            "message": "broken",
        },
    )
    report = converge(azure, network(azure))
    assert "virtualNetworks/vnet: cannot create: the operation failed with InternalServerError" in report.error
    assert "broken" in report.error
    assert not converge(azure, network(azure)).error
    assert not converge(azure, network(azure)).result["changed"]


def test_an_operation_that_was_preempted_is_repeated(azure: Running) -> None:
    azure.control(
        "POST",
        "/lab/faults",
        {"fault": "fail-operation", "match": "PUT .*virtualNetworks", "code": "AnotherOperationInProgress"},
    )
    assert not converge(azure, network(azure)).error


def test_many_writes_on_one_network_do_not_get_in_each_others_way(azure: Running) -> None:
    documents = network(azure, subnets=0)
    subnets = [
        {"id": f"{documents[0]['id']}/subnets/c{i}", "properties": {"addressPrefix": f"10.0.{i}.0/24"}}
        for i in range(8)
    ]
    del documents[0]["properties"]["subnets"]
    report = converge(azure, [*documents, *subnets])
    assert not report.error
    assert report.result["requests"]["throttled"] == 0
    assert not converge(azure, [*documents, *subnets]).result["changed"]
    documents[0]["tags"] = {"a": "b"}
    assert not converge(azure, [*documents, *subnets]).error
    assert len(arm(azure, "GET", documents[0]["id"])["properties"]["subnets"]) == 8


def test_identities_and_assignments_follow_each_other(azure: Running) -> None:
    group = f"{azure.subscription}/resourceGroups/rg"
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-test"
    reader = f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER}"
    assignment = f"{group}/providers/Microsoft.Authorization/roleAssignments/30000000-0000-4000-8000-000000000001"
    documents: list[dict[str, Any]] = [
        {
            "id": assignment,
            "properties": {
                "roleDefinitionId": reader,
                "principalId": f"${{ref:{identity}#properties.principalId}}",
                "principalType": "ServicePrincipal",
            },
        },
        {"id": identity, "location": "francecentral"},
        {"id": group, "location": "francecentral"},
        {"id": f"{azure.subscription}/providers/Microsoft.ManagedIdentity"},
    ]
    assert "known after apply" in str(converge(azure, documents, check_mode=True).result["diff"])
    assert not converge(azure, documents).error
    # The same assignment under another name is the one that exists, not a second one.
    renamed = [{**documents[0], "id": assignment[:-1] + "2"}, *documents[1:]]
    assert not converge(azure, renamed).result["changed"]


@pytest.mark.parametrize("locked", [False, True])
def test_an_identity_made_anew_gets_its_assignment_also_under_a_lock(azure: Running, locked: bool) -> None:
    groups = [f"{azure.subscription}/resourceGroups/rg-{name}" for name in ("kept", "lost")]
    identity = f"{groups[1]}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-test"
    assignments = f"{groups[0]}/providers/Microsoft.Authorization/roleAssignments"
    documents: list[dict[str, Any]] = [
        {
            "id": f"{assignments}/30000000-0000-4000-8000-000000000001",
            "properties": {
                "roleDefinitionId": f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER}",
                "principalId": f"${{ref:{identity}#properties.principalId}}",
                "principalType": "ServicePrincipal",
            },
        },
        {"id": identity, "location": "francecentral"},
        *({"id": group, "location": "francecentral"} for group in groups),
        {"id": f"{azure.subscription}/providers/Microsoft.ManagedIdentity"},
    ]
    if locked:
        lock = {
            "id": f"{groups[0]}/providers/Microsoft.Authorization/locks/keep",
            "properties": {"level": "CanNotDelete"},
        }
        documents.append(lock)
    assert not converge(azure, documents).error
    arm(azure, "DELETE", identity, version=IDENTITIES)
    assert not converge(azure, documents).error
    assert not converge(azure, documents).result["changed"]
    listed = arm(azure, "GET", assignments, version="2022-04-01")["value"]
    held = [one["properties"]["principalId"] for one in listed if one["properties"]["scope"].endswith("rg-kept")]
    assert held.count(arm(azure, "GET", identity, version=IDENTITIES)["properties"]["principalId"]) == 1
    assert len(held) == 1 + locked


def test_a_write_that_another_run_left_behind_is_waited_for(azure: Running) -> None:
    documents = network(azure)
    converge(azure, documents)
    vnet = documents[0]["id"]
    azure.control("POST", "/lab/settings", {"time_scale": 5.0})
    try:
        arm(azure, "PUT", vnet, {**arm(azure, "GET", vnet), "tags": {"who": "somebody"}})
        documents[0]["tags"] = {"who": "us"}
        report = converge(azure, documents)
    finally:
        azure.control("POST", "/lab/settings", {"time_scale": 0.1})
    assert not report.error
    assert arm(azure, "GET", vnet)["tags"] == {"who": "us"}


def test_deletes_what_it_made_and_only_with_consent(azure: Running) -> None:
    documents = network(azure)
    converge(azure, documents)
    before = writes(azure)
    with pytest.raises(Exception, match="allow_delete"):
        converge(azure, documents, state="absent")
    assert writes(azure) == before
    assert not converge(azure, documents, state="absent", allow_delete=["*"]).error
    assert not converge(azure, documents, state="absent").result["changed"]


REFUSED = [
    pytest.param({"secret": "wrong"}, "the client secret is wrong", id="wrong secret"),
    pytest.param({"client_id": "00000000-0000-4000-8000-00000000dead"}, "does not exist in this tenant", id="client"),
    pytest.param({"tenant": "00000000-0000-4000-8000-00000000dead"}, "does not know the tenant", id="tenant"),
    pytest.param({"cloud_environment": "https://127.0.0.1:9"}, "refuses the connection", id="unreachable"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_wrong_credentials_end_in_one_sentence(azure: Running, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ArmError) as caught:
        run(Options(documents=network(azure)), lambda: client(azure, **changes), progress=Progress())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert writes(azure) == 0


def test_an_expired_secret_says_so(azure: Running) -> None:
    path = f"/lab/principals/{azure.settings.client_id}"
    azure.control("POST", path, {"secret_expired": True})
    try:
        with pytest.raises(ArmError, match=r"the client secret has expired \(AADSTS7000222\)"):
            converge(azure, network(azure))
    finally:
        azure.control("POST", path, {"secret_expired": False})


def test_an_identity_without_rights_says_which(azure: Running) -> None:
    powerless = {
        "client_id": azure.settings.second_client_id,
        "secret": azure.settings.second_client_secret,
    }
    with pytest.raises(
        ArmError, match=r"cannot read: Azure answered 403 AuthorizationFailed: .*Give the identity a role"
    ):
        run(Options(documents=network(azure)), lambda: client(azure, **powerless), progress=Progress())
    assert writes(azure) == 0


def test_sixty_unchanged_resources_take_about_a_second(azure: Running, record_property: Any) -> None:
    group = f"{azure.subscription}/resourceGroups/rg"
    documents = [
        *network(azure),
        *(
            {"id": f"{group}/providers/Microsoft.Network/routeTables/rt{i}", "location": "francecentral"}
            for i in range(56)
        ),
    ]
    converge(azure, documents)
    azure.control("POST", "/lab/settings", {"latency_ms": 20})
    try:
        started = time.monotonic()
        result = converge(azure, documents).result
        seconds = time.monotonic() - started
    finally:
        azure.control("POST", "/lab/settings", {"latency_ms": 0})
    record_property("seconds", round(seconds, 2))
    assert not result["changed"]
    assert result["requests"]["GET"] == 60
    assert seconds < NO_OP_BUDGET, result["timing"]


# ---- as a task ----

TEMPLATE = """
{% for document in documents_ %}
---
{{ document | to_json }}
{% endfor %}
"""


def playbook(azure: Running, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, environment = _command(azure, folder, *arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def _command(azure: Running, folder: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    templates = folder / "templates" / "azure"
    templates.mkdir(parents=True, exist_ok=True)
    (templates / "network.yml.j2").write_text(TEMPLATE, encoding="utf-8")
    task = {"templates": ["azure/*.yml.j2"], "lease": {"environment": folder.name}, **connection(azure)}
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"documents_": network(azure), "ansible_python_interpreter": "{{ ansible_playbook_python }}"},
            "tasks": [{"name": "Converge", "audioprothese.platform.arm_resources": task}],
        }
    ]
    (folder / "play.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
    program = Path(sys.executable).with_name("ansible-playbook")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    return [str(program), "-i", "localhost,", str(folder / "play.yml"), *arguments], environment


def test_as_a_task_with_templates(azure: Running, tmp_path: Path) -> None:
    predicted = playbook(azure, tmp_path, "--check", "--diff")
    assert predicted.returncode == 0, predicted.stdout + predicted.stderr
    assert "changed=1" in predicted.stdout
    assert "+" in predicted.stdout and "addressPrefix: 10.0.1.0/24" in predicted.stdout
    assert writes(azure) == 0
    done = playbook(azure, tmp_path, "-v")
    assert "changed=1" in done.stdout, done.stdout + done.stderr
    assert "[localhost] created Microsoft.Network/virtualNetworks vnet in" in done.stdout
    assert "virtualNetworks/vnet 201 " in done.stdout and " ms" in done.stdout
    again = playbook(azure, tmp_path)
    assert "changed=0" in again.stdout
    assert azure.settings.client_secret not in predicted.stdout + done.stdout + again.stdout


def test_killed_in_the_middle_the_next_run_goes_on(azure: Running, tmp_path: Path) -> None:
    azure.control("POST", "/lab/settings", {"time_scale": 3.0})
    try:
        command, environment = _command(azure, tmp_path)
        running = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while writes(azure) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(10)
        assert 0 < writes(azure) < 99
    finally:
        azure.control("POST", "/lab/settings", {"time_scale": 0.1})
    done = playbook(azure, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in playbook(azure, tmp_path).stdout


def test_an_undefined_variable_names_template_and_variable(azure: Running, tmp_path: Path) -> None:
    command, environment = _command(azure, tmp_path)
    template = tmp_path / "templates" / "azure" / "network.yml.j2"
    template.write_text("---\nid: x\nlocation: {{ platform_locatoin }}\n", encoding="utf-8")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "network.yml.j2" in done.stderr + done.stdout
    assert "platform_locatoin" in done.stderr + done.stdout


def test_results_are_plain_json(azure: Running) -> None:
    result = converge(azure, network(azure), check_mode=True).result
    assert json.loads(json.dumps(result)) == result
