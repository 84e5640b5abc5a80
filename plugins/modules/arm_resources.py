#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: arm_resources
short_description: Converge a set of Azure resources of any type
version_added: 0.1.0
author:
  - AudioProthese+ platform team (@audioprothese)
description:
  - Reads all resources at once, compares each with its document, plans in the order in which they depend on each other,
    applies the plan, reads again and reports. In check mode it stops before the first write, so that a check run is
    drift detection, and its plan is exactly what the real run does.
  - A document is an ARM body with the resource's C(id). What a document does not name is neither compared nor changed.
    Items of a list that have a name are the exception. One that nobody declared is reported as C(unexpected) and
    removed, except for subnets, node pools and peerings, which are kept until O(allow_delete) names them.
  - A PUT replaces a resource. So the desired body is laid over the one read just before, and nothing that somebody else
    set is lost.
extends_documentation_fragment:
  - audioprothese.platform.converge.lease
  - audioprothese.platform.converge.redaction
  - audioprothese.platform.azure
  - audioprothese.platform._attributes
  - audioprothese.platform._attributes.actiongroup_azure
options:
  documents:
    description:
      - Desired resources, in any order. Each is an ARM body, plus C(id), and optionally C(apiVersion) (the pinned one
        of the type otherwise) and C(dependsOn), a list of ids. Order otherwise follows from parents, from ids in the
        body and from references.
      - A provider is registered by a document with the id C(/subscriptions/S/providers/NAMESPACE).
      - A value that another resource has only once it exists is written with the filter
        P(audioprothese.platform.ref#filter).
    type: list
    elements: dict
    default: []
  templates:
    description:
      - Globs of Jinja templates, relative to the C(templates) folder of the role or playbook. Rendered on the
        controller with the variables of the task; each file holds any number of YAML documents.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) makes live resources what the documents say.
      - V(absent) deletes the resources of the documents, in reverse order. Provider registrations stay.
    type: str
    choices: [present, absent]
    default: present
  allow_delete:
    description:
      - Ids of resources that hold data or an identity, and may be deleted nevertheless. Wildcards as in a shell.
    type: list
    elements: str
    default: []
  expect_plan:
    description: Digest of the plan that was approved. Anything else is refused before the first write.
    type: str
  parallel:
    description: Requests at once.
    type: int
    default: 16
  timeout:
    description: Seconds that one operation may take, waiting for an earlier one included.
    type: int
    default: 3600
notes:
  - Progress of long operations is printed while the task runs, from C(-v) on each request with its duration too.
  - Deletion of a resource group, and a lock, are documents like any other.
  - What Azure makes once and never changes here (the keys of a vault) is compared all the same. A difference is drift
    without an action, and its message names the means that changes it; where nothing can, it is an error.
seealso:
  - module: audioprothese.platform.k8s_applyset
  - plugin: audioprothese.platform.ref
    plugin_type: filter
  - module: azure.azcollection.azure_rm_resource
"""

EXAMPLES = r"""
- name: Converge the network
  audioprothese.platform.arm_resources:
    templates: [azure/*.yml.j2]

- name: Show what differs from the documents, and change nothing
  audioprothese.platform.arm_resources:
    templates: [azure/*.yml.j2]
  check_mode: true
  diff: true
  register: drift

- name: Carry out the plan that was approved, and nothing else
  audioprothese.platform.arm_resources:
    templates: [azure/*.yml.j2]
    expect_plan: "{{ approved_digest }}"

- name: A resource group and a network with one subnet
  audioprothese.platform.arm_resources:
    documents:
      - id: "{{ demo_group }}"
        location: francecentral
      - id: "{{ demo_group }}/providers/Microsoft.Network/virtualNetworks/vnet-demo"
        location: francecentral
        properties:
          addressSpace:
            addressPrefixes: [10.0.0.0/16]
          subnets:
            - name: nodes
              properties:
                addressPrefix: 10.0.0.0/22
  vars:
    demo_group: /subscriptions/{{ platform_subscription_id }}/resourceGroups/rg-demo

- name: Remove them again
  audioprothese.platform.arm_resources:
    documents: "{{ demo_documents }}"
    state: absent
    allow_delete: ["/subscriptions/*/resourceGroups/rg-demo*"]
"""

RETURN = r"""
changed:
  description: Whether there was, or in check mode would be, anything to do.
  returned: always
  type: bool
resources:
  description: Live state by id as the documents write it, after the run; in check mode before it. Secrets are replaced.
  returned: success
  type: dict
  sample:
    /subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/rg-demo:
      id: /subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/rg-demo
      location: francecentral
      properties: {provisioningState: Succeeded}
findings:
  description: Every place that is not equal, sorted. When the task fails, only errors and what a service did not take.
  returned: always
  type: list
  elements: dict
  contains:
    source: {description: Always C(azure)., type: str, returned: always}
    resource: {description: Id of the resource., type: str, returned: always}
    type: {description: Type of the resource., type: str, returned: always}
    path: {description: Place inside the resource; empty for all of it., type: str, returned: always}
    verdict:
      description: V(drift), V(missing), V(unexpected), V(not_verifiable) or V(error).
      type: str
      returned: always
    action: {description: What the plan does about it; empty for nothing., type: str, returned: always}
    desired: {description: The declared value., type: raw, returned: always}
    live: {description: The value read., type: raw, returned: always}
    origin: {description: Who most likely made the difference., type: str, returned: always}
    message: {description: What to know about it., type: str, returned: always}
  sample:
    - source: azure
      resource: /subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/rg-demo
      type: Microsoft.Resources/resourceGroups
      path: tags.owner
      verdict: drift
      action: update
      desired: platform
      live: nobody
      origin: ""
      message: ""
summary:
  description: Number of findings by verdict; C(equal) is the number of resources without any.
  returned: always
  type: dict
  sample: {equal: 61, drift: 1, missing: 0, unexpected: 0, not_verifiable: 0, error: 0}
plan:
  description: Ordered actions.
  returned: success
  type: list
  elements: dict
  sample:
    - action: update
      resource: /subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/rg-demo
      type: Microsoft.Resources/resourceGroups
      changes: [{path: tags.owner, desired: platform, live: nobody}]
      unverified: false
plan_digest:
  description: Equal for equal plans; see O(expect_plan).
  returned: always
  type: str
  sample: sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945
failed_resources:
  description: What failed, with the reason.
  returned: always
  type: list
  elements: dict
  sample: []
skipped_resources:
  description: What was left out since something it depends on failed.
  returned: always
  type: list
  elements: dict
  sample: []
timing:
  description: Seconds by phase.
  returned: always
  type: dict
  sample: {validate: 0.01, connect: 0.1, read: 0.4, plan: 0.02, total: 0.53}
requests:
  description: Requests by verb, with C(retries) and C(throttled) among them.
  returned: always
  type: dict
  sample: {GET: 62, TOKEN: 1, retries: 0, throttled: 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec, auth_options
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import connect
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.runner import Options, run
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import (
    lease_argument_spec,
    open_lease,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import redaction_argument_spec


def argument_spec() -> dict[str, dict[str, t.Any]]:
    return {
        **auth_argument_spec(),
        **lease_argument_spec(),
        **redaction_argument_spec(),
        "documents": {"type": "list", "elements": "dict", "default": []},
        "templates": {"type": "list", "elements": "str", "default": []},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "allow_delete": {"type": "list", "elements": "str", "default": []},
        "expect_plan": {"type": "str"},
        "parallel": {"type": "int", "default": 16},
        "timeout": {"type": "int", "default": 3600},
        "_origins": {"type": "list", "elements": "str", "default": []},
        "_progress": {"type": "str"},
        "_verbosity": {"type": "int", "default": 0},
    }


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    progress = Progress(params["_progress"])
    connection = auth_options(params)
    options = Options(
        documents=params["documents"],
        origins=params["_origins"],
        state=params["state"],
        check_mode=module.check_mode,
        expect_plan=params["expect_plan"],
        allow_delete=params["allow_delete"],
        parallel=max(1, params["parallel"]),
        timeout=float(params["timeout"]),
        redaction_secret=params["redaction_secret"],
    )

    try:
        report = run(
            options,
            lambda: connect(
                connection, progress=progress, verbosity=params["_verbosity"], connections=options.parallel
            ),
            progress=progress,
            lease=lambda: open_lease(params, say=progress.say, connection=connection),
        )
    except PlatformError as exc:
        module.fail_json(msg=str(exc))
    for warning in report.warnings:
        module.warn(warning)
    if report.error:
        # Ansible prints all of a failed result: what went wrong must not drown in what went well.
        lean = {key: value for key, value in report.result.items() if key not in ("resources", "plan", "diff")}
        lean["findings"] = [finding for finding in lean["findings"] if not finding["action"]]
        module.fail_json(msg=report.error, **lean)
    module.exit_json(**report.result)
    raise AssertionError("exit_json does not return")


if __name__ == "__main__":
    main()
