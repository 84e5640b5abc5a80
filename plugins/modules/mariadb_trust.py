#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mariadb_trust
short_description: Prove which authority the clients of MariaDB trust
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Looks at the file of every client of a StatefulSet, and has MariaDB's own client sign in from there with exactly
    that file. It is the proof of the rotation of an authority, and writes nothing.
  - While M(audioprothese.platform.key_vault_rotation) has the rotation of O(authority) closing, the server must not be
    trusted any more by the authority before.
  - A real run fails where something of it does not hold. Check mode reports it.
  - What cannot be asked is C(not_verifiable), and nothing of it is RV(proven).
options:
  authority:
    description:
      - What the clients must trust, as a deferred value of a Key Vault, made by the filter
        P(audioprothese.platform.secret#filter); the name of that secret is what is RV(proven).
    type: str
    required: true
  ca_file:
    description: File of the clients' authorities, inside of O(container).
    type: str
    required: true
  server:
    description: Server that is asked, by a name that its certificate bears.
    type: str
    default: localhost
  port:
    description: Its port.
    type: int
    default: 3306
  login_user:
    description: Who signs in there.
    type: str
    required: true
  login_password:
    description: Password of O(login_user), best as a deferred value of a Key Vault.
    type: str
    required: true
  timeout:
    description:
      - Seconds in which a real run waits until every O(ca_file) holds O(authority). The kubelet brings it within some
        two minutes.
    type: int
    default: 0
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
    description: Asks the same, for it changes nothing; does not fail for what does not hold.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
seealso:
  - module: audioprothese.platform.key_vault_rotation
  - module: audioprothese.platform.mariadb_logins
"""

EXAMPLES = r"""
- name: Prove that the application trusts the authority of the vault
  audioprothese.platform.mariadb_trust:
    cluster: "{{ platform_ids.cluster }}"
    namespace: openmrs
    statefulset: openmrs-backend
    container: lock-doctor
    authority: "{{ platform_ids.key_vault | audioprothese.platform.secret('platform-ca-certificate') }}"
    ca_file: /run/openmrs-ca/ca.crt
    server: mariadb.mariadb.svc.cluster.local
    login_user: openmrs
    login_password: "{{ platform_ids.key_vault | audioprothese.platform.secret('mariadb-openmrs-password') }}"
"""

RETURN = r"""
proven:
  description: Name of the secret, when everything holds for every client.
  returned: success
  type: list
  elements: str
  sample: [platform-ca-certificate]
findings:
  description: What was looked at, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: mariadb
      resource: MariaDBClient/openmrs/openmrs-backend-0
      type: mariadb/client
      path: platform-ca-certificate
      verdict: equal
      action: ""
      desired: by its file the server is trusted
      live: by its file the server is trusted
      origin: ""
      message: by its file the server is trusted
pending:
  description: A client could not be asked that may answer later. A pod on a simulated node is none.
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
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.options import trust_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.trust import Trust, TrustRunner
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.certificates import bundle
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import CLOSING


def main() -> t.NoReturn:
    run_module(trust_spec(), _prove)


def _prove(module: AnsibleModule, connections: Connections) -> dict[str, t.Any]:
    params = module.params
    authorities, password = (connections.password(params[name]) for name in ("authority", "login_password"))
    if not authorities or not password:
        raise InputError(
            "it is not in the vault",
            where="authority" if not authorities else "login_password",
            remedy="Make it first (role secrets)",
        )
    module.no_log_values.add(password)
    replaced = connections.replaced(params["authority"], CLOSING)
    references = find_references(params["authority"])
    trust = Trust(
        secret=references[0].path if references else "authority",
        authorities=authorities,
        refused=bundle(replaced) if replaced else "",
        file=params["ca_file"],
        host=params["server"],
        port=params["port"],
        user=params["login_user"],
        password=password,
    )
    runner = TrustRunner(
        servers=connections.servers,
        check=module.check_mode,
        must_exist=params["must_exist"],
        report=connections.report(),
    )
    return runner.run(trust, timeout=params["timeout"])


if __name__ == "__main__":
    main()
