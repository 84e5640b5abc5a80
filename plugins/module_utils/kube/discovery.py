# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an API server serves, asked once per run and kept in memory only."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError

if t.TYPE_CHECKING:
    from openshift.dynamic import DynamicClient, Resource

__all__ = ["ACCEPT", "MemoryDiscoverer"]

ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""Asks for aggregated discovery: two answers for everything, stable since Kubernetes 1.30.

Source: kubernetes.io, "Kubernetes API", discovery API.
"""


class MemoryDiscoverer:
    """The discoverer given to the dynamic client.

    Args:
        client: the dynamic client that asks.
        cache_file: ignored; nothing is written to disk.
    """

    def __init__(self, client: DynamicClient, cache_file: str | None = None) -> None:
        self._client = client
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._preferred: dict[tuple[str, str], Resource] = {}

    def load(self, prefix: str, document: Mapping[str, t.Any]) -> None:
        """Take in an answer.

        Args:
            prefix: C(api) for the core group, C(apis) for the others.
            document: an APIGroupDiscoveryList.

        Raises:
            KubeError: the server is too old to answer in this form.
        """
        from openshift.dynamic import Resource  # noqa: PLC0415  (1 s: only when a cluster is asked)

        if document.get("kind") != "APIGroupDiscoveryList":
            raise KubeError(
                "the API server has no aggregated discovery", remedy="Kubernetes 1.30 or later is needed: upgrade it"
            )
        for item in document.get("items") or ():
            group = (item.get("metadata") or {}).get("name", "")
            for version in item.get("versions") or ():
                for entry in version.get("resources") or ():
                    kind = (entry.get("responseKind") or {}).get("kind") or ""
                    if not kind:
                        continue
                    resource = Resource(
                        prefix=prefix,
                        group=group,
                        api_version=version["version"],
                        kind=kind,
                        namespaced=entry.get("scope") == "Namespaced",
                        verbs=entry.get("verbs") or [],
                        name=entry["resource"],
                        client=self._client,
                    )
                    self._resources.setdefault((group, version["version"], kind), resource)
                    self._preferred.setdefault((group, kind), resource)

    def clear(self) -> None:
        """Forget everything, before asking again."""
        self._resources.clear()
        self._preferred.clear()

    def find(self, group: str, version: str, kind: str) -> Resource | None:
        """The resource of a kind in exactly this version, or None."""
        return self._resources.get((group, version, kind))

    def preferred(self, group: str, kind: str) -> Resource | None:
        """The resource of a kind in the version the server prefers, or None."""
        return self._preferred.get((group, kind))

    def scopes(self) -> dict[tuple[str, str], bool]:
        """Whether objects of a (group, kind) live in a namespace."""
        return {key: resource.namespaced for key, resource in self._preferred.items()}
