"""Everything about one restore."""

from __future__ import annotations

import json
from uuid import UUID

from tui_backup.messages import BoardChanged, Tick
from tui_backup.model import BackupRestoreLog, JobStatus
from tui_backup.screens.details import DetailsScreen, Facts
from tui_backup.screens.facts import comparison_lines, hint_of, kept_database, logged_restore_command, notes_of
from tui_backup.screens.formats import exact_time, number, progress_words, target_words
from tui_backup.services.utilities import format_duration
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.table_model import Cell, Column, Row


class RestoreDetailsScreen(DetailsScreen):
    """Every column of the restore, the comparison, its timeline, its error with what to do, and its command.

    Args:
        restore_id: the restore, which must be on the board.
    """

    columns = (Column("what", "Comparison, warnings and what was left out", 40, most=190),)

    def __init__(self, restore_id: UUID) -> None:
        super().__init__(classes="details")
        self._restore_id = restore_id

    def on_mount(self) -> None:
        """Name the table."""
        self.query_one("#tables-title").display = False

    @property
    def _log(self) -> BackupRestoreLog | None:
        return self.host.board.restores.get(self._restore_id)

    def on_board_changed(self, message: BoardChanged) -> None:
        """The restore changed."""
        if message.id in (None, self._restore_id):
            self.show_row()

    def on_tick(self, message: Tick) -> None:
        """The elapsed time of a running restore."""
        if self._log is not None and self._log.status is JobStatus.RUNNING:
            self.show_row()

    def show_row(self) -> None:
        """Show the restore as it is now."""
        log = self._log
        if log is None:
            self.put("This restore is gone.", "", (), "", ())
            return
        title = f"{self.host.symbols.status(log.status)}  {log.source_name or '?'} into {target_words(log)}"
        if log.status is JobStatus.RUNNING:
            title += f"  {progress_words(log.progress, log.started_at, self.host.board.now())}"
        error = ""
        if log.error_message:
            undone = "\nThe target is as it was before." if log.rollback_executed else ""
            error = f"{log.error_message}\nWhat to do: {hint_of(log) or 'see the log (l)'}{undone}"
        self.put(title, error, _timeline(log), logged_restore_command(log), _facts(log))
        table = self.query_one("#tables", LiveTable)
        table.set_placeholder("Not compared, no warnings.")
        lines = [*comparison_lines(log), *notes_of(log)]
        table.set_rows([Row(str(i), (Cell(words),), rank=i) for i, words in enumerate(lines)])
        self.fit_table()

    def action_copy_id(self) -> None:
        """Copy the id."""
        self.host.copy(str(self._restore_id), "id")

    def action_copy_command(self) -> None:
        """Copy the command."""
        if self._log is not None:
            self.host.copy(logged_restore_command(self._log), "command")


def _timeline(log: BackupRestoreLog) -> Facts:
    steps = [(log.created_at, "asked for")]
    if log.started_at:
        steps.append((log.started_at, "started"))
    if log.rollback_at:
        steps.append((log.rollback_at, "rolled back: the target is as it was before"))
    if log.completed_at:
        took = f" after {format_duration(log.duration_seconds)}" if log.duration_seconds is not None else ""
        steps.append((log.completed_at, f"{log.status}{took}"))
    return [(exact_time(when), what) for when, what in sorted(steps, key=lambda step: step[0])]


def _facts(log: BackupRestoreLog) -> Facts:
    def plain(value: object) -> str:
        return "-" if value is None or value == "" else str(value)

    hidden = ("compare", "warnings", "excluded")
    rest = {key: value for key, value in log.metadata.items() if key not in hidden}
    return (
        ("id", str(log.id)),
        ("backup_job_id", str(log.backup_job_id)),
        ("backup of", plain(log.source_name)),
        ("restore_type", str(log.restore_type)),
        ("restore_point", exact_time(log.restore_point)),
        ("status", str(log.status)),
        ("target", target_words(log)),
        ("target source", plain(log.target_source_name)),
        ("tables chosen", ", ".join(log.chosen_tables) or "all"),
        ("old database kept as", plain(kept_database(log) if log.undo_state == "kept" else None)),
        ("undo", log.undo_state.replace("_", " ")),
        ("safety backup", plain(log.safety_job_id)),
        ("started_at", exact_time(log.started_at)),
        ("completed_at", exact_time(log.completed_at)),
        ("duration_seconds", number(log.duration_seconds)),
        ("tables_restored", number(log.tables_restored)),
        ("rows_restored", number(log.rows_restored)),
        ("rollback_executed", "yes" if log.rollback_executed else "no"),
        ("rollback_at", exact_time(log.rollback_at)),
        ("error_message", plain(log.error_message)),
        ("error_details", json.dumps(log.error_details, default=str) if log.error_details else "-"),
        ("metadata", json.dumps(rest, default=str) if rest else "-"),
        ("notes", plain(log.notes)),
        ("tenant_id", str(log.tenant_id)),
        ("created_at", exact_time(log.created_at)),
        ("created_by", plain(log.created_by)),
        ("initiated_by", plain(log.initiated_by)),
        ("updated_at", exact_time(log.updated_at)),
    )
