"""Base of the three tabs: tables that follow the board, and what the highlighted row is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from textual.containers import Vertical

from tui_backup.messages import Subject
from tui_backup.model import BackupJob, BackupRestoreLog, BackupSchedule
from tui_backup.screens.board import Board
from tui_backup.screens.host import Host, host_of
from tui_backup.screens.rows import Look
from tui_backup.widgets.detail_pane import PaneMessage
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.rows import Row


class Pane(Vertical):
    """One tab. Subclasses say which rows each table shows and what to say of the highlighted one."""

    description: ClassVar[str] = ""
    hints: ClassVar[Sequence[str]] = ()
    is_behind = False
    """Rows changed while another tab was open."""

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    @property
    def board(self) -> Board:
        """The rows."""
        return self.host.board

    @property
    def look(self) -> Look:
        """What texts depend on besides their rows."""
        return Look(self.board.now, self.host.symbols)

    @property
    def tables(self) -> list[LiveTable]:
        """The tables from top to bottom."""
        return list(self.query(LiveTable))

    @property
    def table(self) -> LiveTable:
        """The table in use: the focused one, else the first."""
        return next((table for table in self.tables if table.has_focus), self.tables[0])

    def key(self) -> UUID | None:
        """Id of the highlighted row of the table in use."""
        key = self.table.cursor_key
        return UUID(key) if key else None

    def job(self) -> BackupJob | None:
        """The highlighted backup, if a backup is highlighted."""
        return None

    def schedule(self) -> BackupSchedule | None:
        """The highlighted schedule, if a schedule is highlighted."""
        return None

    def restore(self) -> BackupRestoreLog | None:
        """The highlighted restore, if a restore is highlighted."""
        return None

    def rows_of(self, table: LiveTable) -> list[Row]:
        """All rows of a table, from the board."""
        raise NotImplementedError

    def row_of(self, table: LiveTable, id_: UUID) -> Row | None:
        """One row of a table; None when it is not (or no longer) there."""
        raise NotImplementedError

    def empty_words(self, table: LiveTable) -> Sequence[str]:
        """Why a table is empty, and the key that changes that."""
        raise NotImplementedError

    def row_message(self) -> PaneMessage | None:
        """What the detail pane says of the highlighted row."""
        return None

    def concerns(self, subject: Subject) -> list[LiveTable]:
        """The tables that show rows of this kind."""
        raise NotImplementedError

    def live_ids(self) -> list[tuple[LiveTable, UUID]]:
        """Rows whose text changes with the time: running ones."""
        return []

    def show_all(self, subject: Subject | None = None) -> None:
        """Bring tables up to date with the board; only what differs is repainted."""
        for table in self.tables if subject is None else self.concerns(subject):
            table.set_rows(self.rows_of(table))
        if subject is None:
            self.is_behind = False
        self.show_state()

    def show_one(self, subject: Subject, id_: UUID) -> None:
        """Bring one row up to date."""
        for table in self.concerns(subject):
            row = self.row_of(table, id_)
            if row is None:
                table.drop_row(str(id_))
            else:
                table.put_row(row)

    def show_running(self) -> None:
        """Bring the elapsed time of running rows up to date."""
        live: dict[LiveTable, list[str]] = {}
        for table, id_ in self.live_ids():
            live.setdefault(table, []).append(str(id_))
        for table, keys in live.items():
            table.renew(keys)

    def show_ages(self) -> None:
        """Bring everything that depends on the time up to date."""
        for table in self.tables:
            table.renew()

    def forget_ages(self) -> None:
        """The same for a tab that is not open: nothing is made now."""
        for table in self.tables:
            table.model.forget()
            table.refresh()

    def show_state(self) -> None:
        """Say in an empty table why it is empty: loading, unreachable, nothing there, nothing matches."""
        connection = self.board.connection
        for table in self.tables:
            if table.row_count:
                continue
            waited = int(self.board.monotonic() - connection.since)
            if not self.board.loaded and connection.error is not None:
                table.set_placeholder(f"The catalog cannot be read: {connection.error.message}", connection.error.hint)
            elif not self.board.loaded:
                table.set_placeholder(f"Loading {waited}s")
            elif table.is_reading:
                table.set_placeholder(f"Looking through {len(table.model.rows):,} rows")
            elif table.model.filter and table.model.rows:
                table.set_placeholder(f'Nothing matches "{table.model.filter}". Esc clears the filter.')
            else:
                table.set_placeholder(*self.empty_words(table))
