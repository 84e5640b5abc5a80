# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converge a set of objects: read, compare, plan, apply, report. Check mode is the same without the writes."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    InputError,
    PlatformError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import (
    Action,
    check_expected,
    plan_digest,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import (
    Reference,
    find_references,
    resolve,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.result import build_result
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import ApplySet, Scope, is_controlled
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.compare import fill_deferred
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import (
    ApiError,
    ConflictError,
    KubeError,
    OutcomeError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import (
    Manifest,
    ObjectId,
    disclose,
    normalise,
    rank,
    seal,
    secret_values,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.plan import (
    State,
    conflicts_of,
    deletion_order,
    deletion_problems,
    explain_refusal,
    join,
    may_take_over,
    plan_deletion,
    plan_object,
    state_problems,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.read import Live, read, read_parent
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.waiting import wait_gone, wait_ready

if t.TYPE_CHECKING:
    from openshift.dynamic import Resource

__all__ = ["Options", "Runner"]

_NOT_FOUND = 404
_SHORTEST_SECRET = 8
_LOOKS = 5
_FOUNDATIONS = ("Namespace", "CustomResourceDefinition")

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
        self._redactor = redactor or Redactor()
        self._progress = progress or Progress()
        self._other_requests = other_requests
        self._applyset = ApplySet(options.applyset, options.applyset_namespace)
        self._client: KubeClient | None = None
        self._timing: dict[str, float] = {}
        self._started = time.monotonic()
        self._actions: list[Action] = []
        self._findings: list[Finding] = []
        self._resources: dict[ObjectId, Object] = {}
        self._planned = False
        self._to_write: frozenset[str] = frozenset()
        self._before_write: Callable[[], None] = lambda: None
        self._wrote = False

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
        with self._timed("read"):
            parent = read_parent(client, self._applyset)
            remembered = self._applyset.remembered(parent)
            manifests = self._manifests(documents, client)
            bodies, unknown = self._resolve(manifests)
            live = read(client, self._applyset, manifests, remembered)
        self._learn_secrets(bodies, [*live.desired.values(), *live.members.values()], manifests)
        with self._timed("compare"):
            pending = [
                State(
                    manifest=manifest,
                    body=body,
                    live=live.desired.get(manifest.id),
                    unknown=tuple(map(str, missing)),
                )
                for manifest, body, missing in zip(manifests, bodies, unknown, strict=True)
            ]
            states = client.all(lambda state: self._predict(client, state, live), pending)
        surplus = self._surplus(manifests, live)
        keeper = self._parent_state(parent, manifests, live, surplus)
        self._plan([keeper, *states] if manifests or parent else [], surplus)
        self._resources = {state.manifest.id: state.live for state in states if state.live is not None}
        self._guard(states, surplus, live, empty=not manifests)
        if self._options.check:
            return
        with self._timed("apply"):
            if self._actions:
                self._before_write = self._hold()
                self._write(keeper, states, surplus)
        if self._options.wait:
            with self._timed("wait"):
                ready = wait_ready(client, self._resources, timeout=self._options.wait_timeout, progress=self._progress)
                self._resources = dict(ready)

    def _manifests(self, documents: list[t.Any], client: KubeClient | None = None) -> list[Manifest]:
        found = normalise(documents, namespaced=client.scopes() if client else None)
        if any(manifest.id == self._applyset.parent_id for manifest in found):
            raise InputError(
                "a document has the name of the set's own parent object",
                where=str(self._applyset.parent_id),
                remedy="Choose another name for the set (applyset)",
            )
        return [self._applyset.label(manifest) for manifest in found]

    def _resolve(self, manifests: Sequence[Manifest]) -> tuple[list[dict[str, t.Any]], list[list[Reference]]]:
        """Bodies with their deferred values, and what of each is not known yet."""
        references = list(dict.fromkeys(r for m in manifests for r in find_references(m.body)))
        assert self._client is not None  # noqa: S101 - opened by the caller
        values = dict(zip(references, self._client.all(self._lookup, references), strict=True))
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

    def _predict(self, client: KubeClient, state: State, live: Live) -> State:
        """Ask the API server what would come out, as far as it can be asked."""
        resource = client.resource(state.manifest.api_version, state.manifest.id.kind)
        namespace = state.manifest.id.namespace
        if resource is None or (namespace and live.namespaces is not None and namespace not in live.namespaces):
            return state
        body = state.body
        if state.unknown:
            if state.live is None:
                return state
            body, unfilled = fill_deferred(seal(body, keep_deferred=True), state.live)
            if unfilled:
                return dataclasses.replace(state, body=body)
        return self._dry_run(client, resource, state, seal(body))

    def _dry_run(self, client: KubeClient, resource: Resource, state: State, body: dict[str, t.Any]) -> State:
        state = dataclasses.replace(state, body=body)
        for _attempt in range(_LOOKS):
            try:
                predicted = client.apply(resource, body, dry_run=True, force=bool(state.conflicts))
            except ConflictError as exc:
                state = dataclasses.replace(state, conflicts=conflicts_of(exc.causes))
                continue
            except ApiError as exc:
                return state if exc.status == _NOT_FOUND else dataclasses.replace(state, refused=exc)
            state = dataclasses.replace(state, predicted=predicted)
            if _version(predicted) == _version(state.live):
                break
            # A controller wrote between the read and the dry run: what it changed is not a difference of ours.
            identity = state.manifest.id
            state = dataclasses.replace(state, live=client.get(resource, identity.name, identity.namespace))
            if _version(predicted) == _version(state.live):
                break
        return state

    def _surplus(self, manifests: Sequence[Manifest], live: Live) -> list[Object]:
        """Members nobody declares any more; copies of the label made by controllers are none."""
        if not self._options.prune:
            return []
        wanted = {manifest.id for manifest in manifests} | {self._applyset.parent_id}
        return deletion_order(o for i, o in live.members.items() if i not in wanted and not is_controlled(o))

    def _parent_state(
        self, parent: Object | None, manifests: Sequence[Manifest], live: Live, surplus: Sequence[Object]
    ) -> State:
        assert self._client is not None  # noqa: S101 - opened by the caller
        remembered = self._applyset.remembered(parent)
        gone = {ObjectId.of(obj) for obj in surplus}
        scope = Scope.of([m.id for m in manifests]) | Scope.of(i for i in live.members if i not in gone)
        manifest = self._applyset.parent(scope if self._options.prune else scope | remembered)
        return self._predict(self._client, State(manifest=manifest, body=manifest.body, live=parent), live)

    def _predict_all(self, manifests: Sequence[Manifest]) -> None:
        parent = self._applyset.parent(Scope.of(m.id for m in manifests))
        self._plan([State(manifest=m, body=m.body) for m in [parent, *manifests]] if manifests else [], [])

    # -- absent

    def _absent(self, documents: list[t.Any]) -> None:
        manifests = normalise(documents)
        client = self._open()
        if client is None:
            # Its cluster is gone, and so are they: a destruction that was stopped half-way can be run again.
            self._plan([], [])
            check_expected(self._digest(), self._options.expect_plan)
            return
        with self._timed("read"):
            parent = read_parent(client, self._applyset)
            remembered = self._applyset.remembered(parent)
            manifests = normalise(documents, namespaced=client.scopes())
            live = read(client, self._applyset, manifests, remembered)
        self._learn_secrets([], [*live.desired.values(), *live.members.values()], manifests)
        doomed = deletion_order(live.desired.values())
        left = [i for i, obj in live.members.items() if i not in live.desired and not is_controlled(obj)]
        if parent is not None and not left:
            doomed = [*doomed, parent]
        self._plan([], doomed, message="it exists and should not")
        problems = deletion_problems(doomed, self._applyset, self._options.allow_delete, empty_set=False)
        if not problems:
            problems = self._try_deletions(client, doomed)
        self._stop_on(problems)
        check_expected(self._digest(), self._options.expect_plan)
        self._resources = {ObjectId.of(obj): obj for obj in doomed} if self._options.check else {}
        if self._options.check or not doomed:
            return
        with self._timed("apply"):
            self._before_write = self._hold()
            self._delete(client, doomed)

    # -- plan and guards

    def _plan(self, states: Iterable[State], doomed: Iterable[Object], *, message: str = "") -> None:
        for state in states:
            action, findings = plan_object(state, self._redactor)
            self._actions += [action] if action else []
            self._findings += findings
        for obj in doomed:
            action, finding = plan_deletion(
                obj, self._redactor, message=message or "it is a member of the set and no longer declared"
            )
            self._actions.append(action)
            self._findings.append(finding)
        self._to_write = frozenset(action.resource for action in self._actions if action.verb != "delete")
        self._planned = True

    def _guard(self, states: Sequence[State], surplus: Sequence[Object], live: Live, *, empty: bool) -> None:
        """Everything that is known to go wrong, before the first write."""
        options = self._options
        problems = [
            problem
            for state in states
            for problem in state_problems(
                state, self._applyset, self._redactor, take_over=options.take_over, force=options.force_conflicts
            )
        ]
        problems += deletion_problems(surplus, self._applyset, options.allow_delete, empty_set=empty)
        if not options.check:
            problems += self._unfounded(states, live)
        assert self._client is not None  # noqa: S101 - opened by the caller
        self._stop_on(problems or self._try_deletions(self._client, surplus))
        check_expected(self._digest(), options.expect_plan)

    def _unfounded(self, states: Sequence[State], live: Live) -> list[PlatformError]:
        """Objects whose namespace or kind neither exists nor is declared."""
        assert self._client is not None  # noqa: S101 - opened by the caller
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
            served = self._client.resource(state.manifest.api_version, identity.kind)
            if served is None and (identity.group, identity.kind) not in defined:
                problems.append(
                    InputError(
                        f"the cluster does not serve {state.manifest.type}, and no document defines it",
                        where=str(identity),
                        remedy="Install its CustomResourceDefinition first, or correct apiVersion and kind",
                    )
                )
        return problems

    def _try_deletions(self, client: KubeClient, doomed: Sequence[Object]) -> list[PlatformError]:
        tried = client.gather(lambda obj: client.delete(self._resource(obj), obj, dry_run=True), doomed)
        return [outcome for outcome in tried if isinstance(outcome, PlatformError)]

    def _stop_on(self, problems: Sequence[PlatformError]) -> None:
        self._findings += [
            Finding(source="kubernetes", resource=p.where, type="", verdict="error", message=str(self._safe(p)))
            for p in problems
        ]
        if problems:
            raise join([self._safe(problem) for problem in problems])

    # -- writes

    def _write(self, keeper: State, states: Sequence[State], surplus: Sequence[Object]) -> None:
        client = self._client
        assert client is not None  # noqa: S101 - opened by the caller
        remembered = self._applyset.remembered(keeper.live)
        scope = Scope.of(state.manifest.id for state in states) | remembered
        during = self._applyset.parent(scope | Scope.of(ObjectId.of(obj) for obj in surplus))
        home = [
            s for s in states if s.manifest.id.kind == "Namespace" and s.manifest.id.name == self._applyset.namespace
        ]
        self._apply_all(client, home)
        if keeper.live is None or self._applyset.remembered(keeper.live) != self._applyset.remembered(during.body):
            self._apply_parent(client, during)
        foundations = [s for s in states if s.manifest.id.kind in _FOUNDATIONS and s not in home]
        for kind in _FOUNDATIONS:
            self._apply_all(client, [s for s in foundations if s.manifest.id.kind == kind])
        self._settle(client, [*home, *foundations])
        rest = [state for state in states if state.manifest.id.kind not in _FOUNDATIONS]
        rest = self._verify(client, rest)
        for place in sorted({rank(state.manifest.id.kind) for state in rest}):
            self._apply_all(client, [state for state in rest if rank(state.manifest.id.kind) == place])
        if surplus:
            self._delete(client, surplus)
        if keeper.manifest.body != during.body:
            self._apply_parent(client, keeper.manifest)

    def _settle(self, client: KubeClient, foundations: Sequence[State]) -> None:
        """Wait until new namespaces and kinds can be used, and learn the kinds."""
        new = {s.manifest.id: self._resources[s.manifest.id] for s in foundations if self._is_planned(s)}
        if not new:
            return
        self._resources |= wait_ready(client, new, timeout=self._options.timeout, progress=self._progress)
        if any(identity.kind == "CustomResourceDefinition" for identity in new):
            client.discover()

    def _verify(self, client: KubeClient, states: Sequence[State]) -> list[State]:
        """Ask again about what could not be asked before its namespace or kind existed, before writing any of it."""
        open_ones = [s for s in states if s.predicted is None and s.refused is None]
        if not open_ones:
            return list(states)
        nowhere = Live({}, {}, None)
        asked = {s.manifest.id: s for s in client.all(lambda state: self._predict(client, state, nowhere), open_ones)}
        problems = [
            problem
            for state in asked.values()
            for problem in state_problems(
                state,
                self._applyset,
                self._redactor,
                take_over=self._options.take_over,
                force=self._options.force_conflicts,
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
        self._stop_on(problems)
        return [asked.get(state.manifest.id, state) for state in states]

    def _apply_all(self, client: KubeClient, states: Sequence[State]) -> None:
        todo = [state for state in states if self._is_planned(state)]
        outcomes = client.gather(lambda state: self._apply(client, state), todo)
        failures: list[PlatformError] = []
        for state, outcome in zip(todo, outcomes, strict=True):
            if isinstance(outcome, PlatformError):
                failures.append(explain_refusal(state, outcome, self._redactor))
            else:
                self._resources[state.manifest.id] = outcome
        self._stop_on(failures)

    def _apply(self, client: KubeClient, state: State) -> Object:
        self._permit_write()
        resource = client.resource(state.manifest.api_version, state.manifest.id.kind)
        if resource is None:
            raise KubeError(f"the cluster does not serve {state.manifest.type}", where=str(state.manifest.id))
        allowed = may_take_over(state.conflicts, self._options.take_over, force=self._options.force_conflicts)
        force = bool(state.conflicts) and allowed
        verb = "update" if state.live is not None else "create"
        taken = f" (taking {', '.join(c.path for c in state.conflicts)} over)" if force else ""
        self._progress.say(f"{verb} {state.manifest.id}{taken}")
        return client.apply(resource, seal(state.body), dry_run=False, force=force)

    def _apply_parent(self, client: KubeClient, parent: Manifest) -> None:
        self._permit_write()
        resource = client.resource("v1", "ConfigMap")
        assert resource is not None  # noqa: S101 - no API server is without ConfigMaps
        client.apply(resource, parent.body, dry_run=False, force=True)

    def _delete(self, client: KubeClient, doomed: Sequence[Object]) -> None:
        for place in sorted({rank(obj["kind"]) for obj in doomed}, reverse=True):
            group = [obj for obj in doomed if rank(obj["kind"]) == place]

            def remove(obj: Object) -> None:
                self._permit_write()
                self._progress.say(f"delete {ObjectId.of(obj)}")
                client.delete(self._resource(obj), obj, dry_run=False)

            failures = [outcome for outcome in client.gather(remove, group) if isinstance(outcome, PlatformError)]
            self._stop_on(failures)
            wait_gone(client, group, timeout=self._options.timeout, progress=self._progress)

    # -- helpers

    def _open(self) -> KubeClient | None:
        with self._timed("connect"):
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

    def _resource(self, obj: Object) -> Resource:
        assert self._client is not None  # noqa: S101 - opened by the caller
        resource = self._client.resource(obj["apiVersion"], obj["kind"])
        if resource is None:
            raise KubeError(f"the cluster does not serve {obj['kind']} any more", where=str(ObjectId.of(obj)))
        return resource

    def _permit_write(self) -> None:
        self._before_write()
        self._wrote = True

    def _is_planned(self, state: State) -> bool:
        return str(state.manifest.id) in self._to_write

    def _learn_secrets(self, bodies: Iterable[Object], live: Iterable[Object], manifests: Iterable[Manifest]) -> None:
        # What is also the name of an object is no secret worth hiding, and hiding it would garble the report.
        names = " ".join(f"{m.id} {m.type}" for m in manifests)
        for body in [*bodies, *live]:
            for value in secret_values(body):
                if len(value) >= _SHORTEST_SECRET and value not in names:
                    self._redactor.add(value)

    def _safe(self, problem: PlatformError) -> PlatformError:
        problem.what = str(self._redactor.redact(problem.what))
        return problem

    def _digest(self) -> str:
        return plan_digest(self._actions, stable_fingerprints=self._redactor.stable)

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._timing[phase] = self._timing.get(phase, 0.0) + time.monotonic() - started

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except PlatformError as exc:
            self._safe(exc)
            if self._planned:
                raise OutcomeError(exc, {**self._result(), "changed": self._wrote}) from exc
            raise
        finally:
            if self._client is not None:
                self._client.close()

    def _result(self) -> dict[str, t.Any]:
        requests = {**(self._client.requests if self._client else {}), **self._other_requests()}
        return build_result(
            resources={str(i): _shown(obj, self._redactor) for i, obj in self._resources.items()},
            findings=self._findings,
            actions=self._actions,
            timing={**self._timing, "total": time.monotonic() - self._started},
            requests=requests,
            redactor=self._redactor,
        )


def _version(obj: Object | None) -> str:
    return str((obj or {}).get("metadata", {}).get("resourceVersion") or "")


def _shown(obj: Object, redactor: Redactor) -> dict[str, t.Any]:
    shown = disclose(obj, redactor)
    versions = (shown.get("spec") or {}).get("versions")
    if shown.get("kind") == "CustomResourceDefinition" and versions:
        brief = [{key: value for key, value in version.items() if key != "schema"} for version in versions]
        shown["spec"] = {**shown["spec"], "versions": brief}
    return shown
