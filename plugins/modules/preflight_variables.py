#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of an action; it has no part that runs as a module."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_variables
short_description: Check programs and variables before a run, without any network
version_added: 0.1.0
author:
  - AudioProthese+ platform team (@audioprothese)
description:
  - Compares the versions of ansible-core, Python, collections and Python libraries with what the collection asks for.
  - Refuses variables that carry the prefix of a role but that no role has, and names the nearest one.
  - Validates the variables of the host against the argument specification of every role.
  - Refuses secrets in clear text in the inventory, files C(*.sops.yml) that are not encrypted and values of such files
    that nobody decrypted.
  - Refuses settings that are not fit for patient records.
  - Reports everything it finds at once.
options:
  production:
    description: Applies the rules for environments that hold patient records.
    type: bool
    default: false
  ignored_variables:
    description: Names that are fine although no role declares them.
    type: list
    elements: str
    default: []
  required_files:
    description: Files that the variables are read from.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the file.
        type: path
        required: true
      remedy:
        description: What to do when it is not there.
        type: str
        required: true
attributes:
  check_mode:
    description: Only reads.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  action:
    description: Runs on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Check programs and variables
  audioprothese.platform.preflight_variables:
    production: "{{ platform_production }}"
"""

RETURN = r"""
problems:
  description: What has to be put right, one sentence each.
  returned: always
  type: list
  elements: str
  sample:
    - "network_adress_prefixes: no role has a variable of this name. Did you mean network_address_prefixes?"
versions:
  description: What was found.
  returned: always
  type: dict
  sample: {"ansible-core": "2.21.5", "python": "3.13.0", "kubernetes.core": "6.6.0"}
readers:
  description: Which other tools could read back what was built.
  returned: always
  type: dict
  sample: {"azure.azcollection": false, "kubernetes.core": true}
checked:
  description: How many variables were validated.
  returned: always
  type: int
  sample: 57
"""
