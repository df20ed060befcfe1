"""The pump: worker threads that take COPY tasks from one list and write the streams into a sink."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import psycopg

from tui_backup.engine.connection import map_error
from tui_backup.engine.logical.lines import ASYNCPG_ERRORS, Line, LinePlan, open_line
from tui_backup.engine.logical.tenants.row_hash import RowHash
from tui_backup.errors import ConnectionFailedError, SourceChangedError
from tui_backup.model import BackupSink, BlobWriter, PendingBlob, ProgressReport, StopFlag

T = TypeVar("T")

_POLL_S = 0.1
_WAIT_S = 0.005
_VAIN_GROUPS = 3
"""Groups of a table that may fail before it is believed that its changes are everywhere."""
_STALL_TIMEOUT_S = 600.0
# how long workers get to leave by themselves, after a cancelled query, and after a broken line
_LEAVE_S, _CANCEL_S, _CUT_S = 0.7, 1.0, 3.0


class CopyTask(Protocol):
    """One stream to copy."""

    @property
    def query(self) -> str:
        """The SELECT."""
        ...

    @property
    def label(self) -> str:
        """What is being read, for messages."""
        ...

    @property
    def weight(self) -> int:
        """Estimated size, for the order and the progress."""
        ...

    @property
    def check(self) -> StreamCheck | None:
        """What tells that the stream is stored already; None when it must be read."""
        ...

    @property
    def hashes_rows(self) -> bool:
        """Whether a hash over the rows is wanted."""
        ...


class StreamCheck(Protocol):
    """Asks the server whether a stream is still the one that an earlier backup stored."""

    @property
    def query(self) -> str:
        """A SELECT of one row of integers."""
        ...

    def stands(self, answer: tuple[int, ...]) -> bool:
        """Whether the answer says so."""
        ...

    @property
    def stored(self) -> Copied:
        """The stored stream."""
        ...


class StreamGroup(Protocol):
    """Asks the same for several streams at once, all of which have a check of their own."""

    @property
    def tasks(self) -> Sequence[int]:
        """Their numbers."""
        ...

    @property
    def table(self) -> str:
        """What they are streams of: where several groups of it have failed, the others are not tried."""
        ...

    @property
    def query(self) -> str:
        """A SELECT of one row of integers."""
        ...

    def stands(self, answer: tuple[int, ...]) -> bool:
        """Whether the answer says that all of them stand."""
        ...


@dataclass(frozen=True, slots=True)
class Copied:
    """One stored stream.

    Args:
        reused: it was not read, an earlier backup stored it.
        row_hash: of its rows, where it was wanted.
    """

    rows: int
    raw_bytes: int
    blobs: Sequence[PendingBlob]
    reused: bool = False
    row_hash: int | None = None


class _StoppedError(Exception):
    """Another thread failed or the user stopped: leave without a message of one's own."""


class _Shared:
    """What the workers share: the list, the results, and the first failure."""

    def __init__(
        self,
        tasks: Sequence[CopyTask],
        sink: BackupSink,
        stop: StopFlag,
        *,
        done: Callable[[int, Copied], None],
        progress: ProgressReport,
        groups: Sequence[StreamGroup],
    ) -> None:
        self.sink, self.stop, self.progress = sink, stop, progress
        self.tasks = tasks
        self.results: list[Copied | None] = [None] * len(tasks)
        self.error: BaseException | None = None
        self._done = done
        self._groups = deque(groups)
        self._asked = 0
        self._failed: Counter[str] = Counter()
        self._stood: Counter[str] = Counter()
        grouped = {index for group in groups for index in group.tasks}
        heaviest_first = sorted(range(len(tasks)), key=lambda index: -tasks[index].weight)
        self._waiting = deque(index for index in heaviest_first if index not in grouped)
        self._lock = threading.Lock()

    def next(self) -> int | StreamGroup | None:
        """What to do next; None while nothing is there, which :attr:`is_over` tells from the end."""
        self.check()
        with self._lock:
            while self._groups:
                group = self._groups.popleft()
                if self._failed[group.table] < _VAIN_GROUPS or self._stood[group.table]:
                    self._asked += 1
                    return group
                self._waiting.extend(group.tasks)
            return self._waiting.popleft() if self._waiting else None

    @property
    def is_over(self) -> bool:
        """Whether nothing will come any more: no group is being asked for whose streams may have to be read."""
        with self._lock:
            return not (self._asked or self._groups or self._waiting)

    def answered(self, group: StreamGroup, stands: bool) -> None:
        """Note a group's answer; where it does not stand, its streams are put in front."""
        with self._lock:
            self._asked -= 1
            (self._stood if stands else self._failed)[group.table] += 1
            if not stands:
                self._waiting.extendleft(reversed(group.tasks))

    def finish(self, index: int, copied: Copied) -> None:
        with self._lock:
            self.results[index] = copied
            self._done(index, copied)

    def fail(self, error: BaseException) -> None:
        with self._lock:
            if self.error is None and not isinstance(error, _StoppedError):
                self.error = error

    def check(self) -> None:
        if self.error is not None or self.stop.is_set:
            raise _StoppedError


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """A stream that was read and is not closed yet."""

    index: int
    blob: BlobWriter
    rows: int
    raw_bytes: int
    row_hash: int | None


class _Worker(threading.Thread):
    def __init__(self, number: int, shared: _Shared, plan: LinePlan) -> None:
        super().__init__(name=f"backup-pump-{number}", daemon=True)
        self._shared = shared
        self._plan = plan
        self.line: Line | None = None
        self._unfinished: _Unfinished | None = None
        self.reads_since: float | None = None
        self.label = ""

    def run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._work())
        except BaseException as exc:  # noqa: BLE001 - carried to the thread that called run_pump()
            self._shared.fail(exc)

    async def _work(self) -> None:
        self._shared.check()
        self.line = await open_line(self._plan)
        try:
            while not self._shared.is_over:
                await self._do(self.line, self._shared.next())
            self._finish()
        finally:
            if self._unfinished is not None:
                self._unfinished.blob.abort()
            await self.line.close()
            self.line = None

    async def _do(self, line: Line, work: int | StreamGroup | None) -> None:
        if work is None:
            # another worker is asking for a group, whose streams may have to be read
            await asyncio.sleep(_WAIT_S)
        elif isinstance(work, int):
            await self._copy(line, work)
        else:
            await self._ask(line, work)

    async def _ask(self, line: Line, group: StreamGroup) -> None:
        self.label = group.table
        stands = group.stands(await self._answer(line, group.query))
        for index in group.tasks if stands else ():
            check = self._shared.tasks[index].check
            assert check is not None  # noqa: S101 - that is what a group is made of
            self._take_over(index, check)
        self._shared.answered(group, stands)

    def _take_over(self, index: int, check: StreamCheck) -> None:
        stored = check.stored
        self._shared.progress(bytes_=stored.raw_bytes)
        self._shared.finish(index, stored)

    async def _copy(self, line: Line, index: int) -> None:
        task = self._shared.tasks[index]
        shared = self._shared
        raw_bytes = 0
        row_hash = RowHash() if task.hashes_rows else None

        def take(block: bytes | bytearray | memoryview) -> None:
            nonlocal raw_bytes
            shared.check()
            # a slow store is not a stalled server
            self.reads_since = None
            self._finish()
            blob.write(block)
            if row_hash is not None:
                row_hash.update(block)
            raw_bytes += len(block)
            shared.progress(bytes_=len(block))
            self.reads_since = time.monotonic()

        self.label = task.label
        if task.check is not None and task.check.stands(await self._answer(line, task.check.query)):
            self._take_over(index, task.check)
            return
        self.reads_since = time.monotonic()
        blob = shared.sink.open_blob()
        try:
            rows = await _mapped(line.copy(task.query, take), f"reading {task.label}")
            self.reads_since = None
            self._finish()
        except BaseException:
            blob.abort()
            raise
        finally:
            self.reads_since = None
        self._unfinished = _Unfinished(index, blob, rows, raw_bytes, row_hash.value if row_hash else None)

    def _finish(self) -> None:
        """Close the stream before this one: its end is compressed while the server works on this one already."""
        if (stream := self._unfinished) is not None:
            blobs = stream.blob.close()
            copied = Copied(stream.rows, stream.raw_bytes, blobs, row_hash=stream.row_hash)
            self._unfinished = None
            self._shared.finish(stream.index, copied)

    async def _answer(self, line: Line, query: str) -> tuple[int, ...]:
        self._shared.check()
        self.reads_since = time.monotonic()
        try:
            return await _mapped(line.row(query), f"comparing {self.label} with the parent")
        finally:
            self.reads_since = None


async def _mapped(work: Coroutine[Any, Any, T], what: str) -> T:
    try:
        return await work
    except (*ASYNCPG_ERRORS, psycopg.Error, OSError, TimeoutError) as exc:
        raise map_error(exc, what) from exc


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop where it can be had: about a tenth less CPU for a COPY."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run_pump(
    plan: LinePlan,
    tasks: Sequence[CopyTask],
    sink: BackupSink,
    *,
    workers: int,
    stop: StopFlag,
    progress: ProgressReport,
    done: Callable[[int, Copied], None],
    cancel_backend: Callable[[int, bool], bool],
    watch: Callable[[], None],
    groups: Sequence[StreamGroup] = (),
    stall_timeout_s: float = _STALL_TIMEOUT_S,
) -> list[Copied]:
    """Copy all tasks, the heaviest first, those that may be taken over before all others.

    Args:
        plan: how to open a line.
        tasks: what to copy.
        sink: where to.
        workers: threads, each with a session of its own; never more than tasks.
        stop: ends the work.
        progress: told the bytes as they come.
        done: called with the index and result of each finished task, never by two threads at once.
        cancel_backend: (pid, terminate) asks the server to end a line's query or session; False when it is deaf.
        watch: called often by this thread while the workers run; what it raises ends them.
        groups: tasks to be asked for together before each is for itself.
        stall_timeout_s: a line that brings no byte for so long is given up.

    Returns:
        The results in the order of the tasks.

    Raises:
        What ``stop`` carries, or the first failure of a worker.
    """
    shared = _Shared(tasks, sink, stop, done=done, progress=progress, groups=groups)
    crew = [_Worker(number, shared, plan) for number in range(min(workers, len(tasks)))]
    for worker in crew:
        worker.start()
    try:
        while any(worker.is_alive() for worker in crew) and shared.error is None:
            stop.check()
            watch()
            _check_stalls(crew, stall_timeout_s)
            _join(crew, _POLL_S)
    except BaseException as exc:  # noqa: BLE001 - raised again below, when the workers are gone
        shared.fail(exc)
    finally:
        _dismiss(crew, cancel_backend)
    stop.check()
    if shared.error is not None:
        raise shared.error
    results = [copied for copied in shared.results if copied is not None]
    if len(results) != len(tasks):
        raise SourceChangedError(f"Only {len(results)} of {len(tasks)} streams were read.")
    return results


def _check_stalls(crew: Sequence[_Worker], limit_s: float) -> None:
    for worker in crew:
        since = worker.reads_since
        if since is not None and time.monotonic() - since > limit_s:
            raise ConnectionFailedError(f"Reading {worker.label}: the server sent nothing for {limit_s:g} s.")


def _join(crew: Sequence[_Worker], timeout_s: float) -> bool:
    give_up = time.monotonic() + timeout_s
    for worker in crew:
        worker.join(max(0.0, give_up - time.monotonic()))
    return not any(worker.is_alive() for worker in crew)


def _dismiss(crew: Sequence[_Worker], cancel_backend: Callable[[int, bool], bool]) -> None:
    """See all workers gone: by themselves at their next block, else by cancelling, ending, and breaking the line."""
    if _join(crew, _LEAVE_S):
        return
    for terminate in (False, True):
        answers = [
            cancel_backend(line.backend_pid, terminate)
            for worker in crew
            if worker.is_alive() and (line := worker.line) is not None
        ]
        if _join(crew, _CANCEL_S if all(answers) else 0.0):
            return
        if not all(answers):
            break
    for worker in crew:
        line = worker.line
        if worker.is_alive() and line is not None:
            line.cut()
    _join(crew, _CUT_S)
