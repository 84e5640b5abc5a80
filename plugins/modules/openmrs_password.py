#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: openmrs_password
short_description: Give a user of OpenMRS the password that a Key Vault has, and prove it
version_added: 0.3.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Signs in to OpenMRS over HTTPS with the password of the vault. Where that is refused, the one that a rotation under
    way replaces (M(audioprothese.platform.key_vault_rotation)) signs in and changes it.
  - Proves then that the password of the vault is accepted and the one before refused. OpenMRS accepts one password at
    any time, so there is no overlap.
  - Fails where neither is accepted. Where OpenMRS does not answer nothing is changed, and nothing is RV(proven).
options:
  url:
    description: Address of OpenMRS, C(https://host).
    type: str
    required: true
  user:
    description: Name of the user, who needs no right but to sign in.
    type: str
    default: admin
  user_password:
    description: What must be accepted, best a deferred value of a Key Vault, made by the filter
      P(audioprothese.platform.secret#filter). The name of that secret is then what is RV(proven).
    type: str
    required: true
  addresses:
    description: What is connected to in place of the address of a name, C(host:port) by scheme, to reach a name that
      no DNS knows yet.
    type: dict
    default: {}
  ca_path:
    description: PEM file of the authorities that are trusted; without it those of the machine.
    type: path
  timeout:
    description: Seconds to wait for one answer.
    type: int
    default: 20
extends_documentation_fragment:
  - audioprothese.platform.converge.lease
  - audioprothese.platform.converge.redaction
  - audioprothese.platform.azure
  - audioprothese.platform._attributes.actiongroup_azure
attributes:
  check_mode:
    support: full
    description: Signs in, and predicts the change.
  diff_mode:
    support: full
    description: Says which password is accepted, and shows none.
  idempotent:
    support: full
    description: Changes nothing where the password of the vault is accepted.
seealso:
  - module: audioprothese.platform.key_vault_rotation
  - module: audioprothese.platform.mariadb_logins
"""

EXAMPLES = r"""
- name: Give the administrator the password of the vault
  audioprothese.platform.openmrs_password:
    url: https://openmrs.example.fr
    user_password: "{{ platform_ids.key_vault | audioprothese.platform.secret('openmrs-admin-password') }}"
"""

RETURN = r"""
proven:
  description: The secret, when it is accepted and the one before refused.
  returned: success
  type: list
  elements: str
  sample: [openmrs-admin-password]
pending:
  description: OpenMRS could not be asked.
  returned: success
  type: bool
  sample: false
findings:
  description: What was found.
  returned: success
  type: list
  elements: dict
  sample:
    - source: openmrs
      resource: OpenMRSUser/admin
      type: openmrs/user
      path: password
      verdict: equal
      action: ""
      desired: null
      live: null
      origin: ""
      message: the password of the vault signs in
plan:
  description: What is done (in check mode, would be done).
  returned: success
  type: list
  elements: dict
  sample:
    - action: update
      resource: OpenMRSUser/admin
      type: openmrs/user
      changes: [{path: password, desired: current password accepted, live: password before accepted}]
      unverified: false
plan_digest:
  description: Stable hash of the plan, the same in check and real mode.
  returned: success
  type: str
  sample: sha256:2f1a...
timing:
  description: Seconds by phase.
  returned: success
  type: dict
  sample: {total: 0.4}
requests:
  description: Requests to Azure, below C(azure).
  returned: success
  type: dict
  sample: {azure: {GET: 1, retries: 0, throttled: 0}}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec, auth_options
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import connect
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.face import exit_with
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import (
    lease_argument_spec,
    open_lease,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import redaction_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import find_references
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.result import build_result
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.timing import Timing
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.lookup import Azure, Lookup
from ansible_collections.audioprothese.platform.plugins.module_utils.openmrs.administrator import Administrator
from ansible_collections.audioprothese.platform.plugins.module_utils.openmrs.password import Passwords, converge
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import CLOSING, OPEN
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.https import Client


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "user": {"type": "str", "default": "admin"},
            "user_password": {"type": "str", "required": True, "no_log": True},
            "addresses": {"type": "dict", "default": {}},
            "ca_path": {"type": "path"},
            "timeout": {"type": "int", "default": 20},
            "_progress": {"type": "str"},
            **lease_argument_spec(),
            **redaction_argument_spec(),
            **auth_argument_spec(),
        },
        supports_check_mode=True,
    )
    exit_with(module, lambda: _converge(module), libraries="azure-identity, azure-mgmt-core, urllib3")


def _converge(module: AnsibleModule) -> dict[str, t.Any]:
    params, timing = module.params, Timing()
    progress = Progress(params["_progress"])
    azure = Azure(lambda: connect(params, progress=progress, verbosity=module._verbosity))
    lookup = Lookup(azure)
    name, passwords = _passwords(lookup, params["user_password"])
    module.no_log_values.update(filter(None, (passwords.current, passwords.before)))
    client = Client(ca_path=params["ca_path"] or "", addresses=params["addresses"], timeout=params["timeout"])
    outcome = converge(
        Administrator(client, params["url"], params["user"]),
        passwords,
        check=module.check_mode,
        hold=lambda: open_lease(params, say=progress.say, connection=auth_options(params)),
    )
    result = build_result(
        resources={},
        findings=outcome.findings,
        actions=outcome.actions,
        timing=timing.seconds(),
        requests=azure.requests(),
        redactor=lookup.redactor(params["redaction_secret"]),
    )
    return {**result, "proven": [name] if outcome.proven else [], "pending": outcome.pending}


def _passwords(lookup: Lookup, value: str) -> tuple[str, Passwords]:
    """The name of the secret, and its values; a password that is no deferred value has none before it."""
    references = [found for found in find_references(value) if found.kind == "secret" and str(found) == value]
    if not references:
        return "password", Passwords(current=value)
    vault, name = references[0].target, references[0].path
    current = lookup.secret(vault, name)
    if not current:
        raise InputError("the password is not in the vault", where=name, remedy="Make it first (role secrets)")
    before = lookup.replaced(vault, name, OPEN) or lookup.replaced(vault, name, CLOSING)
    return name, Passwords(current=current, before=before)


if __name__ == "__main__":
    main()
