"""Schedules as rows."""

from __future__ import annotations

from tui_backup.model import BackupSchedule
from tui_backup.screens.formats import cron_words, local_time
from tui_backup.screens.rows import View
from tui_backup.widgets.rows import Cell, Column, LazyCells, Recipe, Row
from tui_backup.widgets.symbols import DIM, GOOD, WARN, status_tone

SCHEDULE_COLUMNS = (
    Column("on", "On", 5),
    Column("name", "Name", 10, most=40),
    Column("source", "Source", 8, most=40, hide_below=70),
    Column("when", "When", 16, most=50),
    Column("next", "Next", 16, most=18, ages=True),
    Column("last", "Last result", 11, hide_below=60),
    Column("last_at", "Last run", 12, hide_below=110, descending=True),
)


def schedule_row(view: View[BackupSchedule]) -> Row:
    """One schedule."""
    return Row(str(view.of.id), LazyCells(_SCHEDULE, view), rank=view.of.schedule_name.lower())


def _on(view: View[BackupSchedule]) -> Cell:
    signs = view.look.symbols
    return Cell(f"{signs.completed} on", GOOD) if view.of.is_enabled else Cell(f"{signs.cancelled} off", DIM)


def _next(view: View[BackupSchedule]) -> Cell:
    due = view.of.next_run_at if view.of.is_enabled else None
    if due is None:
        return Cell("-")
    words = due.astimezone().strftime("%a %b %d %H:%M")
    late = (view.look.now() - due).total_seconds() > 120
    return Cell(f"{view.look.symbols.late} {words}" if late else words, WARN if late else "", due.timestamp())


def _last(view: View[BackupSchedule]) -> Cell:
    last = view.of.last_run_status or ""
    words = view.look.symbols.status(last) if last else "never ran"
    return Cell(words, status_tone(last) if last else DIM, last or None)


def _last_at(view: View[BackupSchedule]) -> Cell:
    ran = view.of.last_run_at
    return Cell(local_time(ran, view.look.now()), sort=ran and ran.timestamp())


_SCHEDULE: Recipe[View[BackupSchedule]] = Recipe(
    (
        _on,
        lambda view: Cell(view.of.schedule_name),
        lambda view: Cell(view.of.source_name or "?"),
        lambda view: Cell(f"{cron_words(view.of.cron_expression)} {view.of.timezone}"),
        _next,
        _last,
        _last_at,
    ),
    lambda view: f"{view.of.id} {view.of.cron_expression} {view.of.description or ''}",
)
