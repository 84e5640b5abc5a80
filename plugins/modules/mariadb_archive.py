#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mariadb_archive
short_description: Back up a MariaDB that runs in a cluster, and prove that it comes back
version_added: 0.3.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Asks the archive that runs as a container beside the primary of a StatefulSet, through the exec API of Kubernetes.
    The archive works by itself; this module looks at it, has it take one more full backup, or tries a restore.
  - A restore is tried in a Job of its own, which restores the latest moment into a volume of its own, reads every table
    and is removed with that volume, also when it failed or took too long. It touches no server.
  - An archive that is too old or has a gap, a key that opens nothing, a blob that was changed and programs of another
    series of MariaDB are each one clear error. Check mode reports them, and does not fail.
options:
  operation:
    description:
      - V(report) says which moments can be restored.
      - V(full) takes a full backup, and then says that.
      - V(drill) restores the latest moment for nothing.
    type: str
    choices: [report, full, drill]
    default: report
  namespace:
    description: Namespace of the database.
    type: str
    required: true
  statefulset:
    description: StatefulSet whose pods run the servers.
    type: str
    required: true
  container:
    description: Container of the archive.
    type: str
    default: archive
  primary:
    description: Number of the pod that is the primary. The archives of the others idle.
    type: int
    default: 0
  full_hours:
    description: Greatest age of the youngest full backup, in hours.
    type: float
    default: 26
  log_minutes:
    description: Greatest age of the youngest archived change, in minutes.
    type: float
    default: 10
  job:
    description:
      - The Job that tries a restore, as a manifest, for O(operation=drill). Its one container runs the archive's
        program with C(drill), and its name is the lock of all that do the same.
    type: dict
  compare:
    description:
      - The server that O(operation=drill) compares with. Its rows are counted in one snapshot, which its users do not
        notice. Exactly the transactions of that snapshot are restored, once they are archived, and every table has to
        hold the same number of rows and the same newest times.
      - Without it, and while O(container) does not run, the latest archived moment is restored and compared with
        nothing; C(report.compared) is 0 then.
    type: dict
    suboptions:
      container:
        description: Container of the server.
        type: str
        default: mariadb
      administrator:
        description: Account that the server knows by the user of the operating system (C(unix_socket)).
        type: str
        default: mysql
      root_password_file:
        description: File in that container with the password of C(root), used when the administrator is not there.
        type: str
      socket:
        description: The server's socket in that container.
        type: str
        default: /run/mysqld/mysqld.sock
  timeout:
    description: Seconds that a full backup or a restore may take, and that counting may.
    type: int
    default: 14400
  cluster:
    description:
      - ARM id of an AKS cluster. Its address is read from ARM, and the token is one of the Azure identity.
      - Without it the options of the kubernetes.core collection decide.
    type: str
extends_documentation_fragment:
  - audioprothese.platform.kubernetes
  - audioprothese.platform.azure
  - audioprothese.platform._attributes.actiongroups
attributes:
  check_mode:
    support: full
    description: Takes no backup and restores nothing. Whether the data comes back is C(not_verifiable) then.
  diff_mode:
    support: none
    description: A backup changes nothing that has a before.
  idempotent:
    support: partial
    description: V(full) takes a backup each time.
notes:
  - The identity needs the right to create C(pods/exec) in the namespace, for a restore also to write Jobs and to read
    the logs of pods.
requirements:
  - kubernetes >= 31
  - openshift >= 0.13.2
seealso:
  - module: audioprothese.platform.mariadb_replication
"""

EXAMPLES = r"""
- name: Take a full backup now
  audioprothese.platform.mariadb_archive:
    cluster: "{{ platform_ids.cluster }}"
    namespace: mariadb
    statefulset: mariadb
    operation: full

- name: Does yesterday's data come back?
  audioprothese.platform.mariadb_archive:
    cluster: "{{ platform_ids.cluster }}"
    namespace: mariadb
    statefulset: mariadb
    operation: drill
    job: "{{ lookup('ansible.builtin.template', 'restore_check.yml.j2') | from_yaml }}"
    compare:
      root_password_file: /run/secrets/mariadb/root-password
  register: drill
"""

RETURN = r"""
ranges:
  description: Which moments can be restored, the earliest first.
  returned: always
  type: list
  elements: str
  sample: ["2026-10-16T01:00:12+00:00 to 2026-11-20T14:03:00+00:00"]
report:
  description: Outcome of O(operation=drill), with C(comes_back), C(problems), C(moment), C(rows), C(tables), C(counts)
    by table, C(newest) times by column, C(compared) tables with O(compare), C(seconds) by step, and C(metrics) in the
    text format of Prometheus. Empty otherwise.
  returned: always
  type: dict
  sample: {"comes_back": true, "moment": "2026-11-20T14:03:00+00:00", "rows": 1204, "tables": 96, "compared": 96}
findings:
  description: What was found, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: mariadb
      resource: MariaDBArchive/mariadb/mariadb-0
      type: mariadb/restore
      path: ""
      verdict: equal
      action: ""
      desired: comes back
      live: comes back
      origin: ""
      message: "the data of 2026-11-20T14:03:00+00:00 comes back: yes, 1204 rows in 96 tables, as the server had
        them, within 43 s"
plan:
  description: The full backup, where one is asked for.
  returned: always
  type: list
  elements: dict
  sample: []
plan_digest:
  description: Digest of the plan.
  returned: always
  type: str
  sample: sha256:4f53...
timing:
  description: Seconds by phase.
  returned: always
  type: dict
  sample: {drill: 43.1, total: 44.0}
requests:
  description: Requests by verb; commands run in pods are C(EXEC), requests to Azure are below C(azure).
  returned: always
  type: dict
  sample: {GET: 3, EXEC: 2, retries: 0, throttled: 0}
"""

import typing as t
from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.archive_runner import ArchiveRunner
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.connect import Connections
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.face import run_module
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.options import archive_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.snapshot import Snapshot, take_snapshot


def main() -> t.NoReturn:
    run_module(archive_spec(), _work)


def _work(module: AnsibleModule, connections: Connections) -> dict[str, t.Any]:
    params = module.params
    if params["operation"] == "drill" and not params["job"]:
        raise InputError("operation drill needs a job", where="job", remedy="Give its manifest")
    pods = connections.pods() or []
    pod, transport = pods[params["primary"]] if params["primary"] < len(pods) else (None, None)
    runner = ArchiveRunner(
        pod,
        transport,
        limits=(params["full_hours"], params["log_minutes"]),
        check=module.check_mode,
        report=connections.report(),
    )
    if params["operation"] == "full":
        return runner.full(timeout=params["timeout"])
    if params["operation"] == "drill":
        return runner.drill(
            connections.jobs, params["job"], timeout=params["timeout"], snapshot=_snapshot(connections, params, pod)
        )
    return runner.report()


def _snapshot(connections: Connections, params: dict[str, t.Any], pod: Pod | None) -> Callable[[], Snapshot] | None:
    if pod is None or not params["compare"]:
        return None
    return lambda: take_snapshot(connections.session(pod, params["compare"], timeout=params["timeout"]))


if __name__ == "__main__":
    main()
