#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_images
short_description: Import pinned images into an Azure container registry
version_added: 0.1.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Imports images into an Azure container registry when they are missing, or when their tag means another digest than
    the pinned one. What an image is, its digest alone decides.
  - The service fetches the image itself (importImage); nothing passes through this machine.
  - After each import the registry is asked again, and a digest that is not the pinned one fails the task.
  - Images that nobody asks for are left alone.
options:
  registry_id:
    description: ARM id of the registry. While there is none, check mode reports every image as missing and unverified.
    type: str
    required: true
  images:
    description: The images that the registry has to hold, under the repository and tag they are published by.
    type: list
    elements: dict
    required: true
    suboptions:
      registry:
        description: Registry that publishes it.
        type: str
        required: true
      repository:
        description: Its name there and here.
        type: str
        required: true
      tag:
        description: Its tag there and here.
        type: str
        required: true
      digest:
        description: Digest of its manifest or index. Empty takes whatever the tag means at the import.
        type: str
        default: ""
      platform:
        description: Operating system and architecture that it has to serve; checked where digests are pinned, not here.
        type: str
        default: linux/amd64
  endpoint:
    description:
      - Where the data plane of registries answers when their names do not resolve. The login server is added to its
        path.
    type: str
    default: ""
  expect_plan:
    description: Digest of the approved plan (RV(plan_digest)). A real run refuses to do anything else.
    type: str
extends_documentation_fragment:
  - audioprothese.platform.azure
  - audioprothese.platform.converge.lease
attributes:
  check_mode:
    support: full
    description: Predicts what would be imported.
  diff_mode:
    support: full
    description: Shows source and digest of each image.
  idempotent:
    support: full
    description: What is there with the pinned digest is not imported again.
requirements:
  - azure-identity
  - azure-mgmt-core
  - requests
seealso:
  - module: audioprothese.platform.arm_resources
  - name: Azure built-in roles
    description: The identity needs AcrPull and the right to importImage, as Contributor on the registry has both.
    link: https://learn.microsoft.com/azure/container-registry/container-registry-rbac-built-in-roles-overview
"""

EXAMPLES = r"""
- name: Import the platform's images
  audioprothese.platform.registry_images:
    registry_id: "{{ platform_ids.registry }}"
    images:
      - registry: docker.io
        repository: library/mariadb
        tag: 10.11.18
        digest: sha256:5a0f3a9bd2f7f1b6a9e4d7c38c1e2a4b5d6f708192a3b4c5d6e7f8091a2b3c4d
"""

RETURN = r"""
resources:
  description: The images after the run (before it, in check mode) by resource id.
  returned: always
  type: dict
  sample:
    /subscriptions/.../registries/acrdemo/images/library/mariadb:10.11.18:
      {source: docker.io, repository: library/mariadb, tag: 10.11.18, digest: "sha256:5a0f..."}
findings:
  description: Every image that is missing or another one, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: registry
      resource: /subscriptions/.../registries/acrdemo/images/library/mariadb:10.11.18
      type: Microsoft.ContainerRegistry/registries/images
      path: digest
      verdict: drift
      action: update
      desired: "sha256:5a0f..."
      live: "sha256:77c1..."
      origin: ""
      message: library/mariadb:10.11.18 is another image than the one that was pinned.
plan:
  description: What is imported (in check mode, would be), in order. C(action) is C(create) or C(update).
  returned: always
  type: list
  elements: dict
  sample:
    - action: create
      resource: /subscriptions/.../registries/acrdemo/images/library/mariadb:10.11.18
      type: Microsoft.ContainerRegistry/registries/images
      changes: []
      unverified: false
plan_digest:
  description: Stable hash of the plan, the same in check and real mode.
  returned: always
  type: str
  sample: sha256:2f1a...
timing:
  description: Seconds by phase.
  returned: always
  type: dict
  sample: {read: 0.2, apply: 31.1, total: 31.3}
requests:
  description: Requests by verb; retries and throttled answers apart.
  returned: always
  type: dict
  sample: {GET: 1, HEAD: 4, POST: 6, TOKEN: 2, retries: 0, throttled: 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec, auth_options
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import connect
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.face import exit_with
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import open_lease
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.client import RegistryClient
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.images import parse
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.options import argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.runner import Options, Runner


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec={**argument_spec(), **auth_argument_spec()}, supports_check_mode=True)
    exit_with(module, lambda: _converge(module), libraries="azure-identity, azure-mgmt-core")


def _converge(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    progress = Progress(params["_progress"])
    wanted = parse(params["images"])
    azure = connect(params, progress=progress, verbosity=module._verbosity)
    verify = params["cert_validation_mode"] != "ignore"
    runner = Runner(
        RegistryClient(azure, params["registry_id"], endpoint=params["endpoint"], verify=verify),
        Options(
            registry_id=params["registry_id"].rstrip("/"),
            check=module.check_mode,
            expect_plan=params["expect_plan"] or "",
        ),
        hold=lambda: open_lease(params, say=progress.say, connection=auth_options(params)),
        report=Report(requests=azure.requests, progress=progress),
    )
    return runner.run(wanted)


if __name__ == "__main__":
    main()
