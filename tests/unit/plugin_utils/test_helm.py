# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.plugin_utils.helm import (
    find_helm,
    parse_manifests,
    render_chart,
)

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"


def helm(folder: pathlib.Path, output: str = CONFIG, code: int = 0, errors: str = "") -> str:
    """A program that answers as helm would and keeps what it was given."""
    program = folder / "helm"
    (folder / "output").write_text(output)
    (folder / "errors").write_text(errors)
    keep = 'printf "%s\\n" "$@" > arguments; cat > values'
    program.write_text(f'#!/bin/sh\ncd "{folder}"\n{keep}\ncat errors >&2\ncat output\nexit {code}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def chart(folder: pathlib.Path, **more: t.Any) -> dict[str, t.Any]:
    return {"path": str(folder), "release": "r", "namespace": "n", **more}


def hooked(*hooks: str) -> str:
    return f'{CONFIG}  annotations:\n    helm.sh/hook: "{",".join(hooks)}"\n'


def test_values_go_through_standard_input(tmp_path: pathlib.Path) -> None:
    values = {"password": "canary", "n": 1}
    render_chart(chart(tmp_path, values=values, api_versions=["x.io/v1"]), helm_binary=helm(tmp_path))
    arguments = (tmp_path / "arguments").read_text().split("\n")
    assert json.loads((tmp_path / "values").read_text()) == values
    assert "canary" not in str(arguments)
    assert arguments[:3] == ["template", "r", str(tmp_path)]
    for pair in (["--namespace", "n"], ["--values", "-"], ["--kube-version", "1.35"], ["--api-versions", "x.io/v1"]):
        assert arguments[arguments.index(pair[0]) + 1] == pair[1]
    assert "--include-crds" in arguments


def test_objects_are_put_into_the_release_namespace(tmp_path: pathlib.Path) -> None:
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: b\n"
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  namespace: other\n"
    program = helm(tmp_path, "---\n".join([CONFIG, role, "# nothing\n", other]))
    found = render_chart(chart(tmp_path), helm_binary=program)
    assert [(o["metadata"]["name"], o["metadata"].get("namespace")) for o in found] == [
        ("a", "n"),
        ("b", None),
        ("c", "other"),
    ]


@pytest.mark.parametrize(
    ("hooks", "policy", "kept"),
    [
        (("test",), "refuse", False),
        (("crd-install",), "refuse", True),
        (("pre-install", "pre-upgrade"), "strip", False),
    ],
)
def test_hooks(tmp_path: pathlib.Path, hooks: tuple[str, ...], policy: str, kept: bool) -> None:
    program = helm(tmp_path, hooked(*hooks))
    assert bool(render_chart(chart(tmp_path, hooks=policy), helm_binary=program)) is kept


def test_a_hook_that_nothing_would_run_is_refused(tmp_path: pathlib.Path) -> None:
    program = helm(tmp_path, hooked("test", "pre-install"))
    with pytest.raises(InputError, match=r"chart of release r: ConfigMap/a is a Helm hook \(pre-install, test\)"):
        render_chart(chart(tmp_path), helm_binary=program)


def test_what_helm_says_is_in_the_error(tmp_path: pathlib.Path) -> None:
    program = helm(tmp_path, code=1, errors="noise\n\nError: values don't meet the schema\n- replicas: must be >= 1\n")
    with pytest.raises(InputError, match=r"does not render it: .*schema - replicas: must be >= 1"):
        render_chart(chart(tmp_path), helm_binary=program)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"release": ""}, "release is missing"),
        ({"namespace": None}, "namespace is missing"),
        ({"path": "/nowhere"}, "there is no chart at /nowhere"),
        ({"ref": "oci://r/c"}, "give either path or ref"),
        ({"path": None}, "give either path or ref"),
    ],
)
def test_incomplete_charts(tmp_path: pathlib.Path, change: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        render_chart(chart(tmp_path) | change, helm_binary=helm(tmp_path))


def test_a_chart_of_a_registry_has_a_version(tmp_path: pathlib.Path) -> None:
    program = helm(tmp_path)
    render_chart({"ref": "oci://r/c", "version": "1.2.3", "release": "r", "namespace": "n"}, helm_binary=program)
    assert (tmp_path / "arguments").read_text().split("\n")[2:5] == ["oci://r/c", "--version", "1.2.3"]


def test_the_executable_comes_from_option_variable_or_path(tmp_path: pathlib.Path) -> None:
    program = helm(tmp_path)
    assert find_helm(program, {"HELM_BIN": "/nowhere"}) == program
    assert find_helm(None, {"HELM_BIN": program}) == program
    assert find_helm(None, {"HELM_BIN": "", "PATH": str(tmp_path)}) == program
    with pytest.raises(InputError, match="'/nowhere' is not there"):
        find_helm("/nowhere")


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    text = "a: 1:30\nb: 2024-01-01\nc: 0644\nd: 1e3\ne: yes\nf: 1_000\ng: 1.2.3\nh: 0x1F\ni: ~\nj: .5\nk: 12\n"
    assert parse_manifests(text, where="x") == [
        {"a": "1:30", "b": "2024-01-01", "c": 420, "d": 1000.0, "e": True, "f": 1000}
        | {"g": "1.2.3", "h": 31, "i": None, "j": 0.5, "k": 12}
    ]


@pytest.mark.parametrize(("text", "message"), [("a: [", "x: not valid YAML in line"), ("- a\n", "not a mapping")])
def test_what_is_no_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_manifests(text, where="x")
