"""Wait for work that an agent does. The work goes on whether anybody waits or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from uuid import UUID

from tui_backup.model import BackupJob, BackupRestoreLog, JobStatus, Verification
from tui_backup.services.backups import get_backup_job_by_id
from tui_backup.services.patience import AGENT_PATIENCE_S, wait_until
from tui_backup.services.restores import get_restore_log_by_id
from tui_backup.services.session import Session
from tui_backup.services.verifications import get_verification


class _Subject(Protocol):
    @property
    def status(self) -> JobStatus: ...


S = TypeVar("S", bound=_Subject)


async def _wait(
    session: Session,
    read: Callable[[], Awaitable[S]],
    on_progress: Callable[[S], None] | None,
    agent_patience_s: float,
) -> S:
    last: list[S] = []

    async def is_final() -> bool:
        found = await read()
        if not last or found != last[-1]:
            last[:] = [found]
            if on_progress:
                on_progress(found)
        return found.status.is_final

    await wait_until(session, is_final, timeout_s=None, what="the work", agent_patience_s=agent_patience_s)
    return last[-1]


async def wait_for_job(
    session: Session,
    job_id: UUID,
    *,
    on_progress: Callable[[BackupJob], None] | None = None,
    agent_patience_s: float = AGENT_PATIENCE_S,
) -> BackupJob:
    """Return the job when it has ended, in whatever way.

    Args:
        session: open.
        job_id: full id.
        on_progress: called with every change seen.
        agent_patience_s: how long no agent may be alive.

    Raises:
        AgentLostError: no agent is alive; the job stays queued.
        CatalogUnavailableError: the catalog stayed away for two minutes.
    """
    return await _wait(session, lambda: get_backup_job_by_id(session, job_id), on_progress, agent_patience_s)


async def wait_for_restore(
    session: Session,
    restore_id: UUID,
    *,
    on_progress: Callable[[BackupRestoreLog], None] | None = None,
    agent_patience_s: float = AGENT_PATIENCE_S,
) -> BackupRestoreLog:
    """Return the restore when it has ended; see :func:`wait_for_job`."""
    return await _wait(session, lambda: get_restore_log_by_id(session, restore_id), on_progress, agent_patience_s)


async def wait_for_verification(
    session: Session,
    verification_id: UUID,
    *,
    on_progress: Callable[[Verification], None] | None = None,
    agent_patience_s: float = AGENT_PATIENCE_S,
) -> Verification:
    """Return the verification when it has ended; see :func:`wait_for_job`."""
    return await _wait(session, lambda: get_verification(session, verification_id), on_progress, agent_patience_s)
