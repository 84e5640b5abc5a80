# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's face on the controller."""

from __future__ import annotations

from ansible_collections.audioprothese.platform.plugins.plugin_utils.relayed import RelayedModule


class ActionModule(RelayedModule):
    """See the module of the same name."""

    MODULE = "audioprothese.platform.mariadb_trust"
