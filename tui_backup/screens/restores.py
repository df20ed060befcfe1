"""The third tab: completed backups to restore from, and the log of restores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from textual.app import ComposeResult

from tui_backup.messages import Subject
from tui_backup.model import BackupJob, BackupRestoreLog, JobStatus
from tui_backup.screens.backups import job_message
from tui_backup.screens.base import text
from tui_backup.screens.facts import comparison_lines, hint_of, kept_database
from tui_backup.screens.formats import number, progress_words, target_words
from tui_backup.screens.job_rows import COMPLETED_COLUMNS, completed_row
from tui_backup.screens.pane import Pane
from tui_backup.screens.restore_rows import RESTORE_COLUMNS, restore_row
from tui_backup.screens.rows import RowCache
from tui_backup.services.utilities import format_duration
from tui_backup.widgets.detail_pane import PaneMessage
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.rows import Row
from tui_backup.widgets.symbols import BAD


def can_restore(job: BackupJob) -> bool:
    """Whether a backup may be offered."""
    return job.status is JobStatus.COMPLETED and job.deleted_at is None


class RestorePane(Pane):
    """Two tables; Tab goes from one to the other."""

    description: ClassVar[str] = "Restore from a completed backup (Enter or r). Tab goes to the restore log."
    hints: ClassVar[Sequence[str]] = ("restore", "verify", "undo", "finish", "filter", "cancel", "quit")

    def compose(self) -> ComposeResult:
        """Backups above, log below."""
        self._backups = RowCache(completed_row, self.look)
        self._restores = RowCache(restore_row, self.look)
        yield LiveTable(COMPLETED_COLUMNS, symbols=self.host.symbols, id="completed-table")
        yield text("Restore log", classes="section")
        yield LiveTable(RESTORE_COLUMNS, symbols=self.host.symbols, id="restore-table")

    @property
    def _completed(self) -> LiveTable:
        return self.query_one("#completed-table", LiveTable)

    @property
    def _log(self) -> LiveTable:
        return self.query_one("#restore-table", LiveTable)

    def job(self) -> BackupJob | None:
        """The highlighted backup, unless the log has the focus."""
        id_ = self.key()
        return self.board.jobs.get(id_) if id_ and self.table is self._completed else None

    def restore(self) -> BackupRestoreLog | None:
        """The highlighted restore of the log."""
        key = self._log.cursor_key
        return self.board.restores.get(UUID(key)) if key and self.table is self._log else None

    def concerns(self, subject: Subject) -> list[LiveTable]:
        """Backups and restores."""
        if subject in ("jobs", "verifications"):
            return [self._completed]
        return [self._log] if subject == "restores" else []

    def rows_of(self, table: LiveTable) -> list[Row]:
        """All rows."""
        board = self.board
        if table is self._log:
            return [self._restores.row(log) for log in board.restores.values()]
        row, checks = self._backups.row, board.verifications
        return [row(job, checks.get(id_)) for id_, job in board.jobs.items() if can_restore(job)]

    def row_of(self, table: LiveTable, id_: UUID) -> Row | None:
        """One row."""
        board = self.board
        if table is self._log:
            log = board.restores.get(id_)
            return self._restores.row(log) if log else None
        job = board.jobs.get(id_)
        return self._backups.row(job, board.verifications.get(id_)) if job and can_restore(job) else None

    def live_ids(self) -> list[tuple[LiveTable, UUID]]:
        """Running restores."""
        running = (log.id for log in self.board.restores.values() if log.status is JobStatus.RUNNING)
        table = self._log
        return [(table, id_) for id_ in running]

    def empty_words(self, table: LiveTable) -> Sequence[str]:
        """Nothing to restore from, or nothing restored."""
        if table is self._log:
            return ("Nothing was restored yet.",)
        return ("No completed backup yet, so there is nothing to restore from. Tab 1, key n makes one.",)

    def row_message(self) -> PaneMessage | None:
        """What the highlighted row has to say."""
        log = self.restore()
        if log is not None:
            return self._restore_message(log)
        job = self.job()
        return None if job is None else job_message(self, job)

    def _restore_message(self, log: BackupRestoreLog) -> PaneMessage:
        what = f"{log.source_name or '?'} into {target_words(log)}"
        if log.status is JobStatus.FAILED:
            rolled = "The target is as it was before." if log.rollback_executed else ""
            return PaneMessage(f"{what}: {log.error_message or 'failed'} {rolled}", f"{hint_of(log)} l log", BAD)
        if log.status is JobStatus.RUNNING:
            return PaneMessage(f"{what}: {progress_words(log.progress, log.started_at, self.board.now())}")
        if log.status is not JobStatus.COMPLETED:
            return PaneMessage(f"{what}: {log.error_message or log.status}")
        took = format_duration(log.duration_seconds)
        rows = f"{number(log.tables_restored)} tables, {number(log.rows_restored)} rows in {took}"
        compared = comparison_lines(log)
        if log.undo_state == "kept":
            kept = kept_database(log) or "under another name"
            return PaneMessage(
                f"{what}: {rows}. {compared[0] if compared else ''}",
                f"The old database is kept as {kept}: u swaps back, F drops it.",
            )
        return PaneMessage(f"{what}: {rows}. {compared[0] if compared else 'Not compared.'}")
