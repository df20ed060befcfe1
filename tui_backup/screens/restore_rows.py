"""Restores as rows."""

from __future__ import annotations

from tui_backup.model import BackupRestoreLog, JobStatus
from tui_backup.screens.facts import comparison_words
from tui_backup.screens.formats import eta, local_time, number, seconds_between, target_words
from tui_backup.screens.rows import NOTHING, View, status_cell
from tui_backup.services.utilities import format_duration
from tui_backup.widgets.rows import Cell, Column, LazyCells, Recipe, Row
from tui_backup.widgets.symbols import BAD, BUSY, DIM, GOOD

RESTORE_COLUMNS = (
    Column("status", "Status", 13),
    Column("source", "Backup of", 11, most=40),
    Column("target", "Into", 12, most=44),
    Column("finished", "Finished", 12, descending=True),
    Column("rows", "Rows", 11, align="right", hide_below=110, descending=True),
    Column("took", "Took", 8, align="right", hide_below=90, descending=True),
    Column("result", "Result", 11, most=36, hide_below=60),
)


def restore_row(view: View[BackupRestoreLog]) -> Row:
    """One restore for the log."""
    key = str(view.of.id)
    return Row(key, LazyCells(_RESTORE, view), rank=(-view.of.created_at.timestamp(), key))


def _restore_status(view: View[BackupRestoreLog]) -> Cell:
    return status_cell(view.of, view.look.symbols)


def _restore_finished(view: View[BackupRestoreLog]) -> Cell:
    log = view.of
    if log.status is JobStatus.RUNNING:
        return Cell(eta(log.progress), sort=float("inf"))
    return Cell(local_time(log.completed_at, view.look.now()), sort=log.completed_at and log.completed_at.timestamp())


def _restore_took(view: View[BackupRestoreLog]) -> Cell:
    log = view.of
    running = log.status is JobStatus.RUNNING
    took = seconds_between(log.started_at, view.look.now()) if running else log.duration_seconds
    return Cell(format_duration(took) if took is not None else "-", sort=took)


def _result(view: View[BackupRestoreLog]) -> Cell:
    log = view.of
    if log.status is JobStatus.FAILED:
        return Cell("rolled back" if log.rollback_executed else "failed", BAD)
    if log.undo_state == "kept":
        return Cell(f"{comparison_words(log)}, old kept", BUSY)
    if log.undo_state != "none":
        return Cell(log.undo_state.replace("_", " "), DIM)
    if log.status is not JobStatus.COMPLETED:
        return NOTHING
    words = comparison_words(log)
    return Cell(words, BAD if words.startswith("DIFFERS") else GOOD if words.startswith("identical") else DIM)


_RESTORE: Recipe[View[BackupRestoreLog]] = Recipe(
    (
        _restore_status,
        lambda view: Cell(view.of.source_name or "?"),
        lambda view: Cell(target_words(view.of)),
        _restore_finished,
        lambda view: Cell(number(view.of.rows_restored), sort=view.of.rows_restored),
        _restore_took,
        _result,
    ),
    lambda view: f"{view.of.id} {view.of.backup_job_id} {view.of.notes or ''}",
)
