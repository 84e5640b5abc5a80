#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: documents
short_description: Render a role's documents and collect them for the whole estate
version_added: 0.1.0
author:
  - AudioProthese+ platform team (@audioprothese)
description:
  - Renders templates with the variables of the role and adds their documents to the variable C(platform_documents) of
    the host, from which one task converges all of them at once. A document that is there already is not added again.
  - Nothing is asked and nothing is written.
extends_documentation_fragment:
  - audioprothese.platform._attributes
options:
  templates:
    description: Globs of Jinja templates, relative to the C(templates) folder of the role or playbook.
    type: list
    elements: str
    default: []
  documents:
    description: More documents, as they are.
    type: list
    elements: dict
    default: []
  chart:
    description:
      - A chart to be rendered by M(audioprothese.platform.k8s_applyset) together with the documents, in the shape of an
        item of its option C(charts). A relative C(path) is looked up beside the role or playbook.
    type: dict
  into:
    description: What the documents describe.
    type: str
    choices: [azure, kubernetes]
    required: true
seealso:
  - module: audioprothese.platform.arm_resources
  - module: audioprothese.platform.k8s_applyset
"""

EXAMPLES = r"""
- name: Render the documents of the network
  audioprothese.platform.documents:
    templates: [azure/*.yml.j2]
    into: azure

- name: Converge what all roles have collected
  audioprothese.platform.arm_resources:
    documents: "{{ platform_documents.azure }}"
"""

RETURN = r"""
documents:
  description: The documents rendered by this task.
  returned: always
  type: list
  elements: dict
  sample:
    - id: /subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/rg-demo
      location: francecentral
platform_documents:
  description: All documents collected so far, by what they describe, charts under C(charts). Also a host variable.
  returned: always
  type: dict
  sample: {azure: [], kubernetes: [], charts: []}
"""
# The work is done by the action plugin of the same name.
