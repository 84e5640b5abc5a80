# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the API server what would come out, without writing anything."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.compare import fill_deferred
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import (
    ApiError,
    ConflictError,
    KubeError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.expansion import (
    claims_to_grow,
    growing,
    grown_claim,
    sizes_of,
    with_sizes,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId, seal
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.plan import State, conflicts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.volumes import as_made_anew, exchange, trial

if t.TYPE_CHECKING:
    from openshift.dynamic import Resource

__all__ = ["predict", "resource_of", "try_deletions"]

_NOT_FOUND = 404
_LOOKS = 5

Object = Mapping[str, t.Any]


def predict(client: KubeClient, state: State, namespaces: Collection[str] | None) -> State:
    """The state with what the API server would make of the object, as far as it can be asked.

    Args:
        client: the cluster.
        state: the object.
        namespaces: names of those that exist, None when that is not known.
    """
    resource = client.resource(state.manifest.api_version, state.manifest.id.kind)
    namespace = state.manifest.id.namespace
    if resource is None or (namespace and namespaces is not None and namespace not in namespaces):
        return state
    body = state.body
    if state.unknown:
        if state.live is None:
            return state
        body, unfilled = fill_deferred(seal(body, keep_deferred=True), state.live)
        if unfilled:
            return dataclasses.replace(state, body=body)
    return _dry_run(client, resource, dataclasses.replace(state, body=seal(body)))


def try_deletions(client: KubeClient, doomed: Sequence[Object]) -> list[PlatformError]:
    """Why the API server would not delete these objects."""
    tried = client.gather(lambda obj: client.delete(resource_of(client, obj), obj, dry_run=True), doomed)
    return [outcome for outcome in tried if isinstance(outcome, PlatformError)]


def resource_of(client: KubeClient, obj: Object) -> Resource:
    """Where a live object is served.

    Raises:
        KubeError: its kind is gone.
    """
    resource = client.resource(obj["apiVersion"], obj["kind"])
    if resource is None:
        raise KubeError(f"the cluster does not serve {obj['kind']} any more", where=str(ObjectId.of(obj)))
    return resource


def _dry_run(client: KubeClient, resource: Resource, state: State) -> State:
    for _attempt in range(_LOOKS):
        try:
            predicted = client.apply(resource, dict(state.body), dry_run=True, force=bool(state.conflicts))
        except ConflictError as exc:
            state = dataclasses.replace(state, conflicts=conflicts_of(exc.causes))
            continue
        except ApiError as exc:
            if exc.status == _NOT_FOUND:
                return state
            refused = dataclasses.replace(state, refused=exc)
            return _exchange(client, resource, refused) or _grow(client, resource, refused)
        state = dataclasses.replace(state, predicted=predicted)
        if _version(predicted) == _version(state.live):
            break
        # A controller wrote between the read and the dry run: what it changed is not a difference of ours.
        identity = state.manifest.id
        state = dataclasses.replace(state, live=client.get(resource, identity.name, identity.namespace))
        if _version(predicted) == _version(state.live):
            break
    return state


def _exchange(client: KubeClient, resource: Resource, state: State) -> State | None:
    """What would come out of a StatefulSet that is put on other volumes; None when it is not."""
    claims_of = client.resource("v1", "PersistentVolumeClaim")
    if state.live is None or state.grown or claims_of is None:
        return None
    if exchange(state.body, state.live, []) is None:  # most refusals are another matter: no list is read for them
        return None
    found = exchange(state.body, state.live, client.find(claims_of, namespace=state.manifest.id.namespace))
    try:
        made = client.apply(resource, trial(state.body), dry_run=True)
    except ApiError as exc:
        return dataclasses.replace(state, refused=exc)
    # Nobody holds a field of what does not exist yet.
    return dataclasses.replace(
        state, refused=None, conflicts=(), predicted=as_made_anew(made, state.live), exchange=found
    )


def _grow(client: KubeClient, resource: Resource, state: State) -> State:
    """What would come out if the only thing refused is that the claims of a StatefulSet grow."""
    if state.live is None or state.grown or state.refused is None:
        return state
    try:
        sizes = growing(state.body, state.live)
    except GuardError as exc:
        return dataclasses.replace(state, refused=exc)
    claims_of = client.resource("v1", "PersistentVolumeClaim")
    if not sizes or claims_of is None:
        return state
    present = with_sizes(state.body, sizes_of(state.live, sizes))
    asked = dataclasses.replace(
        _dry_run(client, resource, dataclasses.replace(state, body=present, refused=None, grown=tuple(sorted(sizes)))),
        body=state.body,
    )
    if asked.refused or asked.predicted is None:
        return asked
    claims = claims_to_grow(state.body, sizes, client.find(claims_of, namespace=state.manifest.id.namespace))
    for claim, size in claims:
        try:
            client.apply(claims_of, grown_claim(claim, size), dry_run=True, force=True)
        except ApiError as exc:
            exc.where = str(ObjectId.of(claim))
            return dataclasses.replace(asked, refused=exc)
    return dataclasses.replace(asked, predicted=with_sizes(asked.predicted, sizes), claims=tuple(claims))


def _version(obj: Object | None) -> str:
    return str((obj or {}).get("metadata", {}).get("resourceVersion") or "")
