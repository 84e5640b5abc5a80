#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mariadb_accounts
short_description: Converge the accounts of a MariaDB that runs in a cluster
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Makes the accounts of every server of a StatefulSet exactly those that are declared, how they log in, whether they
    need TLS, their limits, and what they are granted, no less and no more.
  - What nobody declared is reported as C(unexpected), and removed only where that is asked for.
  - An account that may come from another machine never gets administrative privileges.
options:
  accounts:
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
        description: Where it may come from.
        type: str
        default: "%"
      plugin:
        description:
          - V(mysql_native_password) asks for a password.
          - V(unix_socket) trusts the operating system's user of the same name, on the server's machine.
        type: str
        choices: [mysql_native_password, unix_socket]
        default: mysql_native_password
      password:
        description:
          - Its password, best as a deferred value of a Key Vault, made by the filter
            P(audioprothese.platform.secret#filter). It is compared and set by its hash.
          - While M(audioprothese.platform.key_vault_rotation) has the rotation of that secret open, the account logs in
            with the value before as well.
        type: str
      require:
        description: What its connections need. V(x509) is TLS with a certificate of the client.
        type: str
        choices: [none, ssl, x509]
        default: ssl
      limits:
        description: Limits; 0 is none.
        type: dict
        suboptions:
          max_queries_per_hour:
            description: Queries in an hour.
            type: float
            default: 0
          max_updates_per_hour:
            description: Changes in an hour.
            type: float
            default: 0
          max_connections_per_hour:
            description: Connections made in an hour.
            type: float
            default: 0
          max_user_connections:
            description: Connections at once.
            type: float
            default: 0
          max_statement_time:
            description: Seconds that a statement may take.
            type: float
            default: 0
      locked:
        description: Nobody may log in as it.
        type: bool
        default: false
      grants:
        description: What it may do.
        type: list
        elements: dict
        default: []
        suboptions:
          "on":
            description: C(*.*), C(database.*), C(database.table) or C(PROCEDURE database.name).
            type: str
            required: true
          privileges:
            description: Privileges; a column list stands in brackets, as in C(SELECT (name, birthdate\)).
            type: list
            elements: str
            required: true
          grant_option:
            description: It may hand these privileges on.
            type: bool
            default: false
  databases:
    description: Databases that must exist. They are made with the server's character set, never altered or dropped.
    type: list
    elements: str
    default: []
  certificate_file:
    description:
      - Certificate that the server should serve, inside of the container. When it was renewed, the server is told to
        read it (C(FLUSH SSL)); connections stay. The kubelet renews files of a Secret within some two minutes.
    type: str
  certificate:
    description: What O(certificate_file) should hold, best as a deferred value of a Key Vault.
    type: str
  certificate_timeout:
    description: Seconds that a real run waits until O(certificate_file) holds O(certificate). Then it goes on without.
    type: int
    default: 0
  left_alone:
    description: Patterns (C(user@host)) of accounts that are neither declared nor reported.
    type: list
    elements: str
    default: [mariadb.sys@localhost, healthcheck@localhost, healthcheck@127.0.0.1, "healthcheck@::1"]
  remove_unexpected:
    description: Remove accounts and roles that nobody declared.
    type: bool
    default: false
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
    description: Reads, and predicts every change without making one.
  diff_mode:
    support: full
    description: Shows what differs, place by place; passwords are fingerprints.
  idempotent:
    support: full
    description: What is as declared is not written.
seealso:
  - module: audioprothese.platform.mariadb_replication
  - module: audioprothese.platform.k8s_applyset
"""

EXAMPLES = r"""
- name: Converge the accounts
  audioprothese.platform.mariadb_accounts:
    cluster: "{{ platform_ids.cluster }}"
    namespace: mariadb
    statefulset: mariadb
    accounts:
      - user: openmrs
        password: "{{ platform_ids.key_vault | audioprothese.platform.secret('mariadb-openmrs-password') }}"
        grants:
          - on: openmrs.*
            privileges: [SELECT, INSERT, UPDATE, DELETE]
"""

RETURN = r"""
resources:
  description: Live accounts after the run (before it, in check mode), by C(MariaDBAccount/namespace/pod/user@host).
  returned: always
  type: dict
  sample:
    MariaDBAccount/mariadb/mariadb-0/openmrs@%:
      {require: ssl, locked: false, limits: {}, grants: {openmrs.*: [SELECT]}}
findings:
  description: Every place that is not as declared, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: mariadb
      resource: MariaDBAccount/mariadb/mariadb-0/openmrs@%
      type: mariadb/account
      path: grants[openmrs.*]
      verdict: drift
      action: update
      desired: [SELECT]
      live: [DROP, SELECT]
      origin: ""
      message: ""
plan:
  description: What is done (in check mode, would be done), in order.
  returned: always
  type: list
  elements: dict
  sample:
    - action: update
      resource: MariaDBAccount/mariadb/mariadb-0/openmrs@%
      type: mariadb/account
      changes: [{path: "grants[openmrs.*]", desired: [SELECT], live: [DROP, SELECT]}]
      unverified: false
plan_digest:
  description: Stable hash of the plan, the same in check and real mode.
  returned: always
  type: str
  sample: sha256:2f1a...
pending:
  description: A server could not be asked that may answer later. A pod on a simulated node is none.
  returned: always
  type: bool
  sample: false
timing:
  description: Seconds by phase.
  returned: always
  type: dict
  sample: {connect: 0.1, read: 0.3, apply: 0.2, total: 0.6}
requests:
  description: Requests by verb; commands run in pods are C(EXEC), requests to Azure are below C(azure).
  returned: always
  type: dict
  sample: {GET: 3, EXEC: 4, retries: 0, throttled: 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts_runner import (
    AccountsRunner,
    Options,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.connect import Connections
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.face import run_module
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.options import accounts_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import OPEN


def main() -> t.NoReturn:
    run_module(accounts_spec(), _converge)


def _converge(module: AnsibleModule, connections: Connections) -> dict[str, t.Any]:
    params = module.params
    passwords, previous = {}, {}
    for entry in params["accounts"]:
        if entry["plugin"] == "unix_socket":
            continue
        name = f"{entry['user']}@{entry['host']}"
        passwords[name] = connections.password(entry["password"] or "")
        previous[name] = connections.replaced(entry["password"], OPEN)
        if passwords[name] is None and not module.check_mode:
            raise InputError("its password is not in the vault", where=name, remedy="Make it first (role secrets)")
    module.no_log_values.update(filter(None, [*passwords.values(), *previous.values()]))
    runner = AccountsRunner(
        servers=connections.servers,
        check=module.check_mode,
        must_exist=params["must_exist"],
        expect_plan=params["expect_plan"] or "",
        hold=connections.hold,
        report=connections.report(),
    )
    options = Options(
        databases=tuple(params["databases"]),
        certificate_file=params["certificate_file"] or "",
        certificate=connections.password(params["certificate"]) or "",
        certificate_timeout=params["certificate_timeout"],
        left_alone=tuple(params["left_alone"]),
        remove=params["remove_unexpected"],
    )
    return runner.run(params["accounts"], passwords, options, previous=previous)


if __name__ == "__main__":
    main()
