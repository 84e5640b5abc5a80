# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converge a set of objects: read, compare, plan, apply, report. Check mode is the same without the writes."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    InputError,
    OutcomeError,
    PlatformError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import (
    Reference,
    find_references,
    resolve,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.apply import Applier
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import ApplySet, Scope, is_controlled
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.handover import (
    APPLICATION,
    application_of,
    deliverers,
    is_handed_back,
    marks_of,
    split,
    takes_along,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import (
    Manifest,
    ObjectId,
    normalise,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.plan import (
    State,
    deletion_order,
    deletion_problems,
    join,
    state_problems,
    upgrade_problems,
    volume_problems,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.predict import predict, try_deletions
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.read import Live, read, read_parent
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.waiting import wait_ready

__all__ = ["Options", "Runner"]

Object = Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for; the fields are the module's options of the same names.

    Attributes:
        check: write nothing.
        wait_timeout: seconds to wait for objects to be ready.
        timeout: seconds to wait for objects to be gone, and for new kinds and namespaces.
    """

    applyset: str
    applyset_namespace: str = "kube-system"
    check: bool = False
    prune: bool = True
    allow_delete: tuple[str, ...] = ()
    allow_upgrade: tuple[str, ...] = ()
    allow_other_volumes: tuple[str, ...] = ()
    take_over: tuple[str, ...] = ()
    force_conflicts: bool = False
    expect_plan: str = ""
    wait: bool = True
    wait_timeout: float = 600.0
    timeout: float = 300.0


class Runner:
    """One run of the module.

    Args:
        options: what the user asked for.
        connect: gives the cluster, or None while there is none.
        lookup: gives a deferred value, or None while it is not known.
        hold: takes the environment's lease and returns what to call before each write.
        redactor: takes secrets out of what is reported.
        progress: tells the user what is going on.
        other_requests: counts of the requests made to other services.
    """

    def __init__(
        self,
        options: Options,
        *,
        connect: Callable[[], KubeClient | None],
        lookup: Callable[[Reference], t.Any] = lambda reference: None,
        hold: Callable[[], Callable[[], None]] = lambda: lambda: None,
        redactor: Redactor | None = None,
        progress: Progress | None = None,
        other_requests: Callable[[], Mapping[str, t.Any]] = dict,
    ) -> None:
        self._options, self._connect, self._lookup, self._hold = options, connect, lookup, hold
        self._report = Report(redactor or Redactor())
        self._progress = progress or Progress()
        self._other_requests = other_requests
        self._applyset = ApplySet(options.applyset, options.applyset_namespace)
        self._client: KubeClient | None = None

    def present(self, documents: Iterable[Mapping[str, t.Any] | None]) -> dict[str, t.Any]:
        """Make the cluster hold exactly these objects as members of the set.

        Raises:
            PlatformError: with what is known so far, once there is a plan.
        """
        with self._reporting():
            self._present(list(documents))
        return self._result()

    def absent(self, documents: Iterable[Mapping[str, t.Any] | None]) -> dict[str, t.Any]:
        """Make sure that none of these objects exists.

        Raises:
            PlatformError: with what is known so far, once there is a plan.
        """
        with self._reporting():
            self._absent(list(documents))
        return self._result()

    # -- present

    def _present(self, documents: list[t.Any]) -> None:
        manifests = self._manifests(documents)
        client = self._open()
        if client is None:
            self._needs_cluster()
            self._predict_all(manifests)
            return
        report = self._report
        with report.timing.phase("read"):
            parent = read_parent(client, self._applyset)
            remembered = self._applyset.remembered(parent)
            manifests = self._manifests(documents, client)
            bodies, unknown = self._resolve(client, manifests)
            live = read(client, self._applyset, manifests, remembered)
        report.learn_secrets([*bodies, *live.desired.values(), *live.members.values()], manifests)
        with report.timing.phase("compare"):
            pending = [
                State(
                    manifest=manifest,
                    body=body,
                    live=live.desired.get(manifest.id),
                    unknown=tuple(map(str, missing)),
                )
                for manifest, body, missing in zip(manifests, bodies, unknown, strict=True)
            ]
            states = client.all(lambda state: predict(client, state, live.namespaces), pending)
        taken, surplus = split(self._surplus(manifests, live), manifests)
        states = self._handed_back(client, states, surplus)
        keeper = self._parent_state(client, parent, manifests, live, [*taken, *surplus])
        report.plan([keeper, *states] if manifests or parent else [], surplus)
        report.plan_releases(taken, self._applyset)
        report.resources = {state.manifest.id: state.live for state in states if state.live is not None}
        self._guard(client, states, surplus, live, empty=not manifests)
        if self._options.check:
            return
        with report.timing.phase("apply"):
            if report.actions:
                self._applier(client).write(keeper, states, surplus, taken)
        if self._options.wait:
            with report.timing.phase("wait"):
                ready = wait_ready(
                    client,
                    report.resources,
                    timeout=self._options.wait_timeout,
                    progress=self._progress,
                    replace=lambda pod: self._applier(client).delete([pod]),
                )
                report.resources = dict(ready)
        if taken:
            self._applier(client).release(keeper, taken, deliverers(manifests) if self._options.wait else [])

    def _manifests(self, documents: list[t.Any], client: KubeClient | None = None) -> list[Manifest]:
        found = normalise(documents, namespaced=client.scopes() if client else None)
        if any(manifest.id == self._applyset.parent_id for manifest in found):
            raise InputError(
                "a document has the name of the set's own parent object",
                where=str(self._applyset.parent_id),
                remedy="Choose another name for the set (applyset)",
            )
        return [self._applyset.label(manifest) for manifest in found]

    def _resolve(
        self, client: KubeClient, manifests: Sequence[Manifest]
    ) -> tuple[list[dict[str, t.Any]], list[list[Reference]]]:
        """Bodies with their deferred values, and what of each is not known yet."""
        references = list(dict.fromkeys(r for m in manifests for r in find_references(m.body)))
        values = dict(zip(references, client.all(self._lookup, references), strict=True))
        bodies = [resolve(manifest.body, values.get) for manifest in manifests]
        unknown = [find_references(body) for body in bodies]
        if not self._options.check:
            problems: list[PlatformError] = [
                InputError(
                    f"the deferred value {missing[0]} is not known",
                    where=str(manifest.id),
                    remedy="Converge what it names first, or correct the reference",
                )
                for manifest, missing in zip(manifests, unknown, strict=True)
                if missing
            ]
            if problems:
                raise join(problems)
        return bodies, unknown

    def _surplus(self, manifests: Sequence[Manifest], live: Live) -> list[Object]:
        """Members nobody declares any more; copies of the label made by controllers are none."""
        if not self._options.prune:
            return []
        wanted = {manifest.id for manifest in manifests} | {self._applyset.parent_id}
        return deletion_order(o for i, o in live.members.items() if i not in wanted and not is_controlled(o))

    def _handed_back(self, client: KubeClient, states: Sequence[State], surplus: Sequence[Object]) -> list[State]:
        """The states, those marked whose Application is gone, or goes with what is no longer declared."""
        applications = client.preferred(*APPLICATION)
        # Where there is no such kind, an Argo CD in another cluster delivers what is marked.
        if applications is None or not any(application_of(state.live) for state in states):
            return list(states)
        # One that takes along what it delivers would take these, too.
        gone = {ObjectId.of(obj) for obj in surplus if not takes_along(obj)}
        marks = marks_of(obj for obj in client.find(applications) if ObjectId.of(obj) not in gone)
        return [dataclasses.replace(s, handed_back=is_handed_back(s.live, marks)) for s in states]

    def _parent_state(
        self,
        client: KubeClient,
        parent: Object | None,
        manifests: Sequence[Manifest],
        live: Live,
        surplus: Sequence[Object],
    ) -> State:
        remembered = self._applyset.remembered(parent)
        gone = {ObjectId.of(obj) for obj in surplus}
        scope = Scope.of([m.id for m in manifests]) | Scope.of(i for i in live.members if i not in gone)
        manifest = self._applyset.parent(scope if self._options.prune else scope | remembered)
        return predict(client, State(manifest=manifest, body=manifest.body, live=parent), live.namespaces)

    def _predict_all(self, manifests: Sequence[Manifest]) -> None:
        parent = self._applyset.parent(Scope.of(m.id for m in manifests))
        self._report.plan([State(manifest=m, body=m.body) for m in [parent, *manifests]] if manifests else [], [])

    # -- absent

    def _absent(self, documents: list[t.Any]) -> None:
        manifests = normalise(documents)
        client, report = self._open(), self._report
        if client is None:
            # Its cluster is gone, and so are they: a destruction that was stopped half-way can be run again.
            report.plan([], [])
            report.check_expected(self._options.expect_plan)
            return
        with report.timing.phase("read"):
            parent = read_parent(client, self._applyset)
            remembered = self._applyset.remembered(parent)
            manifests = normalise(documents, namespaced=client.scopes())
            live = read(client, self._applyset, manifests, remembered)
        report.learn_secrets([*live.desired.values(), *live.members.values()], manifests)
        doomed = deletion_order(live.desired.values())
        left = [i for i, obj in live.members.items() if i not in live.desired and not is_controlled(obj)]
        if parent is not None and not left:
            doomed = [*doomed, parent]
        report.plan([], doomed, message="it exists and should not")
        problems = deletion_problems(doomed, self._applyset, self._options.allow_delete, empty_set=False)
        if not problems:
            problems = try_deletions(client, doomed)
        report.stop_on(problems)
        report.check_expected(self._options.expect_plan)
        report.resources = {ObjectId.of(obj): obj for obj in doomed} if self._options.check else {}
        if self._options.check or not doomed:
            return
        with report.timing.phase("apply"):
            self._applier(client).delete(doomed)

    # -- guards and writes

    def _guard(
        self, client: KubeClient, states: Sequence[State], surplus: Sequence[Object], live: Live, *, empty: bool
    ) -> None:
        """Everything that is known to go wrong, before the first write."""
        options = self._options
        problems = [
            problem
            for state in states
            for problem in state_problems(
                state, self._applyset, self._report.redactor, take_over=options.take_over, force=options.force_conflicts
            )
        ]
        problems += [problem for state in states for problem in upgrade_problems(state, options.allow_upgrade)]
        problems += [problem for state in states for problem in volume_problems(state, options.allow_other_volumes)]
        problems += deletion_problems(surplus, self._applyset, options.allow_delete, empty_set=empty)
        if not options.check:
            problems += _unfounded(client, states, live)
        self._report.stop_on(problems or try_deletions(client, surplus))
        self._report.check_expected(options.expect_plan)

    def _applier(self, client: KubeClient) -> Applier:
        """What may write from here on: the lease is held."""
        options = self._options
        return Applier(
            client,
            self._applyset,
            self._report,
            still_held=self._hold(),
            take_over=options.take_over,
            force_conflicts=options.force_conflicts,
            timeout=options.timeout,
            progress=self._progress,
        )

    # -- helpers

    def _open(self) -> KubeClient | None:
        with self._report.timing.phase("connect"):
            self._client = self._connect()
            if self._client is not None:
                self._client.discover()
        return self._client

    def _needs_cluster(self) -> None:
        if not self._options.check:
            raise KubeError(
                "there is no such cluster yet",
                remedy="Provision the cluster first (role cluster), or run in check mode",
            )

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except PlatformError as exc:
            self._report.safe(exc)
            if self._report.planned:
                raise OutcomeError(exc, {**self._result(), "changed": self._report.wrote}) from exc
            raise
        finally:
            if self._client is not None:
                self._client.close()

    def _result(self) -> dict[str, t.Any]:
        return self._report.result({**(self._client.requests if self._client else {}), **self._other_requests()})


def _unfounded(client: KubeClient, states: Sequence[State], live: Live) -> list[PlatformError]:
    """Objects whose namespace or kind neither exists nor is declared."""
    declared = {state.manifest.id.name for state in states if state.manifest.id.kind == "Namespace"}
    defined = {
        (spec.get("group"), (spec.get("names") or {}).get("kind"))
        for state in states
        if state.manifest.id.kind == "CustomResourceDefinition" and (spec := state.body.get("spec") or {})
    }
    problems: list[PlatformError] = []
    for state in states:
        identity = state.manifest.id
        namespaces = live.namespaces
        if identity.namespace and namespaces is not None and identity.namespace not in namespaces | declared:
            problems.append(
                InputError(
                    f"the namespace {identity.namespace} does not exist and no document declares it",
                    where=str(identity),
                    remedy="Declare the namespace, or correct its name",
                )
            )
        served = client.resource(state.manifest.api_version, identity.kind)
        if served is None and (identity.group, identity.kind) not in defined:
            problems.append(
                InputError(
                    f"the cluster does not serve {state.manifest.type}, and no document defines it",
                    where=str(identity),
                    remedy="Install its CustomResourceDefinition first, or correct apiVersion and kind",
                )
            )
    return problems
