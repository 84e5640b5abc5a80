#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of an action; it has no part that runs as a module."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_report
short_description: Judge what other tools read back, and report it
version_added: 0.1.0
author:
  - AudioProthese+ platform team (@audioprothese)
description:
  - Holds answers of Azure and objects of a cluster, read by whatever other means, against what must be true of them.
  - Fails with the reason, and with the events of pods that do not get ready.
  - What cannot be told, such as the probe of a pod on a simulated node, is C(not_verifiable) and never C(equal).
  - In check mode it reports and does not fail, since what would be verified may not have been built.
options:
  azure:
    description: What must be true of Azure resources, C(id), C(type) and C(checks), each a C(path) and its C(value).
    type: list
    elements: dict
    default: []
  answers:
    description: Those of M(audioprothese.platform.verify_azure), or results of a loop of C(azure_rm_resource_info) over
      what O(azure) holds.
    type: list
    elements: dict
    default: []
  rollouts:
    description: Objects that must be there and ready, C(kind), C(namespace) and C(name).
    type: list
    elements: dict
    default: []
  objects:
    description: Live objects of the cluster, for example from the lookup C(kubernetes.core.k8s).
    type: list
    elements: dict
    default: []
  refusals:
    description: Connections that must be refused, C(name), C(host) and C(port); a container of that name tried each.
    type: list
    elements: dict
    default: []
  strangers:
    description: The pod that tried them, as it was read back.
    type: list
    elements: dict
    default: []
  untried:
    description: Why nobody tried them, which makes them C(not_verifiable); empty when somebody did.
    type: str
    default: ""
  pages:
    description: Findings of M(audioprothese.platform.verify_pages).
    type: list
    elements: dict
    default: []
  skipped:
    description: What could not be read by other means, and why.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Reports without failing.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  action:
    description: Runs on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Report
  audioprothese.platform.verify_report:
    rollouts:
      - kind: StatefulSet
        namespace: mariadb
        name: mariadb
    objects: "{{ query('kubernetes.core.k8s', kind='StatefulSet', api_version='apps/v1') }}"
"""

RETURN = r"""
findings:
  description: One for each thing that was looked at.
  returned: always
  type: list
  elements: dict
  sample:
    - {source: kubernetes, resource: StatefulSet/mariadb/mariadb, verdict: equal, message: 1 of 1 pods are ready}
summary:
  description: Findings by verdict.
  returned: always
  type: dict
  sample: {"equal": 14, "not_verifiable": 6}
"""
