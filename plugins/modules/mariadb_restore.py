#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mariadb_restore
short_description: Restore a moment of a MariaDB that runs in a cluster into a volume of its own
version_added: 0.3.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Makes a claim beside those of a StatefulSet, and fills it with the data of a moment in a Job. Every table is read
    there, and counted, before the claim is marked as whole.
  - No server and no other claim is touched. The pods start on the restored volume when the claim templates of their
    StatefulSet get its name, which M(audioprothese.platform.k8s_applyset) does with consent only.
  - A moment that the archive does not reach, a gap, a key that opens nothing, a blob that was changed, programs of
    another series of MariaDB and a table that cannot be read are each one clear error, and leave no claim behind.
  - The age of the archive is no reason to refuse; a lost server archives nothing any more.
options:
  to:
    description:
      - The moment, with its offset from UTC (V(2026-11-20T14:03:00+01:00)). What was written before it comes back, and
        nothing else. MariaDB notes whole seconds.
    type: str
    required: true
  volume:
    description:
      - Name for the volume, which is that of the claim template that takes it. By default it tells the moment
        (V(r20261120t130300z)).
    type: str
  namespace:
    description: Namespace of the database.
    type: str
    required: true
  statefulset:
    description: StatefulSet whose pods run the servers.
    type: str
    required: true
  container:
    description: Container of the archive, which is asked for what can be restored when it runs.
    type: str
    default: archive
  primary:
    description: Number of the pod that is the primary. The claim is that of this pod; replicas copy it.
    type: int
    default: 0
  storage_class:
    description: StorageClass of the claim, as that of the StatefulSet's.
    type: str
    required: true
  size:
    description: Size of the claim.
    type: str
    required: true
  labels:
    description: Labels of the claim.
    type: dict
    default: {}
  job:
    description:
      - The Job that restores, as a manifest. Its one container runs the archive's program with C(restore --check), and
        mounts a volume V(restored), which becomes the claim. The moment is added.
      - Its name is the lock of all that do the same.
    type: dict
    required: true
  timeout:
    description: Seconds that the restore may take.
    type: int
    default: 14400
  cluster:
    description:
      - ARM id of an AKS cluster. Its address is read from ARM, and the token is one of the Azure identity.
      - Without it the options of the kubernetes.core collection decide.
    type: str
extends_documentation_fragment:
  - audioprothese.platform.converge.lease
  - audioprothese.platform.kubernetes
  - audioprothese.platform.azure
  - audioprothese.platform._attributes.actiongroups
attributes:
  check_mode:
    support: full
    description: Looks at the claim and asks the archive whether it reaches the moment. Whether the data comes back is
      seen by a real run only.
  diff_mode:
    support: partial
    description: The claim is shown, what it is filled with is not.
  idempotent:
    support: full
    description: A claim that holds the moment and was found to be whole is left as it is. What a run that was cut short
      left is waited for when it still goes on, else thrown away with its disk, and made anew.
notes:
  - The identity needs the right to write Jobs and claims in the namespace, to read the logs of pods, to create
    C(pods/exec), and to change C(persistentvolumes), so that the disk of a half restore goes with its claim.
requirements:
  - kubernetes >= 31
  - openshift >= 0.13.2
seealso:
  - module: audioprothese.platform.mariadb_archive
  - module: audioprothese.platform.k8s_applyset
"""

EXAMPLES = r"""
- name: Restore what was there before somebody deleted it
  audioprothese.platform.mariadb_restore:
    cluster: "{{ platform_ids.cluster }}"
    namespace: mariadb
    statefulset: mariadb
    to: "2026-11-20T14:03:00+01:00"
    storage_class: "{{ mariadb_storage_class }}"
    size: "{{ mariadb_storage_size }}"
    job: "{{ lookup('ansible.builtin.template', 'restore_job.yml.j2') | from_yaml }}"
  register: restored
"""

RETURN = r"""
volume:
  description: Name of the volume.
  returned: always
  type: str
  sample: r20261120t130300z
claim:
  description: Name of the claim.
  returned: always
  type: str
  sample: r20261120t130300z-mariadb-0
moment:
  description: The moment, in UTC.
  returned: always
  type: str
  sample: "2026-11-20T13:03:00+00:00"
ready:
  description: The claim holds the moment, and every table of it was read.
  returned: always
  type: bool
  sample: true
in_use:
  description: The StatefulSet has this volume already.
  returned: always
  type: bool
  sample: false
report:
  description: What came back, with C(rows), C(tables), C(gtid), C(full) (the backup), C(logs), C(server_version) and
    C(seconds) by step; of the run that restored it also C(counts) by table and C(newest) times by column. Empty while
    there is nothing.
  returned: always
  type: dict
  sample: {"moment": "2026-11-20T13:03:00+00:00", "rows": 1204, "tables": 96}
findings:
  description: What was found, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: mariadb
      resource: PersistentVolumeClaim/mariadb/r20261120t130300z-mariadb-0
      type: mariadb/restore
      path: ""
      verdict: equal
      action: ""
      desired: "2026-11-20T13:03:00+00:00"
      live: "2026-11-20T13:03:00+00:00"
      origin: ""
      message: "the data of 2026-11-20T13:03:00+00:00 is in r20261120t130300z-mariadb-0: 1204 rows in 96 tables, every
        table was read"
plan:
  description: What is done (in check mode, would be done), in order.
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
  sample: {restore: 43.1, total: 44.0}
requests:
  description: Requests by verb; commands run in pods are C(EXEC), requests to Azure are below C(azure).
  returned: always
  type: dict
  sample: {GET: 3, EXEC: 1, PATCH: 3, retries: 0, throttled: 0}
"""

import datetime as dt
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.connect import Connections
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.face import run_module
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.options import restore_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.restore import (
    Wanted,
    default_volume,
    parse_moment,
    parse_volume,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.restore_runner import RestoreRunner


def main() -> t.NoReturn:
    run_module(restore_spec(), _work)


def _work(module: AnsibleModule, connections: Connections) -> dict[str, t.Any]:
    params = module.params
    moment = parse_moment(params["to"], now=dt.datetime.now(dt.UTC))
    wanted = Wanted(
        namespace=params["namespace"],
        statefulset=params["statefulset"],
        primary=params["primary"],
        moment=moment,
        volume=parse_volume(params["volume"] or default_volume(moment)),
        storage_class=params["storage_class"],
        size=params["size"],
        labels=params["labels"],
    )
    runner = RestoreRunner(
        wanted,
        params["job"],
        check=module.check_mode,
        hold=connections.hold,
        report=connections.report(),
    )
    pods = connections.pods()
    if pods is None:
        return runner.untold("there is no such cluster yet")
    pod, transport = pods[params["primary"]] if params["primary"] < len(pods) else (None, None)
    if pod is not None and pod.untold and not pod.missing:
        return runner.untold(pod.untold)
    return runner.run(pod, transport, connections.claims(), connections.jobs(), timeout=params["timeout"])


if __name__ == "__main__":
    main()
