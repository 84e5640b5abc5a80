"""Long-running operations: their state is in the store, a task drives each; after a restart they go on."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tests.lab.azure.errors import ArmError, OperationError
from tests.lab.azure.store import Store

KIND = "operation"
RUNNING = "operation-running"
IN_PROGRESS, SUCCEEDED, FAILED, CANCELED = "InProgress", "Succeeded", "Failed", "Canceled"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One accepted request. `verb` is create, update, patch, delete or action; times in seconds since the epoch."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    resource: str
    verb: str
    lock: str
    api_version: str
    namespace: str
    location: str
    due: float
    via: str = "both"
    retry_after: int = 0
    started: float = field(default_factory=time.time)
    ended: float | None = None
    status: str = IN_PROGRESS
    error: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    caller: dict[str, Any] | None = None
    fault: dict[str, str] | None = None
    run: str = ""
    payload: dict[str, Any] = field(default_factory=dict)
    result: Any = None

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status != IN_PROGRESS

    def status_body(self, url: str) -> dict[str, Any]:
        """What the Azure-AsyncOperation address answers."""
        body: dict[str, Any] = {
            "id": url,
            "name": self.id,
            "status": self.status,
            "startTime": timestamp(self.started),
        }
        if self.ended is not None:
            body["endTime"] = timestamp(self.ended)
            body["percentComplete"] = 100
        if self.error is not None:
            body["error"] = self.error
        return body


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with microseconds, as ARM writes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Work = Callable[[Operation], Awaitable[Any]]
Finish = Callable[[Operation], None]


class Operations:
    """Keeps and drives operations.

    `work` does the long-running part and returns the result (raises OperationError or ArmError to fail it); `finish`
    settles the resource, in the transaction that records the end.
    """

    def __init__(self, store: Store, *, work: Work, finish: Finish) -> None:
        self._store = store
        self._work = work
        self._finish = finish
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def get(self, operation_id: str) -> Operation | None:
        """An operation by its id."""
        raw = self._store.record(KIND, operation_id.lower())
        return Operation(**raw) if raw else None

    def running(self) -> list[Operation]:
        """Those that have not ended."""
        found = (self.get(key) for key, _ in self._store.records(RUNNING))
        return [operation for operation in found if operation is not None]

    def running_on(self, lock: str) -> Operation | None:
        """An operation that holds that lock."""
        for key, raw in self._store.records(RUNNING):
            if raw["lock"] == lock:
                return self.get(key)
        return None

    def record(self, operation: Operation) -> None:
        """Write it down; call inside the transaction of the request, then `drive` after it."""
        self._store.put_record(KIND, operation.id, asdict(operation))
        if operation.done:
            self._store.delete_record(RUNNING, operation.id)
        else:
            self._store.put_record(
                RUNNING, operation.id, {"lock": operation.lock, "resource": operation.resource.lower()}
            )

    def drive(self, operation: Operation) -> asyncio.Task[None]:
        """Start (or find) the task that brings it to its end."""
        task = self._tasks.get(operation.id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._drive(operation), name=f"operation {operation.id}")
            self._tasks[operation.id] = task
            task.add_done_callback(lambda _: self._tasks.pop(operation.id, None))
        return task

    def resume(self) -> None:
        """Go on with everything that had not ended when the process did."""
        for operation in self.running():
            self.drive(operation)

    async def stop(self) -> None:
        """Leave the tasks; what they were doing is in the store."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drive(self, operation: Operation) -> None:
        await asyncio.sleep(max(0.0, operation.due - time.time()))
        if self.get(operation.id) is None:
            return  # the lab was reset meanwhile
        try:
            if operation.fault is not None:
                raise OperationError(operation.fault["code"], operation.fault["message"])
            result = await self._work(operation)
        except OperationError as exc:
            ended = _failed(operation, exc.code, exc.message)
        except ArmError as exc:
            ended = _failed(operation, exc.code, exc.message)
        except Exception as exc:
            _LOG.exception("operation %s on %s", operation.verb, operation.resource)
            ended = _failed(operation, "InternalServerError", f"{type(exc).__name__}: {exc}")
        else:
            ended = replace(operation, status=SUCCEEDED, ended=time.time(), result=result)
        if self.get(operation.id) is None:
            return
        with self._store.transaction():
            self.record(ended)
            self._finish(ended)


def _failed(operation: Operation, code: str, message: str) -> Operation:
    status = CANCELED if code == CANCELED else FAILED
    return replace(operation, status=status, ended=time.time(), error={"code": code, "message": message})
