# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(system_states)."""

from __future__ import annotations

import fnmatch
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import parse
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.readiness import READY, readiness

DOCUMENTATION = r"""
name: system_states
short_description: Tell of each system of a platform whether it runs as declared
version_added: 0.3.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Takes the systems of a platform, each with what belongs to it, and results of
    M(audioprothese.platform.arm_resources), M(audioprothese.platform.k8s_applyset) and the other modules with findings,
    and tells how each system is.
  - What a result names and no system owns is an error, so that nothing is left out in silence.
options:
  _input:
    description:
      - The systems, each with C(owns), a list of patterns with C(*). They are compared with the type of an Azure
        resource (C(Microsoft.Network/*)) and with the name of anything else (C(Kind/namespace/name), C(Kind/name)).
        The first system that matches owns it.
      - C(version) is the path of a value in the Azure resources of the system that is its version
        (C(properties.kubernetesVersion)).
      - Other keys are kept.
    type: list
    elements: dict
    required: true
  results:
    description: Results of modules; what has no C(resources) or C(findings) has none.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
states: "{{ [{'name': 'Réseau', 'owns': ['Microsoft.Network/*']}]
  | audioprothese.platform.system_states([network_state]) }}"
"""

RETURN = r"""
_value:
  description:
    - The systems in their order, without those of which nothing was declared, each with C(state), C(resources) (how
      many are there), C(versions), C(problems) (what is not ready, and why) and C(findings).
    - C(state) is C(failed) (something is not ready, or could not be looked at), C(absent) (declared, and nothing of it
      is there), C(differs), C(unknown) (a resource cannot be verified) or C(running).
  type: list
  elements: dict
"""

Row = Mapping[str, t.Any]
_DIFFERENT: t.Final = ("drift", "missing", "unexpected")
# What a resource of Azure says of itself when nothing is under way.
_SETTLED: t.Final = ("", "Succeeded", "Registered")


def system_states(systems: Iterable[Row], results: Iterable[Row]) -> list[dict[str, t.Any]]:
    """State of each system."""
    rows = list(systems)
    live: list[dict[str, Row]] = [{} for _ in rows]
    findings: list[list[Row]] = [[] for _ in rows]
    for result in results:
        for name, body in (result.get("resources") or {}).items():
            live[_owner(rows, _subject(name))][name] = body
        for finding in result.get("findings") or []:
            findings[_owner(rows, _subject(finding["resource"]))].append(finding)
    return [
        _state(row, bodies, found) for row, bodies, found in zip(rows, live, findings, strict=True) if bodies or found
    ]


def _state(system: Row, live: Mapping[str, Row], findings: list[Row]) -> dict[str, t.Any]:
    problems = sorted(_problems(live))
    problems += [f"{found['resource']}: {found['message']}" for found in findings if found["verdict"] == "error"]
    return {
        **system,
        "state": _verdict(live, findings, problems),
        "resources": len(live),
        "versions": sorted(set(_versions(live, system.get("version", "")))),
        "problems": problems,
        "findings": findings,
    }


def _verdict(live: Mapping[str, Row], findings: list[Row], problems: list[str]) -> str:
    if problems:
        return "failed"
    if not live:
        return "absent"
    if any(found["verdict"] in _DIFFERENT for found in findings):
        return "differs"
    unseen = any(found["verdict"] == "not_verifiable" and not found["path"] for found in findings)
    return "unknown" if unseen else "running"


def _problems(live: Mapping[str, Row]) -> Iterator[str]:
    for name, body in live.items():
        if _is_azure(name):
            properties = body.get("properties") or {}
            state = str(body.get("registrationState") or properties.get("provisioningState") or "")
            if state not in _SETTLED:
                yield f"{parse(name).short}: {state}"
        else:
            found = readiness(body)
            if found.state != READY:
                yield f"{name}: {found.reason}"


def _versions(live: Mapping[str, Row], path: str) -> Iterator[str]:
    for name, body in live.items():
        if _is_azure(name):
            value = _at(body, path)
            if value:
                yield str(value)
        elif body.get("kind") in ("Deployment", "StatefulSet", "DaemonSet"):
            pod = body["spec"]["template"]["spec"]
            yield from (_short(container["image"]) for container in pod["containers"])
        elif body.get("kind") == "Application":
            yield from map(_short, ((body.get("status") or {}).get("summary") or {}).get("images") or ())


def _short(image: str) -> str:
    """Name and tag of an image, without its registry and digest."""
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return f"{name} {tag}".strip()


def _at(body: t.Any, path: str) -> t.Any:
    if not path:
        return None
    for key in path.split("."):
        body = body.get(key) if isinstance(body, Mapping) else None
    return body


def _owner(systems: list[Row], subject: str) -> int:
    for index, system in enumerate(systems):
        if any(fnmatch.fnmatchcase(subject.lower(), pattern.lower()) for pattern in system["owns"]):
            return index
    raise AnsibleFilterError(
        f"audioprothese.platform.system_states: no system owns {subject}; add it to `owns` of the one it belongs to"
    )


def _subject(name: str) -> str:
    return parse(name).type if _is_azure(name) else name


def _is_azure(name: str) -> bool:
    return name.startswith("/")


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, t.Any]]]]:
        """Name and function."""
        return {"system_states": system_states}
