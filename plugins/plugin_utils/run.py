# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which ansible-playbook run this is."""

from __future__ import annotations

import datetime
import getpass
import multiprocessing
import os
import pathlib
import socket
import typing as t
import uuid

from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import process_started

__all__ = ["describe_run"]


def describe_run() -> dict[str, t.Any]:
    """The run this worker belongs to, as the modules' hidden option C(_run) takes it."""
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent is not None and parent.pid else os.getpid()
    started = process_started(pid)
    host = socket.gethostname()
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{host}/{pid}/{started}")),
        "pid": pid,
        "started": started,
        "holder": f"{_user()}@{host} (ansible-playbook {pid})",
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "keeper": str(pathlib.Path(__file__).with_name("lease_keeper.py")),
        "python_path": os.pathsep.join(_homes()),
    }


def _homes() -> list[str]:
    """Collection paths that hold this collection: modules in Ansible's own one would hide the standard library's."""
    return [
        path
        for path in AnsibleCollectionConfig.collection_paths
        if (pathlib.Path(path) / "ansible_collections" / "audioprothese" / "platform").is_dir()
    ]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
