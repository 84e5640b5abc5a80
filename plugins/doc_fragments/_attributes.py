# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules of the collection promise."""

from __future__ import annotations


class ModuleDocFragment:
    """The same promise for every module that converges something."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Runs without making any change, and predicts each one.
    support: full
  diff_mode:
    description: Returns what differs, for each place, also for what is created or deleted.
    support: full
  idempotent:
    description: When run twice in a row, the second run changes nothing.
    support: full
"""

    ACTIONGROUP_AZURE = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/audioprothese.platform.azure) in C(module_defaults) to set options for these modules.
    support: full
    membership: [audioprothese.platform.azure]
"""

    ACTIONGROUP_KUBERNETES = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/audioprothese.platform.kubernetes) in C(module_defaults) to set options for these modules.
    support: full
    membership: [audioprothese.platform.kubernetes]
"""

    ACTIONGROUPS = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/audioprothese.platform.kubernetes) and C(group/audioprothese.platform.azure) in
      C(module_defaults) to set options for these modules.
    support: full
    membership: [audioprothese.platform.azure, audioprothese.platform.kubernetes]
"""
