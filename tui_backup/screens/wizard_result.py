"""The restore wizard after the confirmation: progress, then the result with the comparison."""

from __future__ import annotations

from uuid import UUID

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from tui_backup.model import BackupRestoreLog, JobStatus, RestoreTarget
from tui_backup.screens.base import set_text, text
from tui_backup.screens.facts import comparison_lines, hint_of, kept_database, notes_of
from tui_backup.screens.formats import number, progress_words, target_words
from tui_backup.screens.host import Host, host_of
from tui_backup.services.utilities import format_duration
from tui_backup.widgets.detail_pane import STYLES
from tui_backup.widgets.symbols import BAD, GOOD, WARN, status_tone
from tui_backup.widgets.text import shown

Parts = list[str | tuple[str, str]]


class ResultStep(Vertical):
    """Step 5. The agent does the work: leaving this window changes nothing."""

    def __init__(self) -> None:
        super().__init__(id="step-5")
        self.restore_id: UUID | None = None

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    @property
    def restore(self) -> BackupRestoreLog | None:
        """The restore, from the board."""
        return self.host.board.restores.get(self.restore_id) if self.restore_id else None

    def compose(self) -> ComposeResult:
        """One text."""
        yield text("", id="result-words")

    def show_log(self) -> None:
        """Show the restore as it is now."""
        log = self.restore
        if log is None:
            return
        signs = self.host.symbols
        parts: Parts = [
            (signs.status(log.status), "bold " + STYLES.get(status_tone(log.status), "")),
            shown(f"  {log.source_name or '?'} into {target_words(log)}"),
            "\n\n",
        ]
        if not log.status.is_final:
            parts += self._waiting(log)
        elif log.status is JobStatus.COMPLETED:
            parts += _completed(log)
        else:
            parts += _failed(log)
        set_text(self.query_one("#result-words"), Content.assemble(*parts))

    def _waiting(self, log: BackupRestoreLog) -> Parts:
        if log.status is JobStatus.PENDING:
            words = "Waiting for an agent."
        else:
            words = progress_words(log.progress, log.started_at, self.host.board.now())
        stopping = "\nBeing cancelled." if log.cancel_requested else ""
        return [shown(words), stopping, "\n\n", ("x cancels. Esc closes this window, the restore goes on.", "dim")]


def _completed(log: BackupRestoreLog) -> Parts:
    took = format_duration(log.duration_seconds)
    parts: Parts = [f"{number(log.tables_restored)} tables, {number(log.rows_restored)} rows in {took}.\n"]
    lines = comparison_lines(log)
    if not lines:
        parts += [("Not compared with the backup.\n", STYLES[WARN])]
    for place, words in enumerate(lines):
        good = "DIFFERENT" not in lines[0]
        parts += [(shown(words), STYLES[GOOD if good else BAD] if place == 0 else ""), "\n"]
    for words in notes_of(log):
        parts += [("! ", STYLES[WARN]), shown(words), "\n"]
    if log.undo_state == "kept" and log.target is RestoreTarget.IN_PLACE:
        parts += ["\n", "The rows that were replaced are in the safety backup. ", ("u", "bold"), " puts them back."]
    elif log.undo_state == "kept":
        kept = kept_database(log) or "another name"
        parts += ["\n", shown(f"The old database is kept as {kept}."), " ", ("u", "bold"), " swaps back."]
    elif log.undo_state != "none":
        parts += ["\n", f"Undo: {log.undo_state.replace('_', ' ')}."]
    return parts


def _failed(log: BackupRestoreLog) -> Parts:
    parts: Parts = [(shown(" ".join((log.error_message or str(log.status)).split())), STYLES[BAD]), "\n"]
    if hint := hint_of(log):
        parts += [("What to do: ", "bold"), shown(hint), "\n"]
    if log.rollback_executed:
        parts.append("The target is as it was before.\n")
    return [*parts, *comparison_lines_parts(log)]


def comparison_lines_parts(log: BackupRestoreLog) -> Parts:
    """The comparison's lines, one below the other."""
    return [shown(words) + "\n" for words in comparison_lines(log)]
