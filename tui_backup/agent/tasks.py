"""Gives the queue's task names their bodies."""

from __future__ import annotations

from uuid import UUID

import procrastinate
from procrastinate import JobContext

from tui_backup.agent.backup_run import BACKUP
from tui_backup.agent.delete_run import delete_backup_files
from tui_backup.agent.restore_run import RESTORE
from tui_backup.agent.runs import Procedure, RetryOnRequest, Runner
from tui_backup.agent.undo_run import undo_or_finish
from tui_backup.agent.verify_run import VERIFY
from tui_backup.queue import names


def register_tasks(app: procrastinate.App, runner: Runner) -> None:
    """Register every task on the app."""

    def add(name: str, procedure: Procedure) -> None:
        async def task(context: JobContext, subject_id: str) -> None:
            await runner.carry_out(context, procedure, UUID(subject_id))

        app.task(name=name, pass_context=True, retry=RetryOnRequest())(task)

    add(names.BACKUP, BACKUP)
    add(names.RESTORE, RESTORE)
    add(names.VERIFY, VERIFY)

    async def delete(subject_id: str) -> None:
        await delete_backup_files(runner, UUID(subject_id))

    async def undo(subject_id: str) -> None:
        await undo_or_finish(runner, UUID(subject_id))

    app.task(name=names.DELETE, retry=RetryOnRequest())(delete)
    app.task(name=names.UNDO, retry=RetryOnRequest())(undo)
