"""How every kind of run is carried out: claim, work in a thread, publish progress, end truthfully.

A run ends in exactly one of these ways, and the row says which: completed; failed; cancelled by a member; handed back
(the agent is asked to stop, or a transient error leaves tries); or fenced (another agent owns it: nothing is written).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid4

from procrastinate import JobContext
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision

from tui_backup.agent.progress import ProgressCounter, publish
from tui_backup.agent.records import Claim, Records, Subject, failure_columns
from tui_backup.config import Config
from tui_backup.errors import CancelledError, FencedError, TuiBackupError, WorkFailedError
from tui_backup.model import StopFlag

log = logging.getLogger(__name__)
T = TypeVar("T")

_STOP_PATIENCE_S = 60.0
_BACKOFF_S = (5, 20, 60, 300)


class AgentStoppingError(WorkFailedError):
    """The agent was asked to stop; the run goes back to the queue."""

    code = "agent_stopping"
    retryable = True


class RetryLater(Exception):
    """Tells the queue to run the task again after ``seconds``."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


class RetryOnRequest(BaseRetryStrategy):
    """Retries exactly when a run asked for it: which errors are transient is decided in one place, below."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Read the wish from the exception."""
        if isinstance(exception, RetryLater):
            return RetryDecision(retry_in={"seconds": exception.seconds})
        return None


@dataclass(slots=True)
class Run:
    """What a run's body gets."""

    claim: Claim
    records: Records
    config: Config
    live: LiveRuns
    counter: ProgressCounter = field(default_factory=ProgressCounter)
    stop: StopFlag = field(default_factory=StopFlag)
    started: float = field(default_factory=time.monotonic)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread; when this task is cancelled the thread is told to stop and waited for.

        Raises:
            TuiBackupError: what the work raised, or the reason for which it was stopped.
        """
        future = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # whoever cancelled set the flag with the true reason before; this is the net below it
            self.stop.set(AgentStoppingError("The agent is stopping."))
            done, _ = await asyncio.wait({future}, timeout=_STOP_PATIENCE_S)
            if not done:
                log.error("a thread of %s does not stop; its writes are fenced", self.claim.id)
            elif (failure := future.exception()) is None:
                # it was done before it saw the flag: that counts
                return future.result()
            elif isinstance(failure, TuiBackupError):
                # it knows what it has undone
                raise failure from None
            else:
                log.error("while stopping %s", self.claim.id, exc_info=failure)
            raise

    def wait_for(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
        """Run a coroutine on the agent's loop from a thread of :meth:`in_thread`, and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)

    @property
    def seconds(self) -> int:
        """Whole seconds since this attempt began."""
        return round(time.monotonic() - self.started)


Body = Callable[[Run], Awaitable[Mapping[str, Any]]]
Failed = Callable[[Run, TuiBackupError], Awaitable[Mapping[str, Any]]]
Interrupted = Callable[[Run], Awaitable[Mapping[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class Procedure:
    """How one kind of run is done.

    Args:
        subject: the table of its rows.
        body: does the work; returns the columns that a completed row gets besides the times.
        on_failure: cleans up after a failed or cancelled attempt; returns further columns.
        on_interrupted: looks at what an agent that died left behind; returns the columns of a final row (with
            ``status``), or None when the work is to be done again.
        may_retry: whether a transient error may be tried again.
    """

    subject: Subject
    body: Body
    on_failure: Failed
    on_interrupted: Interrupted
    may_retry: bool


class LiveRuns:
    """The runs of this process, so that a lost lease can stop them and a forgotten row is noticed."""

    def __init__(self) -> None:
        self._runs: dict[UUID, Run | None] = {}
        self._subjects: set[UUID] = set()

    @property
    def tokens(self) -> list[UUID]:
        """Tokens of attempts that are under way here, also those whose claim is not yet answered."""
        return list(self._runs)

    @contextlib.contextmanager
    def expected(self, token: UUID) -> Generator[None]:
        """List the token before it is claimed, and drop it when the run has ended."""
        self._runs[token] = None
        try:
            yield
        finally:
            del self._runs[token]

    def works_on(self, subject_id: UUID) -> bool:
        """Whether a task about this subject is under way here."""
        return subject_id in self._subjects

    @contextlib.contextmanager
    def working_on(self, subject_id: UUID) -> Generator[None]:
        """Note a task's subject while it is under way."""
        self._subjects.add(subject_id)
        try:
            yield
        finally:
            self._subjects.discard(subject_id)

    def add(self, run: Run) -> None:
        """The claim succeeded."""
        self._runs[run.claim.token] = run

    def _present(self) -> list[Run]:
        return [run for run in self._runs.values() if run is not None]

    async def check_all(self) -> None:
        """Stop each run whose attempt is no longer the current one, or that a member has asked to cancel."""
        for run in self._present():
            try:
                # the queue tells of a cancel sooner, but only while the run has its place in it
                if await run.records.check_current(run.claim):
                    run.stop.set(CancelledError("Cancelled by a member."))
            except FencedError as exc:
                log.warning("%s was taken over by another agent", run.claim.id)
                run.stop.set(exc)


class Runner:
    """Carries out tasks of one agent."""

    def __init__(self, records: Records, config: Config) -> None:
        self.records = records
        self.config = config
        self.live = LiveRuns()

    async def carry_out(self, context: JobContext, procedure: Procedure, subject_id: UUID) -> None:
        """Claim a subject, run the procedure's body, and write how it ended."""
        if self.live.works_on(subject_id):
            # this process was asleep, and another agent has put its work back into the queue
            log.warning("%s %s is under way here already", procedure.subject, subject_id)
            return
        token = uuid4()
        with self.live.working_on(subject_id), self.live.expected(token):
            claim = await self.records.claim(procedure.subject, subject_id, token)
            if claim is None:
                log.info("%s %s: nothing to do", procedure.subject, subject_id)
                return
            run = Run(claim, self.records.of_tenant(claim.row["tenant_id"]), self.config, self.live)
            self.live.add(run)
            log.info("%s %s: attempt %s starts", procedure.subject, subject_id, token)
            publisher = asyncio.create_task(publish(run.records, claim, run.counter))
            try:
                await self._attempt(context, run, procedure)
            except FencedError as exc:
                log.warning("%s %s: %s", procedure.subject, subject_id, exc.message)
            finally:
                publisher.cancel()

    async def _attempt(self, context: JobContext, run: Run, procedure: Procedure) -> None:
        work = asyncio.ensure_future(self._body(run, procedure))
        try:
            columns = await _cancellable(work, run, context)
        except TuiBackupError as exc:
            error = exc if not run.stop.is_set else _as_typed(run.stop.reason, exc)
            error.details.update({key: value for key, value in exc.details.items() if key in _UNDONE})
        except Exception as exc:
            # the boundary: an unknown failure is logged whole and ends this run, not the agent
            log.exception("%s: unexpected", run.claim.id)
            hint = f"See {run.config.agent_log}: this is a bug, please report it."
            error = WorkFailedError(f"Unexpected {type(exc).__name__}.", hint=hint)
        else:
            await _to_its_end(run.records.finish(run.claim, {**self._final(run, "completed"), **columns}))
            log.info("%s: ended in %s s", run.claim.id, run.seconds)
            return
        if isinstance(error, FencedError):
            raise error
        await self._end_badly(run, error, procedure)

    @staticmethod
    async def _body(run: Run, procedure: Procedure) -> Mapping[str, Any]:
        if run.claim.was_interrupted:
            log.warning("%s: its agent is gone, taking over", run.claim.id)
            final = await procedure.on_interrupted(run)
            cancelled = CancelledError("Cancelled by a member; its agent was gone.")
            if final is None and run.claim.row["cancel_requested"]:
                raise cancelled
            if final is not None and final.get("status") == "failed" and run.claim.row["cancel_requested"]:
                return {**final, "status": "cancelled", **failure_columns(cancelled)}
            if final is not None:
                return final
        return await procedure.body(run)

    async def _end_badly(self, run: Run, error: TuiBackupError, procedure: Procedure) -> None:
        extra = dict(await _to_its_end(self._clean_up(run, error, procedure)))
        may_retry = procedure.may_retry
        tries_left = run.claim.row.get("retry_count", 0) < run.config.settings.agent.max_retries
        log.warning("%s: %s: %s", run.claim.id, error.code, error.message)
        if isinstance(error, AgentStoppingError) and may_retry:
            await _to_its_end(run.records.finish(run.claim, {**extra, "status": "pending", "started_at": None}))
            raise RetryLater(0)
        if error.retryable and may_retry and tries_left and not isinstance(error, CancelledError):
            tried = int(run.claim.row["retry_count"])
            metadata = {**run.claim.row["metadata"], **extra.pop("metadata", {}), "last_error": error.to_json()}
            columns = {"status": "pending", "started_at": None, "retry_count": tried + 1, "metadata": metadata}
            await _to_its_end(run.records.finish(run.claim, {**extra, **columns}))
            raise RetryLater(_BACKOFF_S[min(tried, len(_BACKOFF_S) - 1)])
        status = "cancelled" if isinstance(error, CancelledError) else "failed"
        columns = {**self._final(run, status), **failure_columns(error), **extra}
        await _to_its_end(run.records.finish(run.claim, columns))
        if status == "cancelled":
            raise JobAborted

    @staticmethod
    async def _clean_up(run: Run, error: TuiBackupError, procedure: Procedure) -> Mapping[str, Any]:
        try:
            return await procedure.on_failure(run, error)
        except Exception:
            # the boundary: whatever becomes of the cleaning up, the row must say that the run has ended, and why
            log.exception("%s: cleaning up failed", run.claim.id)
            return {}

    @staticmethod
    def _final(run: Run, status: str) -> dict[str, Any]:
        columns: dict[str, Any] = {"status": status, "completed_at": _NOW}
        if run.claim.subject != "backup_verifications":
            columns["duration_seconds"] = run.seconds
        return columns


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await what must not be left half done (it bounds itself), also when this task is cancelled meanwhile.

    What cancelled us wanted the run to end, and this is its end; so the cancellation is answered by it.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


_UNDONE = ("rollback_executed", "rollback_at", "rollback_error", "left_over")
"""Details by which an engine says what it has taken back; they are kept whatever the reason for the end is."""

_NOW = "now"
"""PostgreSQL reads the text ``now`` as the time of the transaction, by the catalog's clock."""


async def _cancellable(work: asyncio.Future[Mapping[str, Any]], run: Run, context: JobContext) -> Mapping[str, Any]:
    """Await the body; turn the queue's abort into the reason for which the run stops."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if context.abort_reason() is AbortReason.USER_REQUEST:
            run.stop.set(CancelledError("Cancelled by a member."))
        else:
            run.stop.set(AgentStoppingError("The agent was asked to stop."))
        work.cancel()
        try:
            # another cancel (the agent stops, too) must not tear us away from a thread that is cleaning up
            return await _to_its_end(_await(work))
        except asyncio.CancelledError:
            raise run.stop.reason or AgentStoppingError("The agent was asked to stop.") from None


async def _await(work: asyncio.Future[T]) -> T:
    return await work


def _as_typed(reason: BaseException | None, fallback: TuiBackupError) -> TuiBackupError:
    return reason if isinstance(reason, TuiBackupError) else fallback
