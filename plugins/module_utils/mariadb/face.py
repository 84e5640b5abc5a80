# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module about MariaDB's servers does around its work."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.face import exit_with
from ansible_collections.audioprothese.platform.plugins.module_utils.kube import connection
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.connect import Connections

__all__ = ["run_module"]


def run_module(spec: Mapping[str, t.Any], work: Callable[[AnsibleModule, Connections], dict[str, t.Any]]) -> t.NoReturn:
    """Read the options, do the work with connections to everything it needs, and end the module.

    Args:
        spec: the module's options beside those of cluster and Azure.
        work: gives the result.
    """
    options = {**spec, **connection.auth_argument_spec(), **auth_argument_spec()}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    module.no_log_values.update(connection.secrets_of(module.params["kubeconfig"]))
    connections = Connections(module.params, verbosity=module._verbosity)
    try:
        exit_with(module, lambda: work(module, connections), libraries="kubernetes and openshift")
    finally:
        connections.close()
