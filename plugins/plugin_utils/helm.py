# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render Helm charts with the helm executable; nothing of Helm's reaches the cluster but the rendered objects."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import typing as t
from collections.abc import Callable, Mapping, Sequence

import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import CLUSTER_SCOPED

__all__ = ["find_helm", "parse_manifests", "render_chart"]

_HOOK = "helm.sh/hook"
_TEST_HOOKS = frozenset({"test", "test-success", "test-failure"})
_TIMEOUT = 120
_ERROR_LINES = 4


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Helm and kubectl read it: dates and C(1:30) are text, C(1e3) is a number."""


_NUMBERS = (
    (
        "tag:yaml.org,2002:int",
        re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)\Z"),
        "-+0123456789",
    ),
    (
        "tag:yaml.org,2002:float",
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        "-+0123456789.",
    ),
)
_OURS = frozenset({tag for tag, _pattern, _first in _NUMBERS} | {"tag:yaml.org,2002:timestamp"})
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OURS]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in _NUMBERS:
    _Loader.add_implicit_resolver(_tag, _pattern, list(_first))


def find_helm(option: str | None, environment: Mapping[str, str] | None = None) -> str:
    """The helm executable: the option, E(HELM_BIN), or C(helm) from the path.

    Args:
        option: what the task says.
        environment: environment of the task.

    Raises:
        InputError: there is none.
    """
    variables = {**os.environ, **(environment or {})}
    wanted = option or variables.get("HELM_BIN") or "helm"
    found = shutil.which(os.path.expanduser(wanted), path=variables.get("PATH"))  # noqa: PTH111
    if found is None:
        raise InputError(
            f"the helm executable {wanted!r} is not there",
            remedy="Install Helm 4, or name it by helm_binary or the environment variable HELM_BIN",
        )
    return found


def render_chart(
    chart: Mapping[str, t.Any],
    *,
    helm_binary: str | None = None,
    environment: Mapping[str, str] | None = None,
    find_path: Callable[[str], str] = str,
) -> list[dict[str, t.Any]]:
    """The objects of a chart, definitions of kinds included, each in its namespace.

    Args:
        chart: an item of the option C(charts).
        helm_binary: see find_helm.
        environment: environment of the task.
        find_path: makes a relative path absolute.

    Raises:
        InputError: helm refuses the chart or its values, or the chart has hooks and the task does not say to leave
            them out.
    """
    name = str(chart.get("release") or "")
    where = f"chart of release {name}"
    for option in ("release", "namespace"):
        if not chart.get(option):
            raise InputError(f"{option} is missing", where=where)
    command = [find_helm(helm_binary, environment), "template", name, *_source(chart, find_path, where)]
    command += ["--namespace", str(chart["namespace"]), "--include-crds", "--values", "-"]
    command += ["--kube-version", str(chart.get("kube_version") or "1.35")]
    for version in chart.get("api_versions") or ():
        command += ["--api-versions", str(version)]
    values = json.dumps(chart.get("values") or {})
    try:
        # Values go through standard input: an argument would be seen by every user of the machine.
        done = subprocess.run(  # noqa: S603 - our own arguments
            command,
            input=values,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise InputError(f"helm does not run: {exc}", where=where) from exc
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise InputError(
            f"helm does not render it: {' '.join(lines[-_ERROR_LINES:])}",
            where=where,
            remedy="Correct the chart or its values",
        )
    objects = _without_hooks(parse_manifests(done.stdout, where=where), str(chart.get("hooks") or "refuse"), where)
    return [_placed(obj, str(chart["namespace"])) for obj in objects]


def parse_manifests(text: str, *, where: str) -> list[dict[str, t.Any]]:
    """The YAML documents of a text, empty ones left out.

    Raises:
        InputError: it is no YAML, or a document is no mapping.
    """
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document]
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise InputError(
            f"not valid YAML{place}: {getattr(exc, 'problem', None) or 'syntax error'}", where=where
        ) from exc
    if not all(isinstance(document, dict) for document in documents):
        raise InputError("a YAML document is not a mapping", where=where)
    return documents


def _source(chart: Mapping[str, t.Any], find_path: Callable[[str], str], where: str) -> list[str]:
    path, ref = chart.get("path"), chart.get("ref")
    if bool(path) == bool(ref):
        raise InputError("give either path or ref", where=where)
    if ref:
        return [str(ref), *(["--version", str(chart["version"])] if chart.get("version") else [])]
    found = pathlib.Path(find_path(str(path)))
    if not found.exists():
        raise InputError(f"there is no chart at {found}", where=where, remedy="Correct path")
    return [str(found)]


def _hooks_of(obj: Mapping[str, t.Any]) -> set[str]:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return {part.strip() for part in str(annotations.get(_HOOK) or "").split(",") if part.strip()}


def _without_hooks(objects: Sequence[dict[str, t.Any]], policy: str, where: str) -> list[dict[str, t.Any]]:
    kept = []
    for obj in objects:
        hooks = _hooks_of(obj) - {"crd-install"}
        if hooks and not hooks <= _TEST_HOOKS and policy != "strip":
            raise InputError(
                f"{obj.get('kind')}/{(obj.get('metadata') or {}).get('name')} is a Helm hook"
                f" ({', '.join(sorted(hooks))}), which nothing here would run at its moment",
                where=where,
                remedy="Make it an ordinary object in the chart's values, or leave hooks out (hooks: strip)",
            )
        if not hooks:
            kept.append(obj)
    return kept


def _placed(obj: dict[str, t.Any], namespace: str) -> dict[str, t.Any]:
    metadata = obj.get("metadata") or {}
    if obj.get("kind") in CLUSTER_SCOPED or metadata.get("namespace"):
        return obj
    return {**obj, "metadata": {**metadata, "namespace": namespace}}
