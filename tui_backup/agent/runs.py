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
            elif not isinstance(failure, TuiBackupError):
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

    def add(self, run: Run) -> None:
        """The claim succeeded."""
        self._runs[run.claim.token] = run

    def _present(self) -> list[Run]:
        return [run for run in self._runs.values() if run is not None]

    def stop_all(self, reason: TuiBackupError) -> int:
        """Stop every run with the reason; returns how many there were."""
        for run in self._present():
            run.stop.set(reason)
        return len(self._runs)

    async def check_all(self) -> None:
        """Stop each run whose attempt is no longer the current one."""
        for run in self._present():
            try:
                await run.records.check_current(run.claim)
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
        token = uuid4()
        with self.live.expected(token):
            claim = await self.records.claim(procedure.subject, subject_id, token)
            if claim is None:
                log.info("%s %s: nothing to do", procedure.subject, subject_id)
                return
            run = Run(claim, self.records, self.config, self.live)
            self.live.add(run)
            log.info("%s %s: attempt %s starts", procedure.subject, subject_id, token)
            publisher = asyncio.create_task(publish(self.records, claim, run.counter))
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
        except Exception as exc:
            # the boundary: an unknown failure is logged whole and ends this run, not the agent
            log.exception("%s: unexpected", run.claim.id)
            hint = f"See {run.config.agent_log}: this is a bug, please report it."
            error = WorkFailedError(f"Unexpected {type(exc).__name__}.", hint=hint)
        else:
            await self.records.finish(run.claim, {**self._final(run, "completed"), **columns})
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
            if final is not None:
                return final
        return await procedure.body(run)

    async def _end_badly(self, run: Run, error: TuiBackupError, procedure: Procedure) -> None:
        extra = dict(await procedure.on_failure(run, error))
        may_retry = procedure.may_retry
        tries_left = run.claim.row.get("retry_count", 0) < run.config.settings.agent.max_retries
        log.warning("%s: %s: %s", run.claim.id, error.code, error.message)
        if isinstance(error, AgentStoppingError) and may_retry:
            await self.records.finish(run.claim, {**extra, "status": "pending", "started_at": None})
            raise RetryLater(0)
        if error.retryable and may_retry and tries_left and not isinstance(error, CancelledError):
            tried = int(run.claim.row["retry_count"])
            metadata = {**run.claim.row["metadata"], **extra.pop("metadata", {}), "last_error": error.to_json()}
            await self.records.finish(
                run.claim,
                {**extra, "status": "pending", "started_at": None, "retry_count": tried + 1, "metadata": metadata},
            )
            raise RetryLater(_BACKOFF_S[min(tried, len(_BACKOFF_S) - 1)])
        status = "cancelled" if isinstance(error, CancelledError) else "failed"
        await self.records.finish(run.claim, {**self._final(run, status), **failure_columns(error), **extra})
        if status == "cancelled":
            raise JobAborted

    @staticmethod
    def _final(run: Run, status: str) -> dict[str, Any]:
        columns: dict[str, Any] = {"status": status, "completed_at": _NOW}
        if run.claim.subject != "backup_verifications":
            columns["duration_seconds"] = run.seconds
        return columns


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
            return await work
        except asyncio.CancelledError:
            raise run.stop.reason or AgentStoppingError("The agent was asked to stop.") from None


def _as_typed(reason: BaseException | None, fallback: TuiBackupError) -> TuiBackupError:
    return reason if isinstance(reason, TuiBackupError) else fallback
