#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mariadb_replication
short_description: Converge the replication of a MariaDB that runs in a cluster, or promote a replica
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Makes one server of a StatefulSet the primary and every other one a replica of it, read-only, by GTID, over TLS with
    a verified certificate. A replica that is empty gets a copy of the primary; its dump never leaves the replica's pod.
  - A commit of the primary waits until a replica has it (O(semi_sync)); a replica waits for nobody.
  - A replica that stopped, reads from elsewhere or takes writes is found and corrected. One that has changes which the
    primary does not have, or lacks changes that the primary does not give it (its log begins later, or it sends
    nothing), is reported and left alone until O(reseed) names it.
  - Another primary is made by O(promote) only. It refuses while the old one is alive or the replica is behind.
  - Each pod is labelled with its role (C(platform.audioprothese/mariadb-role)).
options:
  primary:
    description: Number of the pod that is, or with O(promote) becomes, the primary.
    type: int
    default: 0
  promote:
    description:
      - Make O(primary) the primary. An old one that is alive is fenced first (read-only, clients cut off), and the new
        one catches up with it. If it does not, the old one takes writes again and nothing has changed.
      - When this is cut short, run it again.
    type: bool
    default: false
  allow:
    description:
      - Guards of a promotion to waive.
      - V(primary_alive) is for a planned switch, V(replica_behind) accepts the loss of what the replica does not have.
    type: list
    elements: str
    choices: [primary_alive, replica_behind]
    default: []
  renew_password:
    description:
      - Give every replica O(replication_password) again, which no server tells whether it has. Replication pauses for a
        moment. For a rotation, while both passwords are accepted; with it, every run changes every replica.
    type: bool
    default: false
  cut_off:
    description:
      - End the sessions of clients on replicas, once. Pools of connections that were made when one of them was the
        primary would go on there, and could not write, for as long as they live.
      - For the moment after the Service of the primary has been pointed to another server. Who reads from replicas
        connects again.
    type: bool
    default: false
  reseed:
    description:
      - Numbers of replicas to throw away and to copy anew from the primary, whatever they have.
      - The primary is never copied over.
    type: list
    elements: int
    default: []
  semi_sync:
    description:
      - A commit of the primary waits until one replica has it (C(rpl_semi_sync_master_enabled)).
      - It is always off on a replica. With nobody to pass its log on to, it would hold up the first change that it
        applies until C(rpl_semi_sync_master_timeout), and with it a promotion.
    type: bool
    default: true
  address:
    description: Domain of the pods (that of their headless Service). A source is C(<pod>.<address>).
    type: str
    required: true
  port:
    description: Port of the servers.
    type: int
    default: 3306
  replication_user:
    description: Account that replicas read as.
    type: str
    default: replication
  replication_password:
    description: Its password, best as a deferred value of a Key Vault.
    type: str
    required: true
  backup_user:
    description: Account that a new replica copies the primary as.
    type: str
    default: backup
  backup_password:
    description: Its password, best as a deferred value of a Key Vault.
    type: str
    required: true
  ca_file:
    description: Authority of the servers' certificates, inside of the container.
    type: str
    required: true
  catch_up_timeout:
    description: Seconds that a replica may need to catch up before it is promoted.
    type: int
    default: 60
  seed_timeout:
    description: Seconds that a copy of the primary may take.
    type: int
    default: 3600
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
    description: Shows what differs, place by place.
  idempotent:
    support: full
    description: What is as declared is not written. O(renew_password) and O(cut_off) are deeds, and done each time.
seealso:
  - module: audioprothese.platform.mariadb_accounts
  - module: audioprothese.platform.k8s_applyset
"""

EXAMPLES = r"""
- name: Converge replication
  audioprothese.platform.mariadb_replication:
    cluster: "{{ platform_ids.cluster }}"
    namespace: mariadb
    statefulset: mariadb
    address: mariadb-headless.mariadb.svc.cluster.local
    ca_file: /run/mariadb-tls/ca.crt
    replication_password: "{{ platform_ids.key_vault | audioprothese.platform.secret('mariadb-replication-password') }}"
    backup_password: "{{ platform_ids.key_vault | audioprothese.platform.secret('mariadb-backup-password') }}"

- name: Make the first replica the primary while the old one is alive
  audioprothese.platform.mariadb_replication:
    kubeconfig: ~/.kube/config
    namespace: mariadb
    statefulset: mariadb
    address: mariadb-headless.mariadb.svc.cluster.local
    ca_file: /run/mariadb-tls/ca.crt
    replication_password: "{{ replication_password }}"
    backup_password: "{{ backup_password }}"
    primary: 1
    promote: true
    allow: [primary_alive]
"""

RETURN = r"""
resources:
  description: Servers after the run (before it, in check mode), by C(MariaDBServer/namespace/pod).
  returned: always
  type: dict
  sample:
    MariaDBServer/mariadb/mariadb-1:
      serverId: 2
      readOnly: true
      semiSync: false
      gtid: 0-1-4711
      replication: {source: "mariadb-0.mariadb-headless:3306", fetching: "Yes", applying: "Yes"}
findings:
  description: Every place that is not as it should be, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: mariadb
      resource: MariaDBServer/mariadb/mariadb-1
      type: mariadb/replication
      path: readOnly
      verdict: drift
      action: update
      desired: true
      live: false
      origin: ""
      message: ""
plan:
  description: What is done (in check mode, would be done), in order.
  returned: always
  type: list
  elements: dict
  sample:
    - action: update
      resource: MariaDBServer/mariadb/mariadb-1
      type: mariadb/replication
      changes: [{path: readOnly, desired: true, live: false}]
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
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.connect import Connections
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.face import run_module
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.options import replication_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.replication import Source
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.replication_runner import (
    Options,
    ReplicationRunner,
)


def main() -> t.NoReturn:
    run_module(replication_spec(), _converge)


def _converge(module: AnsibleModule, connections: Connections) -> dict[str, t.Any]:
    params = module.params
    passwords = {name: connections.password(params[name]) for name in ("replication_password", "backup_password")}
    module.no_log_values.update(filter(None, passwords.values()))

    def source(number: int) -> Source:
        host = f"{params['statefulset']}-{number}.{params['address']}"
        return Source(host=host, port=params["port"], user=params["replication_user"], ca_file=params["ca_file"])

    runner = ReplicationRunner(
        servers=connections.servers,
        check=module.check_mode,
        # The reason for a promotion is a primary that cannot be asked any more.
        must_exist=params["must_exist"] and not params["promote"],
        expect_plan=params["expect_plan"] or "",
        hold=connections.hold,
        report=connections.report(),
    )
    return runner.run(
        Options(
            primary=params["primary"],
            promote=params["promote"],
            allow=tuple(params["allow"]),
            reseed=tuple(params["reseed"]),
            semi_sync=params["semi_sync"],
            renew_password=params["renew_password"],
            cut_off=params["cut_off"],
            source=source,
            password=passwords["replication_password"],
            backup_user=params["backup_user"],
            backup_password=passwords["backup_password"],
            catch_up_timeout=float(params["catch_up_timeout"]),
            seed_timeout=float(params["seed_timeout"]),
        )
    )


if __name__ == "__main__":
    main()
