"""The second tab: when backups start by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from textual.app import ComposeResult

from tui_backup.messages import Subject
from tui_backup.model import BackupSchedule
from tui_backup.screens.formats import cron_words
from tui_backup.screens.pane import Pane
from tui_backup.screens.rows import RowCache
from tui_backup.screens.schedule_rows import SCHEDULE_COLUMNS, schedule_row
from tui_backup.widgets.detail_pane import PaneMessage
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.rows import Row
from tui_backup.widgets.symbols import BAD


class SchedulesPane(Pane):
    """By name."""

    description: ClassVar[str] = "Schedules start backups by themselves. Times of Next are in your own zone."
    hints: ClassVar[Sequence[str]] = ("new", "toggle_schedule", "edit", "delete", "filter", "quit")

    def compose(self) -> ComposeResult:
        """One table."""
        self._cache = RowCache(schedule_row, self.look)
        yield LiveTable(SCHEDULE_COLUMNS, symbols=self.host.symbols, id="schedule-table")

    def schedule(self) -> BackupSchedule | None:
        """The highlighted schedule."""
        id_ = self.key()
        return self.board.schedules.get(id_) if id_ else None

    def concerns(self, subject: Subject) -> list[LiveTable]:
        """Schedules alone."""
        return self.tables if subject == "schedules" else []

    def rows_of(self, table: LiveTable) -> list[Row]:
        """All schedules."""
        return [self._cache.row(schedule) for schedule in self.board.schedules.values()]

    def row_of(self, table: LiveTable, id_: UUID) -> Row | None:
        """One schedule."""
        schedule = self.board.schedules.get(id_)
        return self._cache.row(schedule) if schedule else None

    def empty_words(self, table: LiveTable) -> Sequence[str]:
        """No schedule yet."""
        if self.host.read_only:
            return ("No schedules yet: nothing runs by itself.",)
        return ("No schedules yet: nothing runs by itself. Press n to make one.",)

    def row_message(self) -> PaneMessage | None:
        """When, where and how long backups are kept."""
        schedule = self.schedule()
        if schedule is None:
            return None
        keep = f"Keeps {schedule.retention_days or 'any'} days, at most {schedule.max_backups_count or 'any'}."
        words = f"{schedule.schedule_name}: {cron_words(schedule.cron_expression)}, {schedule.timezone}"
        if schedule.last_run_status == "failed":
            why = schedule.metadata.get("last_error") or schedule.metadata.get("error") or ""
            return PaneMessage(f"{words}. The last run failed. {why}".rstrip(), "Tab 1 shows why.", BAD)
        description = f" {schedule.description}." if schedule.description else ""
        off = "" if schedule.is_enabled else " It is off: Space switches it on."
        return PaneMessage(f"{words}.{description} {keep}{off}")
