"""The line that says what is out of the ordinary: no catalog, old data, paused, filtered; else what the tab is for."""

from __future__ import annotations

from textual.content import Content

from tui_backup.screens.board import PAGE_ROWS, Board
from tui_backup.screens.pane import Pane
from tui_backup.services.utilities import format_age
from tui_backup.widgets.detail_pane import STYLES
from tui_backup.widgets.symbols import WARN, Symbols
from tui_backup.widgets.text import shown

STALE_S = 30


def seconds_words(seconds: int) -> str:
    """Seconds while they matter, then minutes: a line that changes every second costs on a slow link."""
    return f"{seconds}s" if seconds < 60 else format_age(seconds)


def state_content(board: Board, pane: Pane, symbols: Symbols, *, read_only: bool) -> Content:
    """What to say; the tab's own description when all is ordinary."""
    connection = board.connection
    if connection.error is not None and not connection.connected:
        waited = seconds_words(int(board.monotonic() - connection.since))
        old = f" Data {seconds_words(board.age_s())} old." if board.loaded else ""
        message = shown(" ".join(connection.error.message.split()))
        return Content.assemble(
            (f" {symbols.late} Reconnecting {waited}.{old} ", "bold " + STYLES[WARN]), (message, STYLES[WARN])
        )
    if board.paused:
        return Content.styled(f" Paused, data {seconds_words(board.age_s())} old. p goes on.", STYLES[WARN])
    if board.loaded and board.age_s() > STALE_S:
        return Content.styled(f" {symbols.late} Data {seconds_words(board.age_s())} old.", STYLES[WARN])
    table = pane.table
    if table.model.filter:
        words = f' Filter "{shown(table.model.filter)}": {table.row_count} of {len(table.model.rows)} rows. Esc clears.'
        return Content.styled(words, "$text-accent")
    if len(board.jobs) >= PAGE_ROWS and not board.all_jobs_loaded:
        return Content.styled(f" {len(board.jobs):,} newest backups loaded; G loads older ones.", "$text-muted")
    words = f"{pane.description} Read-only." if read_only else pane.description
    return Content.styled(f" {words}", "$text-muted")
