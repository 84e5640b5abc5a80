# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry a plan out: foundations first, then rank by rank, then what is to go, and the set's parent around it all."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    GuardError,
    PlatformError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import ApplySet, Scope
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import FIELD_MANAGER, KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.expansion import grown_claim
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.handover import (
    ARGO_CD,
    TRACKING,
    application_of,
    bare,
    is_taken_over,
    sync_request,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import Manifest, ObjectId, rank, seal
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.plan import (
    State,
    explain_refusal,
    may_take_over,
    state_problems,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.predict import predict, resource_of
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.waiting import wait_gone, wait_ready

if t.TYPE_CHECKING:
    from openshift.dynamic import Resource

__all__ = ["FOUNDATIONS", "Applier"]

FOUNDATIONS: t.Final = ("Namespace", "CustomResourceDefinition")

Object = Mapping[str, t.Any]


class Applier:
    """Writes what the plan says.

    Args:
        client: the cluster.
        applyset: the set.
        report: holds the plan; gets what was written and what failed.
        still_held: called before each write; raises when the run may not write any more.
        take_over: patterns of the field managers whose fields are taken over.
        force_conflicts: take the fields of any manager.
        timeout: seconds that deleted objects may take to be gone, and new namespaces and kinds to be usable.
        progress: tells the user what is going on.
    """

    def __init__(
        self,
        client: KubeClient,
        applyset: ApplySet,
        report: Report,
        *,
        still_held: Callable[[], None],
        take_over: Sequence[str],
        force_conflicts: bool,
        timeout: float,
        progress: Progress,
    ) -> None:
        self._client, self._applyset, self._report, self._still_held = client, applyset, report, still_held
        self._take_over, self._force, self._timeout = tuple(take_over), force_conflicts, timeout
        self._progress = progress

    def write(self, keeper: State, states: Sequence[State], surplus: Sequence[Object], taken: Sequence[Object]) -> None:
        """Create, update and prune.

        Args:
            keeper: the set's parent.
            states: what is declared.
            surplus: members that are to go.
            taken: members that Argo CD takes over; the parent remembers where they are until they are let go of.

        Raises:
            PlatformError: something could not be written; nothing is pruned then.
        """
        remembered = self._applyset.remembered(keeper.live)
        scope = Scope.of(state.manifest.id for state in states) | remembered
        during = self._applyset.parent(scope | Scope.of(ObjectId.of(obj) for obj in [*surplus, *taken]))
        home = [
            s for s in states if s.manifest.id.kind == "Namespace" and s.manifest.id.name == self._applyset.namespace
        ]
        self._apply_all(home)
        if keeper.live is None or self._applyset.remembered(keeper.live) != self._applyset.remembered(during.body):
            self._apply_parent(during)
        foundations = [s for s in states if s.manifest.id.kind in FOUNDATIONS and s not in home]
        for kind in FOUNDATIONS:
            self._apply_all([s for s in foundations if s.manifest.id.kind == kind])
        self._settle([*home, *foundations])
        rest = [state for state in states if state.manifest.id.kind not in FOUNDATIONS]
        rest = self._verify(rest)
        for place in sorted({rank(state.manifest.id.kind) for state in rest}):
            self._apply_all([state for state in rest if rank(state.manifest.id.kind) == place])
        if surplus:
            self.delete(surplus)
        self._take_back([state for state in states if state.handed_back])
        after = self._remembering(keeper, taken)
        if after.body != during.body:
            self._apply_parent(after)

    def release(self, keeper: State, members: Sequence[Object], applications: Sequence[Manifest]) -> None:
        """Let go of members that Argo CD delivers by now; of the others the next run does.

        Args:
            keeper: the set's parent.
            members: those that Argo CD takes over.
            applications: what takes them over, and is asked to sync where one is not marked yet.

        Raises:
            PlatformError: one could not be let go of.
        """
        if any(live is not None and not is_taken_over(live) for live in map(self._current, members)):
            self._sync(applications)
        left = [obj for obj in members if not self._let_go(obj)]
        after = self._remembering(keeper, left)
        if after.body != self._remembering(keeper, members).body:
            self._apply_parent(after)
        if applications:
            self._report.stop_on([_not_taken_over(obj) for obj in left])

    def _current(self, obj: Object) -> Object | None:
        identity = ObjectId.of(obj)
        return self._client.get(resource_of(self._client, obj), identity.name, identity.namespace)

    def _sync(self, applications: Sequence[Manifest]) -> None:
        asked: dict[ObjectId, Object] = {}
        for application in applications:
            resource = self._client.resource(application.api_version, application.id.kind)
            assert resource is not None  # noqa: S101 - it has been written before
            self._permit_write()
            self._progress.say(f"ask {application.id} to sync: what it takes over is not marked yet")
            request = sync_request(application)
            asked[application.id] = self._client.apply(
                resource, request, dry_run=False, force=True, manager=f"{FIELD_MANAGER}-sync"
            )
        wait_ready(self._client, asked, timeout=self._timeout, progress=self._progress)

    def _let_go(self, obj: Object) -> bool:
        resource, identity = resource_of(self._client, obj), ObjectId.of(obj)
        live = self._current(obj)
        if live is None:
            return True
        if not is_taken_over(live):
            self._progress.say(f"{identity} stays in the set: Argo CD has not taken it over yet")
            return False
        self._permit_write()
        self._progress.say(f"let go of {identity}: Argo CD delivers it")
        self._client.apply(resource, bare(live), dry_run=False, force=True)
        return True

    def _remembering(self, keeper: State, members: Sequence[Object]) -> Manifest:
        """The set's parent as planned, and as long as these are members, too."""
        planned = self._applyset.remembered(keeper.manifest.body)
        return self._applyset.parent(planned | Scope.of(ObjectId.of(obj) for obj in members))

    def _take_back(self, states: Sequence[State]) -> None:
        """Remove what only Argo CD wanted of these objects, its mark among it.

        Raises:
            PlatformError: one could not be taken back.
        """
        for state in states:
            identity = state.manifest.id
            resource = self._client.resource(state.manifest.api_version, identity.kind)
            assert resource is not None  # noqa: S101 - it has been written before
            self._progress.say(f"take {identity} back from Argo CD")
            # While there was its Application, what that wanted may have been put back: then nobody else wants it.
            self._permit_write()
            live = self._client.apply(resource, seal(state.body), dry_run=False, force=bool(state.conflicts))
            self._permit_write()
            made = self._client.apply(resource, bare(live), dry_run=False, force=True, manager=ARGO_CD)
            self._report.resources[identity] = made
            if application_of(made):
                raise KubeError(
                    f"it is still marked with the application {application_of(made)}",
                    where=str(identity),
                    remedy=f"Remove its annotation {TRACKING}: it was not written by a server-side apply of Argo CD",
                )

    def delete(self, doomed: Sequence[Object]) -> None:
        """Delete objects in the reverse order of creation, and wait until they are gone.

        Raises:
            PlatformError: some could not be deleted.
        """
        for place in sorted({rank(obj["kind"]) for obj in doomed}, reverse=True):
            group = [obj for obj in doomed if rank(obj["kind"]) == place]
            outcomes = self._client.gather(self._remove, group)
            self._report.stop_on([outcome for outcome in outcomes if isinstance(outcome, PlatformError)])
            wait_gone(self._client, group, timeout=self._timeout, progress=self._progress)

    def _settle(self, foundations: Sequence[State]) -> None:
        """Wait until new namespaces and kinds can be used, and learn the kinds."""
        resources = self._report.resources
        new = {s.manifest.id: resources[s.manifest.id] for s in foundations if self._report.is_planned(s)}
        if not new:
            return
        resources |= wait_ready(self._client, new, timeout=self._timeout, progress=self._progress)
        if any(identity.kind == "CustomResourceDefinition" for identity in new):
            self._client.discover()

    def _verify(self, states: Sequence[State]) -> list[State]:
        """Ask again about what could not be asked before its namespace or kind existed, before writing any of it."""
        open_ones = [s for s in states if s.predicted is None and s.refused is None]
        if not open_ones:
            return list(states)
        tried = self._client.all(lambda state: predict(self._client, state, None), open_ones)
        asked = {state.manifest.id: state for state in tried}
        problems = [
            problem
            for state in asked.values()
            for problem in state_problems(
                state, self._applyset, self._report.redactor, take_over=self._take_over, force=self._force
            )
        ]
        problems += [
            KubeError(
                f"the cluster does not serve {state.manifest.type} in the namespace it is declared for",
                where=str(state.manifest.id),
                remedy="Check apiVersion, kind and namespace",
            )
            for state in asked.values()
            if state.predicted is None and state.refused is None
        ]
        self._report.stop_on(problems)
        return [asked.get(state.manifest.id, state) for state in states]

    def _apply_all(self, states: Sequence[State]) -> None:
        todo = [state for state in states if self._report.is_planned(state)]
        outcomes = self._client.gather(self._apply, todo)
        failures: list[PlatformError] = []
        for state, outcome in zip(todo, outcomes, strict=True):
            if isinstance(outcome, PlatformError):
                failures.append(explain_refusal(state, outcome, self._report.redactor))
            else:
                self._report.resources[state.manifest.id] = outcome
        self._report.stop_on(failures)

    def _apply(self, state: State) -> Object:
        self._permit_write()
        resource = self._client.resource(state.manifest.api_version, state.manifest.id.kind)
        if resource is None:
            raise KubeError(f"the cluster does not serve {state.manifest.type}", where=str(state.manifest.id))
        force = bool(state.conflicts) and may_take_over(state.conflicts, self._take_over, force=self._force)
        verb = "update" if state.live is not None else "create"
        taken = f" (taking {', '.join(c.path for c in state.conflicts)} over)" if force else ""
        if state.grown:
            self._make_way(resource, state)
        if state.exchange and state.live is not None:
            self._clear(resource, state.live)
        self._progress.say(f"{verb} {state.manifest.id}{taken}")
        return self._client.apply(resource, seal(state.body), dry_run=False, force=force)

    def _make_way(self, resource: Resource, state: State) -> None:
        """Let the claims grow, then take the StatefulSet away from around its pods, which the new one adopts.

        Cut short before the deletion, the next run finds the templates too small again; after it, no StatefulSet.
        """
        claims_of = self._client.resource("v1", "PersistentVolumeClaim")
        assert claims_of is not None  # noqa: S101 - was asked before
        for claim, size in state.claims:
            self._permit_write()
            self._progress.say(f"update {ObjectId.of(claim)}: {size}")
            self._client.apply(claims_of, grown_claim(claim, size), dry_run=False, force=True)
        assert state.live is not None  # noqa: S101 - nothing else grows
        self._permit_write()
        self._progress.say(f"make {state.manifest.id} anew around its running pods")
        self._client.delete(resource, state.live, dry_run=False, orphan=True)
        wait_gone(self._client, [state.live], timeout=self._timeout, progress=self._progress)

    def _clear(self, resource: Resource, live: Object) -> None:
        """Take a StatefulSet away with its pods: those that it adopts keep the volumes that they have.

        Its claims stay. Cut short after it, the next run finds no StatefulSet and makes it.
        """
        self._permit_write()
        self._progress.say(f"stop {ObjectId.of(live)} to make it anew on other volumes")
        self._client.delete(resource, live, dry_run=False, foreground=True)
        wait_gone(self._client, [live], timeout=self._timeout, progress=self._progress)

    def _apply_parent(self, parent: Manifest) -> None:
        self._permit_write()
        resource = self._client.resource("v1", "ConfigMap")
        assert resource is not None  # noqa: S101 - no API server is without ConfigMaps
        self._client.apply(resource, parent.body, dry_run=False, force=True)

    def _remove(self, obj: Object) -> None:
        self._permit_write()
        self._progress.say(f"delete {ObjectId.of(obj)}")
        self._client.delete(resource_of(self._client, obj), obj, dry_run=False)

    def _permit_write(self) -> None:
        self._still_held()
        self._report.wrote = True


def _not_taken_over(obj: Object) -> PlatformError:
    return GuardError(
        "Argo CD has synced, and not taken it over; it stays as it is",
        where=str(ObjectId.of(obj)),
        remedy="Let the revision that is delivered have it, or declare it here",
    )
