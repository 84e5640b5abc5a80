# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The claim that a restore fills, and the volumes that a StatefulSet has."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.volumes import volume_names
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.waiting import wait_gone

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
    from openshift.dynamic import Resource

__all__ = ["Claims"]

MANAGER: t.Final = "audioprothese.platform.restore"
"""Not that of k8s_applyset, which later makes the same claim ask for more, and would give up all else that it holds."""
GONE_SECONDS = 180.0

Object = Mapping[str, t.Any]


class Claims:
    """Claims of one cluster.

    Args:
        client: of the cluster, after its discovery.
        progress: tells the user what is waited for.
    """

    def __init__(self, client: KubeClient, progress: Progress) -> None:
        self._client, self._progress = client, progress

    def volumes_of(self, namespace: str, statefulset: str) -> list[str]:
        """Names of the volumes of a StatefulSet; none while it does not exist.

        Raises:
            KubeError: it cannot be read.
        """
        live = self._client.get(self._resource("StatefulSet", "apps/v1"), statefulset, namespace)
        return volume_names(live or {})

    def get(self, namespace: str, name: str) -> dict[str, t.Any] | None:
        """A claim, or None.

        Raises:
            KubeError: it cannot be read.
        """
        return self._client.get(self._resource("PersistentVolumeClaim"), name, namespace)

    def put(self, manifest: Object) -> dict[str, t.Any]:
        """Make a claim, or change what it is marked with.

        Raises:
            KubeError: the cluster refuses it.
        """
        claims = self._resource("PersistentVolumeClaim")
        return self._client.apply(claims, manifest, dry_run=False, force=True, manager=MANAGER)

    def throw_away(self, namespace: str, name: str) -> None:
        """Delete a claim and its disk, also where the class keeps disks: nothing on this one was ever whole.

        Raises:
            KubeError: the cluster refuses it, or a pod still uses it.
        """
        claim = self.get(namespace, name)
        if claim is None:
            return
        volumes = self._resource("PersistentVolume")
        disk = claim["spec"].get("volumeName")
        if disk and self._client.get(volumes, disk) is not None:
            body = {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": disk},
                "spec": {"persistentVolumeReclaimPolicy": "Delete"},
            }
            self._client.apply(volumes, body, dry_run=False, force=True, manager=MANAGER)
        self._client.delete(self._resource("PersistentVolumeClaim"), claim, dry_run=False)
        wait_gone(self._client, [claim], timeout=GONE_SECONDS, progress=self._progress)

    def _resource(self, kind: str, version: str = "v1") -> Resource:
        found = self._client.resource(version, kind)
        if found is None:
            raise KubeError(f"the cluster does not serve {kind} of {version}")
        return found
