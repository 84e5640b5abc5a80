#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Face of the dynamic part of preflight."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check identity, quotas and network paths before a run
version_added: 0.1.0
author:
  - AudioProthese+ platform team (@audioprothese)
description:
  - Signs in and reads the subscription, so that a wrong or expired credential is found before the first write.
  - Compares what documents still have to create with the quotas that Azure lists.
  - Opens a connection to each private endpoint that exists already.
  - Reports everything it finds at once, and only reads.
options:
  checks:
    description: What to check.
    type: list
    elements: str
    choices: [identity, quota, endpoints]
    default: [identity, quota, endpoints]
  documents:
    description: ARM documents whose quota is compared.
    type: list
    elements: dict
    default: []
  endpoints:
    description: Resources that must be reachable from here, as far as they exist.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Resource id of an AKS cluster, a vault or a storage account.
        type: str
        required: true
      name:
        description: What it is, for people.
        type: str
        required: true
      zone:
        description: Private DNS zone that its name is in.
        type: str
        default: ""
  endpoint_timeout:
    description: Seconds to wait for an endpoint.
    type: int
    default: 5
extends_documentation_fragment:
  - audioprothese.platform.azure
attributes:
  check_mode:
    description: Only reads.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: Check before the first write
  audioprothese.platform.preflight:
    documents: "{{ platform_documents.azure }}"
    endpoints:
      - id: "{{ platform_ids.cluster }}"
        name: API server
        zone: privatelink.francecentral.azmk8s.io
"""

RETURN = r"""
problems:
  description: What has to be put right, one sentence each.
  returned: always
  type: list
  elements: str
  sample: []
checked:
  description: What was looked at, one line each.
  returned: success
  type: list
  elements: str
  sample: ["subscription 10000000-0000-4000-8000-000000000002 of tenant 10000000-0000-4000-8000-000000000001"]
unchecked:
  description: Checks that could not be made yet because what they are about does not exist.
  returned: always
  type: list
  elements: str
  sample: [endpoints]
requests:
  description: Requests to Azure by verb.
  returned: success
  type: dict
  sample: {"GET": 12, "POST": 1, "TOKEN": 1, "retries": 0, "throttled": 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import connect
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.azure import Inspection

ARGSPEC: t.Final = {
    "checks": {
        "type": "list",
        "elements": "str",
        "choices": ["identity", "quota", "endpoints"],
        "default": ["identity", "quota", "endpoints"],
    },
    "documents": {"type": "list", "elements": "dict", "default": []},
    "endpoints": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "id": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "zone": {"type": "str", "default": ""},
        },
    },
    "endpoint_timeout": {"type": "int", "default": 5},
}


def main() -> t.NoReturn:
    """Inspect and report."""
    module = AnsibleModule(argument_spec={**auth_argument_spec(), **ARGSPEC}, supports_check_mode=True)
    params = module.params
    try:
        inspection = Inspection(connect(params), timeout=params["endpoint_timeout"])
        if "identity" in params["checks"]:
            inspection.identity(tenant=params["tenant"], subscription=params["subscription_id"])
        if "quota" in params["checks"]:
            inspection.quota(params["documents"])
        if "endpoints" in params["checks"]:
            inspection.endpoints(params["endpoints"])
    except PlatformError as exc:
        module.fail_json(msg=str(exc), problems=[str(exc)], unchecked=params["checks"])
    problems = [str(problem) for problem in inspection.problems]
    if problems:
        lines = "\n".join(f"- {problem}" for problem in problems)
        message = problems[0] if len(problems) == 1 else f"{len(problems)} things have to be put right:\n{lines}"
        module.fail_json(msg=message, problems=problems, unchecked=inspection.unchecked)
    module.exit_json(
        changed=False,
        problems=[],
        checked=inspection.checked,
        unchecked=inspection.unchecked,
        requests=inspection.requests,
    )


if __name__ == "__main__":
    main()
