#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mariadb_logins
short_description: Prove which passwords a MariaDB that runs in a cluster accepts
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Opens a session on every server of a StatefulSet with each password that must be accepted, and tries each that must
    be refused. It is the proof of a rotation, and writes nothing.
  - A real run fails where a password that must be accepted is refused, or the reverse, or where another certificate is
    served. Check mode reports it.
  - What cannot be asked is C(not_verifiable), and nothing of it is RV(proven).
options:
  logins:
    description: The accounts.
    type: list
    elements: dict
    required: true
    suboptions:
      user:
        description: Name.
        type: str
        required: true
      host:
        description: Host of the account. V(localhost) is tried over the server's socket, all others over TLS.
        type: str
        default: "%"
      password:
        description:
          - Must be accepted. Best a deferred value of a Key Vault, made by the filter
            P(audioprothese.platform.secret#filter); the name of that secret is then what is RV(proven).
          - While M(audioprothese.platform.key_vault_rotation) has its rotation open, the value before must be accepted
            as well. While it is closing, that must be refused.
        type: str
        required: true
  certificate:
    description: Certificate that every server must serve, best a deferred value of a Key Vault.
    type: str
  only:
    description: Names of secrets; nothing else is tried. Without it everything is.
    type: list
    elements: str
  port:
    description: Port of the servers, on their own machines.
    type: int
    default: 3306
extends_documentation_fragment:
  - audioprothese.platform.mariadb
  - audioprothese.platform.converge.lease
  - audioprothese.platform.converge.redaction
  - audioprothese.platform.kubernetes
  - audioprothese.platform.azure
  - audioprothese.platform._attributes.actiongroups
attributes:
  check_mode:
    support: full
    description: Tries the same, for it changes nothing; does not fail for what does not hold.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
seealso:
  - module: audioprothese.platform.key_vault_rotation
  - module: audioprothese.platform.mariadb_accounts
"""

EXAMPLES = r"""
- name: Prove that the password of the vault opens a session
  audioprothese.platform.mariadb_logins:
    cluster: "{{ platform_ids.cluster }}"
    namespace: mariadb
    statefulset: mariadb
    logins:
      - user: openmrs
        password: "{{ platform_ids.key_vault | audioprothese.platform.secret('mariadb-openmrs-password') }}"
"""

RETURN = r"""
proven:
  description: Names of the secrets, or else of the accounts, of which everything holds on every server.
  returned: success
  type: list
  elements: str
  sample: [mariadb-openmrs-password]
findings:
  description: What was tried, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: mariadb
      resource: MariaDBAccount/mariadb/mariadb-0/openmrs@%
      type: mariadb/login
      path: mariadb-openmrs-password
      verdict: equal
      action: ""
      desired: revoked password refused
      live: refused
      origin: ""
      message: the server refuses the revoked password of openmrs@%
pending:
  description: A server could not be asked that may answer later. A pod on a simulated node is none.
  returned: always
  type: bool
  sample: false
plan_digest:
  description: Digest of the plan, which is always empty here.
  returned: always
  type: str
  sample: sha256:4f53...
timing:
  description: Seconds by phase.
  returned: always
  type: dict
  sample: {connect: 0.1, read: 0.3, total: 0.4}
requests:
  description: Requests by verb; commands run in pods are C(EXEC), requests to Azure are below C(azure).
  returned: always
  type: dict
  sample: {GET: 3, EXEC: 4, retries: 0, throttled: 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import find_references
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.connect import Connections
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.face import run_module
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.logins import (
    Certificate,
    Claim,
    LoginsRunner,
    claims_of,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.options import logins_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import CLOSING, OPEN


def main() -> t.NoReturn:
    run_module(logins_spec(), _prove)


def _prove(module: AnsibleModule, connections: Connections) -> dict[str, t.Any]:
    params = module.params
    only = params["only"]
    claims = [
        claim
        for entry in params["logins"]
        if only is None or _name(entry["password"], f"{entry['user']}@{entry['host']}") in only
        for claim in _claims(module, connections, entry)
    ]
    certificate = None
    if params["certificate"] and (only is None or _name(params["certificate"], "certificate") in only):
        pem = connections.password(params["certificate"])
        certificate = Certificate(secret=_name(params["certificate"], "certificate"), pem=pem) if pem else None
    module.no_log_values.update(claim.password for claim in claims)
    runner = LoginsRunner(
        servers=connections.servers,
        check=module.check_mode,
        must_exist=params["must_exist"],
        report=connections.report(),
    )
    return runner.run(claims, port=params["port"], certificate=certificate)


def _claims(module: AnsibleModule, connections: Connections, entry: dict[str, t.Any]) -> list[Claim]:
    name = f"{entry['user']}@{entry['host']}"
    current = connections.password(entry["password"])
    if not current and not module.check_mode:
        raise InputError("its password is not in the vault", where=name, remedy="Make it first (role secrets)")
    previous, revoked = (connections.replaced(entry["password"], phase) for phase in (OPEN, CLOSING))
    passwords = {"current": current or "", "previous": previous, "revoked": revoked}
    return claims_of(_name(entry["password"], name), (entry["user"], entry["host"]), passwords)


def _name(value: str, otherwise: str) -> str:
    """The secret that a deferred value names."""
    references = find_references(value)
    return references[0].path if references else otherwise


if __name__ == "__main__":
    main()
