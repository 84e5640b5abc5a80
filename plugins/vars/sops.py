# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vars plugin C(sops)."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sops
short_description: Read variables of SOPS-encrypted files, and say what to do when that fails
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Lets P(community.sops.sops#vars) read the files C(*.sops.yml), C(*.sops.yaml) and C(*.sops.json) in C(group_vars)
    and C(host_vars). Every option of that plugin applies, in C(ansible.cfg) and in the environment.
  - Variables are read before the first task, so no role can explain what is wrong with such a file. This plugin does,
    a file that is not encrypted, a missing program and a missing key, each with its remedy.
  - Enable one of both plugins, behind C(host_group_vars), which reads the same files without decrypting them.
  - Without such a file neither the collection community.sops nor the program C(sops) is needed.
notes:
  - Without a key, as where an inventory is only parsed, set C(SOPS_ANSIBLE_AWX_DISABLE_VARS_PLUGIN_TEMPORARILY=true).
options: {}
seealso:
  - plugin: community.sops.sops
    plugin_type: vars
"""

import shutil
import typing as t

from ansible import constants
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.loader import PluginLoader
from ansible.plugins.vars import BaseVarsPlugin
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.sops import find_clear_values
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import Problem
from ansible_collections.audioprothese.platform.plugins.plugin_utils.sops_files import read_sops_files

_READER: t.Final = "community.sops.sops"


class VarsModule(BaseVarsPlugin):
    """Reads by community.sops."""

    is_stateless = True  # one instance, and with it one reader, for the whole run

    def __init__(self) -> None:
        super().__init__()
        # Ansible's own loader runs everything that it has loaded, and the reader must not run beside this plugin.
        loader = PluginLoader("VarsModule", "ansible.plugins.vars", constants.DEFAULT_VARS_PLUGIN_PATH, "vars_plugins")
        self._reader = loader.get(_READER)

    def get_vars(self, loader: t.Any, path: str, entities: t.Any, cache: t.Any = None) -> dict[str, t.Any]:
        """Variables of hosts or groups below a folder."""
        super().get_vars(loader, path, entities)
        if self._reader is None:
            self._fail_without_reader()
            return {}
        try:
            return self._reader.get_vars(loader, path, entities, cache)
        except AnsibleError as exc:
            reason = str(exc)
        # Outside of the handler: the text of the reader may quote a file, and Ansible prints the whole chain.
        raise AnsibleParserError(self._explain(reason))

    def _fail_without_reader(self) -> None:
        if files := read_sops_files(self._basedir):
            problem = Problem(
                where=", ".join(files),
                what="needs the collection community.sops",
                remedy="Run: ansible-galaxy collection install community.sops",
            )
            raise AnsibleParserError(str(problem))

    def _explain(self, reason: str) -> str:
        files = read_sops_files(self._basedir)
        clear = [problem for where, document in files.items() for problem in find_clear_values(where, document)]
        if clear:
            return "\n".join(map(str, clear))
        program = self._reader.get_option("sops_binary") or "sops"
        if not shutil.which(program):
            what = f"needs the program {program}, which is not on the path"
            remedy = "Install it from https://github.com/getsops/sops/releases"
        else:
            what = f"cannot be decrypted: {' '.join(reason.split())}"
            remedy = (
                "Put your age key into ~/.config/sops/age/keys.txt, or name its file in SOPS_AGE_KEY_FILE, or sign in "
                "to the Azure that holds the key; or let somebody who reads the file add your key: docs/secrets.md"
            )
        return str(Problem(where=", ".join(files), what=what, remedy=remedy))
