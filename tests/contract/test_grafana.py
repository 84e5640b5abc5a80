"""What Grafana is told is what it documents, and all that it asks is there: its program does not run here."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.contract.conftest import Manifests, find
from tests.contract.monitoring_tools import run
from tests.contract.rendered import Documents
from tests.end_to_end.support.dashboards import SHIPPED, Asked, asked

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("grafana_options.yml").read_text(encoding="utf-8"))
MEBIBYTE = 1 << 20
# Who signs in, how, and what leaves the cluster: Grafana starts without any of these lines, and is open then.
HELD = {
    ("auth", "disable_login_form"): "true",
    ("auth", "oauth_allow_insecure_email_lookup"): "false",
    ("auth.basic", "enabled"): "false",
    ("auth.anonymous", "enabled"): "false",
    ("auth.azuread", "enabled"): "true",
    ("auth.azuread", "client_authentication"): "workload_identity",
    ("auth.azuread", "role_attribute_strict"): "true",
    ("auth.azuread", "allow_assign_grafana_admin"): "false",
    ("auth.azuread", "skip_org_role_sync"): "false",
    ("auth.azuread", "use_pkce"): "true",
    ("sso_settings", "configurable_providers"): "",
    ("security", "disable_initial_admin_creation"): "true",
    ("security", "secret_key"): "$__file{/run/grafana/secret-key}",
    ("security", "cookie_secure"): "true",
    ("security", "cookie_samesite"): "lax",
    ("security", "allow_embedding"): "false",
    ("security", "strict_transport_security"): "true",
    ("security", "content_security_policy"): "true",
    ("security", "disable_gravatar"): "true",
    ("users", "allow_sign_up"): "false",
    ("plugins", "preinstall_disabled"): "true",
    ("plugins", "preinstall_auto_update"): "false",
    ("plugins", "plugin_admin_enabled"): "false",
    ("analytics", "reporting_enabled"): "false",
    ("analytics", "check_for_updates"): "false",
    ("analytics", "check_for_plugin_updates"): "false",
    ("news", "news_feed_enabled"): "false",
    ("snapshots", "external_enabled"): "false",
    ("public_dashboards", "enabled"): "false",
}


@pytest.fixture(scope="module")
def manifests(rendered: Callable[[str], Documents]) -> Manifests:
    return rendered("production")["kubernetes"]


@pytest.fixture(scope="module")
def files(manifests: Manifests) -> dict[str, str]:
    found: dict[str, str] = find(manifests, "ConfigMap", "grafana")["data"]
    return found


def settings(text: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read_string(text)
    return found


def strangers(text: str) -> list[str]:
    """Options that no documentation of Grafana names."""
    known = {
        (section, option)
        for source in DOCUMENTED["sources"]
        for section, options in DOCUMENTED[source].items()
        for option in options
    }
    found = settings(text)
    named = [(section, option) for section in found.sections() for option in found.options(section)]
    return [f"[{section}] {option}" for section, option in named if (section, option) not in known]


def loosened(text: str) -> list[str]:
    """What is not as it has to be."""
    found = settings(text)
    return [
        f"[{section}] {option}"
        for (section, option), value in HELD.items()
        if found.get(section, option, fallback=None) != value
    ]


def test_every_option_is_one_of_grafanas(files: dict[str, str]) -> None:
    assert strangers(files["grafana.ini"]) == []


def test_entra_alone_says_who_comes_in_and_nothing_goes_out(files: dict[str, str]) -> None:
    assert loosened(files["grafana.ini"]) == []


def test_the_sign_in_is_that_of_the_tenant_and_its_application(files: dict[str, str], manifests: Manifests) -> None:
    found = settings(files["grafana.ini"])["auth.azuread"]
    inventory = ROOT / "inventories" / "production" / "group_vars" / "all"
    tenant = yaml.safe_load((inventory / "platform.yml").read_text("utf-8"))["platform_tenant_id"]
    application = yaml.safe_load((inventory / "monitoring.yml").read_text("utf-8"))["grafana_application_id"]
    assert found["allowed_organizations"] == tenant
    assert found["auth_url"] == f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize"
    assert found["token_url"] == f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
    assert found["client_id"] == application
    account = find(manifests, "ServiceAccount", "grafana")
    assert account["metadata"]["annotations"]["azure.workload.identity/client-id"] == application
    pod = find(manifests, "Deployment", "grafana")["spec"]["template"]
    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert pod["spec"]["serviceAccountName"] == "grafana"


def test_the_key_that_signs_is_where_it_is_looked_for(files: dict[str, str], manifests: Manifests) -> None:
    path = re.fullmatch(r"\$__file{(.+)}", settings(files["grafana.ini"])["security"]["secret_key"])
    assert path
    pod = find(manifests, "Deployment", "grafana")["spec"]["template"]["spec"]
    assert path[1] in pod["initContainers"][0]["command"][-1]
    folder = str(Path(path[1]).parent)
    for container in (*pod["initContainers"], *pod["containers"]):
        assert folder in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_provisioning_names_what_grafana_knows(files: dict[str, str]) -> None:
    known = {name: set(keys) for name, keys in DOCUMENTED["provisioning"].items()}
    sources = yaml.safe_load(files["datasources.yml"])
    providers = yaml.safe_load(files["dashboards.yml"])
    assert set(sources) == {"apiVersion", "prune", "datasources"}
    assert set(providers) == {"apiVersion", "providers"}
    for source in sources["datasources"]:
        assert set(source) <= known["datasources"]
        assert set(source.get("jsonData", {})) <= known.get(f"jsonData.{source['type']}", set())
        assert source["editable"] is False
    for provider in providers["providers"]:
        assert set(provider) <= known["providers"]
        assert (provider["allowUiUpdates"], provider["disableDeletion"]) == (False, True)


def test_the_files_are_mounted_where_grafana_reads_them(files: dict[str, str], manifests: Manifests) -> None:
    pod = find(manifests, "Deployment", "grafana")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    items = {item["key"]: item["path"] for item in volumes["configuration"]["configMap"]["items"]}
    # https://grafana.com/docs/grafana/v13.2/setup-grafana/configure-docker/: GF_PATHS_CONFIG, GF_PATHS_PROVISIONING
    assert mounts["configuration"] == "/etc/grafana"
    assert items["grafana.ini"] == "grafana.ini"
    assert items["datasources.yml"].startswith("provisioning/datasources/")
    assert items["dashboards.yml"].startswith("provisioning/dashboards/")
    (provider,) = yaml.safe_load(files["dashboards.yml"])["providers"]
    assert provider["options"]["path"] == mounts["dashboards"]
    home = Path(settings(files["grafana.ini"])["dashboards"]["default_home_dashboard_path"])
    shipped = find(manifests, "ConfigMap", volumes["dashboards"]["configMap"]["name"])["data"]
    assert str(home.parent) == mounts["dashboards"]
    assert home.name in shipped


def test_every_dashboard_is_shipped_and_fits(manifests: Manifests) -> None:
    shipped = find(manifests, "ConfigMap", "grafana-dashboards")["data"]
    assert {Path(name).stem for name in shipped} == set(SHIPPED)
    assert sum(len(text.encode()) for text in shipped.values()) < 0.8 * MEBIBYTE
    text = "".join(shipped.values())
    assert "runbooks.invalid" not in text
    assert "/blob/main/docs/alerts.md#" in text


def unreachable(files: dict[str, str], manifests: Manifests) -> list[str]:
    """Data sources without a Service, or without a way to it."""
    missing = []
    for source in yaml.safe_load(files["datasources.yml"])["datasources"]:
        address = urlsplit(source["url"])
        name, namespace = str(address.hostname).split(".")[:2]
        services = [
            one
            for one in manifests
            if (one["kind"], one["metadata"]["name"], one["metadata"].get("namespace")) == ("Service", name, namespace)
        ]
        if not any(port["port"] == address.port for one in services for port in one["spec"]["ports"]):
            missing.append(f"{source['name']}: no Service has {source['url']}")
            continue
        wanted = services[0]["spec"]["selector"]
        policy = find(manifests, "NetworkPolicy", "grafana")
        ways = [
            peer.get("podSelector", {}).get("matchLabels")
            for rule in policy["spec"]["egress"]
            if address.port in [port["port"] for port in rule["ports"]]
            for peer in rule["to"]
        ]
        if wanted not in ways:
            missing.append(f"{source['name']}: nothing leads to {source['url']}")
    return missing


def test_data_sources_lead_to_services_by_declared_flows(files: dict[str, str], manifests: Manifests) -> None:
    assert unreachable(files, manifests) == []
    uids = {source["uid"] for source in yaml.safe_load(files["datasources.yml"])["datasources"]}
    used = set(re.findall(r'"datasource": {[^}]*"uid": "([^"]+)"', json.dumps(list(SHIPPED.values()))))
    assert used
    assert used <= uids


def test_the_front_door_leads_to_it_but_not_to_its_metrics(manifests: Manifests) -> None:
    hidden, rest = find(manifests, "HTTPRoute", "grafana")["spec"]["rules"]
    assert hidden["matches"][0]["path"]["value"] == "/metrics"
    assert "backendRefs" not in hidden
    assert rest["backendRefs"][0]["name"] == "grafana"
    listeners = find(manifests, "Gateway", "platform")["spec"]["listeners"]
    assert "grafana.soins.audioprothese.example" in {listener.get("hostname") for listener in listeners}


def test_there_is_none_where_it_is_left_out(rendered: Callable[[str], Documents]) -> None:
    # What may flow and who is asked for metrics is the same everywhere; nothing has the labels that they name.
    found = [one for one in rendered("lab")["kubernetes"] if one["metadata"]["name"].startswith("grafana")]
    assert {one["kind"] for one in found} == {"NetworkPolicy", "CiliumNetworkPolicy"}


def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    assert refused(asked(SHIPPED), tmp_path) == ""


def refused(queries: Iterator[Asked], folder: Path) -> str:
    """What Prometheus' own parser says of the queries."""
    rules = [{"record": f"dashboard:query:{number}", "expr": query.expr} for number, query in enumerate(queries)]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}), "utf-8")
    done = run("promtool", "check", "rules", folder / "rules.yml")
    return done.stdout if done.returncode else ""


@pytest.mark.sabotage
def test_a_query_that_is_none_is_noticed(tmp_path: Path) -> None:
    panel = {"id": 1, "title": "x", "targets": [{"expr": "sum by (pod (up)", "refId": "A", "legendFormat": ""}]}
    assert "could not parse expression" in refused(asked({"broken": {"panels": [panel]}}), tmp_path)


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        ("disable_login_form = true", "disable_login_from = true", strangers),
        ("[auth.azuread]", "[auth.azure]", strangers),
        ("disable_login_form = true", "disable_login_form = false", loosened),
        ("role_attribute_strict = true\n", "", loosened),
        ("[auth.basic]\nenabled = false", "[auth.basic]\nenabled = true", loosened),
    ],
)
def test_a_setting_that_means_nothing_or_opens_something_is_noticed(
    files: dict[str, str], before: str, after: str, seen: Callable[[str], list[str]]
) -> None:
    assert before in files["grafana.ini"]
    assert seen(files["grafana.ini"].replace(before, after, 1)) != []


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://prometheus.elsewhere.svc:9090", "no Service"),
        ("http://prometheus.monitoring.svc:9091", "no Service"),
        ("http://alertmanager.monitoring.svc:9093", "nothing leads to"),
    ],
)
def test_an_address_that_leads_nowhere_is_noticed(
    files: dict[str, str], manifests: Manifests, url: str, seen: str
) -> None:
    changed = yaml.safe_load(files["datasources.yml"])
    changed["datasources"][0]["url"] = url
    (found,) = unreachable({"datasources.yml": yaml.safe_dump(changed)}, manifests)
    assert seen in found
