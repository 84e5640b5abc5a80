#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: key_vault_rotation
short_description: Rotate secrets of an Azure Key Vault in steps that can be interrupted
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Does one step of a rotation, or reports which secrets are due and which rotations are under way.
  - How far a rotation is stands in the vault only, in tags of the secret's current version, so that any later run goes
    on from there. A step that was done already changes nothing.
  - "A rotation has two phases. In the first one (C(open)) the new value exists and the one before is accepted beside
    it: M(audioprothese.platform.mariadb_accounts) sees to that. In the second one (C(closing)) only the new one is, and
    the old one must be proven refused. Then every older version is disabled: it stays in the vault, where nobody can
    read it until somebody enables it again."
  - An authority has a phase between the two (C(signing)). While it is open everybody learns to trust it, and the one
    before goes on signing. Then it signs, and what the other one signed is rotated like anything else. In both phases
    the value of its certificate is a bundle of the two; the last phase takes the old one out.
  - What must be proven between the steps, this module does not know. Whoever calls it does the proof first.
options:
  vault_id:
    description: ARM id of the vault.
    type: str
    required: true
  secrets:
    description: The catalogue. How a new value is made is as in M(audioprothese.platform.key_vault_secrets).
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
      purpose:
        description: What it is for. For people.
        type: str
      owner:
        description: Whose it is. For people.
        type: str
      consumers:
        description: Who uses it. For people.
        type: list
        elements: str
      rotation:
        description: How it is rotated, or why it is not.
        type: dict
        required: true
        suboptions:
          days:
            description: Its period. From then on it is reported as due.
            type: int
          proof:
            description:
              - What must be seen before the old value is let go.
              - V(login), the new password opens a session everywhere, and then the old one opens none.
              - V(served), the new certificate is served everywhere.
              - V(exchanged), who keeps a copy was told the new one by the old one, and accepts only that from then on.
              - V(delivered), whoever is given it has it and is ready.
              - V(trusted), of an authority, see M(audioprothese.platform.mariadb_trust); everybody trusts it before it
                signs, and it alone in the end.
            type: str
            choices: [login, served, exchanged, delivered, trusted]
          because:
            description: Why it is not rotated by command, in place of the two above.
            type: str
          effect:
            description: What else a rotation brings about. For people.
            type: str
  step:
    description:
      - V(report) changes nothing.
      - V(open) writes a new version of those of O(only), or of all that are due. A pair gets both parts anew.
      - V(back) writes the value before once more, as a new version, so that the rotation goes the other way. It must
        not be closed yet, and a certificate does not go back, but an authority does. What was gone back to is due at
        once.
      - V(proven) ends the overlap of those of O(only) whose rotation is open. An authority signs from then on, which
        opens the rotation of what it has not signed yet; when all of that is closed, its overlap ends as well.
      - V(close) disables the older versions of those of O(only) that are not accepted any more.
    type: str
    choices: [report, open, back, proven, close]
    default: report
  only:
    description: Names of the catalogue, or of the secrets that they stand for.
    type: list
    elements: str
    default: []
  expect_plan:
    description: Digest of the approved plan (RV(plan_digest)). A real run refuses to do anything else.
    type: str
extends_documentation_fragment:
  - audioprothese.platform.converge.lease
  - audioprothese.platform.azure
attributes:
  check_mode:
    support: full
    description: Predicts the step.
  diff_mode:
    support: full
    description: Shows the phases, never a value.
  idempotent:
    support: full
    description: A step that was done changes nothing. After the last one V(open) begins anew.
requirements:
  - azure-identity
  - azure-mgmt-core
  - cryptography >= 43
notes:
  - Key Vault cannot delete single versions of a secret, so that older ones stay, disabled.
seealso:
  - module: audioprothese.platform.key_vault_secrets
  - module: audioprothese.platform.mariadb_logins
  - module: audioprothese.platform.mariadb_trust
"""

EXAMPLES = r"""
- name: Report what is due
  audioprothese.platform.key_vault_rotation:
    vault_id: "{{ platform_ids.key_vault }}"
    secrets: "{{ secrets_catalogue }}"

- name: Begin to rotate one of them
  audioprothese.platform.key_vault_rotation:
    vault_id: "{{ platform_ids.key_vault }}"
    secrets: "{{ secrets_catalogue }}"
    step: open
    only: [mariadb-openmrs-password]
"""

RETURN = r"""
rotations:
  description:
    - Each row of the catalogue after the run (before it, in check mode).
    - C(phase) is closed, open, signing or closing.
  returned: always
  type: dict
  sample:
    mariadb-openmrs-password:
      phase: open
      proof: login
      because: ""
      effect: ""
      days: 90
      age: 0
      due: false
      secrets: [mariadb-openmrs-password]
resources:
  description: The same by resource id, of those that are in the vault.
  returned: always
  type: dict
  sample: {/subscriptions/.../vaults/kv-demo/secrets/mariadb-openmrs-password: {phase: open}}
findings:
  description: What is due, and what is under way.
  returned: always
  type: list
  elements: dict
  sample:
    - source: vault
      resource: /subscriptions/.../vaults/kv-demo/secrets/mariadb-openmrs-password
      type: Microsoft.KeyVault/vaults/secrets
      path: age
      verdict: drift
      action: ""
      desired: less than 90 days
      live: 97 days
      origin: ""
      message: "It is due: playbooks/rotate.yml -e secret=mariadb-openmrs-password"
plan:
  description: What is done (in check mode, would be done), in order.
  returned: always
  type: list
  elements: dict
  sample:
    - action: rotate
      resource: /subscriptions/.../vaults/kv-demo/secrets/mariadb-openmrs-password
      type: Microsoft.KeyVault/vaults/secrets
      changes: [{path: rotation, desired: open, live: closed}]
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
  sample: {read: 0.2, apply: 0.6, total: 0.8}
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
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.options import rotation_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation_runner import (
    RotationOptions,
    RotationRunner,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec={**rotation_argument_spec(), **auth_argument_spec()}, supports_check_mode=True)
    if CRYPTOGRAPHY_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=CRYPTOGRAPHY_IMPORT_ERROR)
    exit_with(module, lambda: _rotate(module), libraries="azure-identity, azure-mgmt-core")


def _rotate(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    progress = Progress(params["_progress"])
    wanted = expand(params["secrets"])
    azure = connect(params, progress=progress, verbosity=module._verbosity)
    runner = RotationRunner(
        VaultClient(azure, params["vault_id"]),
        RotationOptions(
            vault_id=params["vault_id"],
            step=params["step"],
            only=tuple(params["only"]),
            check=module.check_mode,
            expect_plan=params["expect_plan"] or "",
        ),
        hold=lambda: open_lease(params, say=progress.say, connection=auth_options(params)),
        learn=module.no_log_values.add,
        report=Report(requests=azure.requests, progress=progress),
    )
    return runner.run(params["secrets"], wanted)


if __name__ == "__main__":
    main()
