#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Face of the second reader of Azure."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_azure
short_description: Read Azure resources over plain HTTP, and a kubeconfig for other readers
version_added: 0.3.0
author:
  - AudioProthese+ platform team (@audioprothese)
description:
  - Reads resources at once, with the token of a client secret, and shares no code with the modules that write them.
    Whether they are right is judged by M(audioprothese.platform.verify_report).
  - Makes a kubeconfig with a token of the same client, for tools that read the cluster. It is in the result, so that
    the task needs C(no_log).
options:
  cloud_environment:
    description:
      - ARM endpoint of the cloud, or its metadata endpoint, C(https://…).
      - Without it, or with the name of a cloud, it is Microsoft's public one.
    type: str
  tenant:
    description: Tenant of the client.
    type: str
    required: true
  client_id:
    description: Client that signs in.
    type: str
    required: true
  secret:
    description: Its secret.
    type: str
    required: true
  resources:
    description: What is read.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Resource id.
        type: str
        required: true
      api_version:
        description: Version of the API to ask with.
        type: str
        required: true
  cluster:
    description: ARM id of the cluster that a kubeconfig is made for; without it none is made.
    type: str
  timeout:
    description: Seconds to wait for one answer.
    type: int
    default: 20
requirements:
  - requests
attributes:
  check_mode:
    description: Reads as otherwise.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Read Azure back
  audioprothese.platform.verify_azure:
    tenant: 00000000-0000-0000-0000-000000000000
    client_id: "{{ lookup('ansible.builtin.env', 'AZURE_CLIENT_ID') }}"
    secret: "{{ lookup('ansible.builtin.env', 'AZURE_SECRET') }}"
    resources:
      - id: "{{ platform_ids.key_vault }}"
        api_version: "2024-11-01"
    cluster: "{{ platform_ids.cluster }}"
  register: found
  no_log: true
"""

RETURN = r"""
answers:
  description: Each resource with what was answered.
  returned: always
  type: list
  elements: dict
  sample:
    - id: /subscriptions/…/resourceGroups/rg-data/providers/Microsoft.KeyVault/vaults/kv-platform
      status: 200
      body: {name: kv-platform, properties: {enableRbacAuthorization: true}}
kubeconfig:
  description: How other tools reach the cluster, with a token; empty without a cluster.
  returned: always
  type: dict
  sample: {apiVersion: v1, kind: Config, current-context: reader, clusters: […], users: […], contexts: […]}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.face import exit_with


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "cloud_environment": {"type": "str"},
            "tenant": {"type": "str", "required": True},
            "client_id": {"type": "str", "required": True},
            "secret": {"type": "str", "required": True, "no_log": True},
            "resources": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "id": {"type": "str", "required": True},
                    "api_version": {"type": "str", "required": True},
                },
            },
            "cluster": {"type": "str"},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    exit_with(module, lambda: _read(module.params), libraries="requests")


def _read(params: dict[str, t.Any]) -> dict[str, t.Any]:
    import requests  # noqa: PLC0415
    from ansible_collections.audioprothese.platform.plugins.module_utils.verify.reader import Reader  # noqa: PLC0415

    with requests.Session() as session:
        reader = Reader(
            session,
            cloud=params["cloud_environment"] or "",
            tenant=params["tenant"],
            client_id=params["client_id"],
            secret=params["secret"],
            timeout=params["timeout"],
        )
        return {
            "changed": False,
            "answers": reader.resources(params["resources"]),
            "kubeconfig": reader.kubeconfig(params["cluster"]) if params["cluster"] else {},
        }


if __name__ == "__main__":
    main()
