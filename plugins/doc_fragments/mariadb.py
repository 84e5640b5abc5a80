# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options by which modules reach the servers of a database that runs in a cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """The same for every module of the MariaDB family."""

    DOCUMENTATION = r"""
options:
  namespace:
    description: Namespace of the database.
    type: str
    required: true
  statefulset:
    description: StatefulSet whose pods run the servers.
    type: str
    required: true
  container:
    description: Container of the server.
    type: str
    default: mariadb
  administrator:
    description:
      - Account that the server knows by the operating system's user of the container (C(unix_socket)).
      - While it does not exist, C(root) without a password and then C(root) with the password in
        O(root_password_file) are tried, so that a first start that was cut short can be repaired.
    type: str
    default: mysql
  root_password_file:
    description: File with the password of C(root), inside of the container.
    type: str
  socket:
    description: Socket of the server, inside of the container.
    type: str
    default: /run/mysqld/mysqld.sock
  must_exist:
    description:
      - A server that cannot be asked (no StatefulSet, no running pod, no answer) fails a real run.
      - With V(false) it is reported as C(not_verifiable), and RV(pending) is true.
    type: bool
    default: true
  cluster:
    description:
      - ARM id of an AKS cluster. Its address is read from ARM, and the token is one of the Azure identity.
      - While there is no such cluster, check mode reports that nothing can be told.
      - Without it the options of the kubernetes.core collection decide.
    type: str
  expect_plan:
    description: Digest of the approved plan (RV(plan_digest)). A real run refuses to do anything else.
    type: str
notes:
  - SQL goes through the exec API of Kubernetes into the pod, on standard input, over the server's local socket. No
    password travels, none is in an argument, and no port is opened. The identity needs the right to create
    C(pods/exec) in the namespace.
  - What is written is kept out of the log of changes (C(sql_log_bin=0)), so every server is converged by itself.
  - A pod on a simulated node runs no container. It is reported as C(not_verifiable), and the run does not fail.
requirements:
  - kubernetes >= 31
  - openshift >= 0.13.2
"""
