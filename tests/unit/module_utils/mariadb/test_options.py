# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec as azure
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.connection import (
    auth_argument_spec as kubernetes,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.options import (
    accounts_spec,
    replication_spec,
    restore_spec,
    trust_spec,
)


@pytest.mark.parametrize(
    "own",
    [accounts_spec(), replication_spec(), restore_spec(), trust_spec()],
    ids=["accounts", "replication", "restore", "trust"],
)
def test_no_option_has_the_name_of_a_connection_option(own):
    """A password of the database under the name of one of Azure would be sent to Azure."""
    assert set(own).isdisjoint(set(azure()) | set(kubernetes()))
