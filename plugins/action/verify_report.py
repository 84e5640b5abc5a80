# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges what other tools read back and prints one line for each thing."""

from __future__ import annotations

import collections
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding, sort_findings
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.azure import judge_azure
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.refusal import judge_refusals
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.rollout import judge_rollouts

_BAD: t.Final = ("drift", "missing", "unexpected", "error")
_LISTS: t.Final = ("azure", "answers", "rollouts", "objects", "refusals", "strangers", "pages")

display = Display()


class ActionModule(ActionBase):
    """Turns results of other tasks into findings."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Judge and report; fail unless in check mode."""
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec={
                **{name: {"type": "list", "elements": "dict", "default": []} for name in _LISTS},
                "untried": {"type": "str", "default": ""},
                "skipped": {"type": "dict", "default": {}},
            }
        )
        findings = sort_findings(_findings(options))
        for finding in findings:
            _show(finding)
        summary = dict(sorted(collections.Counter(finding.verdict for finding in findings).items()))
        result: dict[str, t.Any] = {
            "changed": False,
            "findings": [finding.to_dict() for finding in findings],
            "summary": summary,
        }
        bad = [finding for finding in findings if finding.verdict in _BAD]
        if bad and not self._task.check_mode:
            lines = "\n".join(f"- {finding.resource}: {finding.message}" for finding in bad)
            result |= {"failed": True, "msg": f"{len(bad)} of {len(findings)} checks failed:\n{lines}"}
        return result


def _findings(options: dict[str, t.Any]) -> list[Finding]:
    findings = [
        Finding(source="verify", resource=what, type="", verdict="not_verifiable", message=why)
        for what, why in options["skipped"].items()
    ]
    if "azure" not in options["skipped"]:
        findings += judge_azure(options["azure"], _answers(options["answers"]))
    if "kubernetes" not in options["skipped"]:
        findings += judge_rollouts(options["rollouts"], options["objects"])
    findings += judge_refusals(options["refusals"], options["strangers"], untried=options["untried"])
    return findings + [Finding(**page) for page in options["pages"]]


def _answers(results: list[dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    answers: dict[str, dict[str, t.Any]] = {}
    for result in results:
        if "item" in result:  # azure_rm_resource_info
            rows = [row for row in result.get("response") or [] if row]
            answers[result["item"]["id"].lower()] = {"status": 200 if rows else 404, "body": rows[0] if rows else None}
        else:
            answers[result["id"].lower()] = result
    return answers


def _show(finding: Finding) -> None:
    place = f"{finding.resource} {finding.path}".rstrip()
    short = place.partition("/resourceGroups/")[2] or place
    line = f"{finding.verdict:<14} {short}" + (f": {finding.message}" if finding.message else "")
    if finding.verdict == "equal":
        display.v(line)
    else:
        display.display(line, color="yellow" if finding.verdict == "not_verifiable" else "red")
