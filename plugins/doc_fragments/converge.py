# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that every module which converges something takes the same way."""

from __future__ import annotations


class ModuleDocFragment:
    """One fragment for each option; C(module_utils/converge) has the specification of the same name."""

    LEASE = r"""
options:
  lease:
    description: Allow one run at a time in an environment. Taken before the first write and held until the run ends.
    type: dict
    suboptions:
      environment:
        description: Name of the environment. Runs of the same name exclude each other.
        type: str
        required: true
      container_id:
        description: ARM id of the blob container whose lease is seen by all machines. Without it only this one is.
        type: str
      timeout:
        description: Seconds to wait for another run to end.
        type: int
        default: 0
      break:
        description: End the lease of another run. Only when it is known to be dead.
        type: bool
        default: false
"""

    REDACTION = r"""
options:
  redaction_secret:
    description:
      - Secret of a vault whose value is the key of the fingerprints that stand for secrets in results and digests, so
        that they are the same in each run.
      - Without it, or while the vault does not exist, a key of this run is used, and the plan's digest covers secrets
        as present, not by value.
    type: dict
    suboptions:
      vault_id:
        description: ARM id of the vault.
        type: str
        required: true
      name:
        description: Name of the secret.
        type: str
        required: true
"""
