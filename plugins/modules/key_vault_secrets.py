#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: key_vault_secrets
short_description: Make missing secrets in an Azure Key Vault
version_added: 0.1.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Makes passwords, keys and certificates in a Key Vault where they are missing. A value goes from the random number
    generator to the vault and nowhere else; no option, result, diff or message holds one.
  - The value of a secret that exists is never changed. What expires soon, is disabled, or is a certificate for other
    names or of another authority is reported as drift; making a new one is a rotation.
  - A soft-deleted secret is brought back with its value. Nothing is ever deleted or purged.
  - A pair cut short by a crash, a key without its certificate, is completed for the key that is there.
options:
  vault_id:
    description: ARM id of the vault. While there is none, check mode reports every secret as missing and unverified.
    type: str
    required: true
  secrets:
    description: The secrets.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name in the vault; letters, digits and hyphens.
          - For a certificate or an authority the beginning of two names, C(<name>-certificate) and C(<name>-key).
        type: str
        required: true
      kind:
        description:
          - V(password) is text, V(key) is random bytes in base64.
          - V(certificate_authority) signs itself and the certificates that name it as O(secrets[].issuer).
          - V(certificate) is one for a server. Keys are on elliptic curves (P-384 for an authority, P-256 otherwise),
            both parts in PEM form.
        type: str
        choices: [password, key, certificate_authority, certificate]
        required: true
      length:
        description: Characters of a password, bytes of a key. Less than 128 bits are refused.
        type: int
        default: 32
      alphabet:
        description: Characters of a password; by default letters, digits and C(._-).
        type: str
      expires_days:
        description: Days after which the secret counts as expired; without it, never. A certificate ends by itself.
        type: int
      tags:
        description: Tags. Others that are there stay.
        type: dict
        default: {}
      content_type:
        description: Content type; by default one that fits the kind.
        type: str
      common_name:
        description: Common name of a certificate; by default the first of O(secrets[].dns_names), or the name.
        type: str
      dns_names:
        description: Names and addresses of a V(certificate), which it must have.
        type: list
        elements: str
        default: []
      issuer:
        description: Name of the V(certificate_authority) of this task that signs a V(certificate).
        type: str
      validity_days:
        description:
          - Days that a certificate is valid; by default 397, 3650 for an authority. None outlives its authority.
        type: int
  renew_before_days:
    description: What ends sooner is reported as drift.
    type: int
    default: 30
  access_timeout:
    description:
      - Seconds that a real run waits while the vault refuses the identity; a new role assignment takes minutes.
    type: int
    default: 0
  expect_plan:
    description: Digest of the approved plan (RV(plan_digest)). A real run refuses to do anything else.
    type: str
extends_documentation_fragment:
  - audioprothese.platform.converge.lease
  - audioprothese.platform.azure
attributes:
  check_mode:
    support: full
    description: Predicts what would be made.
  diff_mode:
    support: full
    description: Shows how a secret is made, never its value.
  idempotent:
    support: full
    description: What exists keeps its value.
requirements:
  - azure-identity
  - azure-mgmt-core
  - cryptography >= 43
seealso:
  - module: audioprothese.platform.arm_resources
  - module: audioprothese.platform.k8s_applyset
  - name: Azure built-in roles
    description: The identity needs Key Vault Secrets Officer on the vault, and Reader on it.
    link: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/security
"""

EXAMPLES = r"""
- name: Make the database's password and certificate
  audioprothese.platform.key_vault_secrets:
    vault_id: "{{ platform_ids.key_vault }}"
    secrets:
      - name: mariadb-root-password
        kind: password
        expires_days: 365
      - name: platform-ca
        kind: certificate_authority
        common_name: Platform CA
      - name: mariadb-tls
        kind: certificate
        issuer: platform-ca
        dns_names: [mariadb.mariadb.svc.cluster.local]
"""

RETURN = r"""
resources:
  description: The secrets after the run (before it, in check mode) by resource id, without their values.
  returned: always
  type: dict
  sample:
    /subscriptions/.../vaults/kv-demo/secrets/mariadb-root-password:
      {name: mariadb-root-password, contentType: text/plain, enabled: true, expiresOn: null, tags: {}}
findings:
  description: Every secret that is missing or not as it should be, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: vault
      resource: /subscriptions/.../vaults/kv-demo/secrets/gateway-tls-certificate
      type: Microsoft.KeyVault/vaults/secrets
      path: notAfter
      verdict: drift
      action: ""
      desired: more than 30 days ahead
      live: "2026-12-01T00:00:00+00:00"
      origin: ""
      message: "It expires on 2026-12-01: rotate it."
plan:
  description:
    - What is done (in check mode, would be done), in order. C(action) is C(create), C(update) or C(recover).
  returned: always
  type: list
  elements: dict
  sample:
    - action: create
      resource: /subscriptions/.../vaults/kv-demo/secrets/mariadb-root-password
      type: Microsoft.KeyVault/vaults/secrets
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
  sample: {read: 0.2, plan: 0.0, apply: 1.1, total: 1.3}
requests:
  description: Requests by verb; retries and throttled answers apart.
  returned: always
  type: dict
  sample: {GET: 4, PUT: 1, TOKEN: 2, retries: 0, throttled: 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec, auth_options
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import connect
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.face import exit_with
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import open_lease
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.certificates import CRYPTOGRAPHY_IMPORT_ERROR
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.options import argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.runner import Options, Runner
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec={**argument_spec(), **auth_argument_spec()}, supports_check_mode=True)
    if CRYPTOGRAPHY_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=CRYPTOGRAPHY_IMPORT_ERROR)
    exit_with(module, lambda: _converge(module), libraries="azure-identity, azure-mgmt-core")


def _converge(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    progress = Progress(params["_progress"])
    wanted = expand(params["secrets"])
    azure = connect(params, progress=progress, verbosity=module._verbosity)
    runner = Runner(
        VaultClient(azure, params["vault_id"]),
        Options(
            vault_id=params["vault_id"],
            check=module.check_mode,
            expect_plan=params["expect_plan"] or "",
            renew_before_days=params["renew_before_days"],
            access_timeout=params["access_timeout"],
        ),
        hold=lambda: open_lease(params, say=progress.say, connection=auth_options(params)),
        learn=module.no_log_values.add,
        report=Report(requests=azure.requests, progress=progress),
    )
    return runner.run(wanted)


if __name__ == "__main__":
    main()
