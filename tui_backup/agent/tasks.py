"""Gives the queue's task names their bodies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

import procrastinate
from procrastinate import JobContext

from tui_backup.agent.backup_run import BACKUP
from tui_backup.agent.delete_run import delete_backup_files
from tui_backup.agent.restore_run import RESTORE
from tui_backup.agent.runs import Procedure, RetryLater, RetryOnRequest, Runner
from tui_backup.agent.settle import settle_restore
from tui_backup.agent.undo_run import undo_or_finish
from tui_backup.agent.verify_run import VERIFY
from tui_backup.errors import CatalogUnavailableError
from tui_backup.queue import names

log = logging.getLogger(__name__)

_STOP_PATIENCE_S = 60.0
_CATALOG_AGAIN_S = 10

Errand = Callable[[Runner, UUID], Awaitable[None]]


def register_tasks(app: procrastinate.App, runner: Runner) -> None:
    """Register every task on the app."""

    def add(name: str, procedure: Procedure) -> None:
        async def task(context: JobContext, subject_id: str) -> None:
            await runner.carry_out(context, procedure, UUID(subject_id))

        app.task(name=name, pass_context=True, retry=RetryOnRequest())(task)

    def add_errand(name: str, errand: Errand) -> None:
        async def task(subject_id: str) -> None:
            await run_errand(runner, errand, UUID(subject_id))

        app.task(name=name, retry=RetryOnRequest())(task)

    add(names.BACKUP, BACKUP)
    add(names.RESTORE, RESTORE)
    add(names.VERIFY, VERIFY)
    add_errand(names.DELETE, delete_backup_files)
    add_errand(names.UNDO, undo_or_finish)
    add_errand(names.SETTLE, settle_restore)


async def run_errand(runner: Runner, errand: Errand, subject_id: UUID) -> None:
    """Do a short piece of work that must not be lost half done: it is finished at a stop, or queued again.

    Raises:
        RetryLater: the catalog was away, or the agent stops before the end.
    """
    if runner.live.works_on(subject_id):
        return
    with runner.live.working_on(subject_id):
        work = asyncio.ensure_future(errand(runner, subject_id))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait({work}, timeout=_STOP_PATIENCE_S)
            if not done:
                work.cancel()
                log.warning("%s goes back to the queue unfinished", subject_id)
                raise RetryLater(0) from None
            if isinstance(work.exception(), CatalogUnavailableError):
                raise RetryLater(0) from None
            work.result()
        except CatalogUnavailableError as exc:
            log.warning("%s: %s", subject_id, exc.message)
            raise RetryLater(_CATALOG_AGAIN_S) from exc
