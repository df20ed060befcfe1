"""Backups as rows: those of the first tab, and the completed ones to restore from."""

from __future__ import annotations

from datetime import datetime

from tui_backup.model import BackupJob, JobStatus, JobType, Proof
from tui_backup.screens.formats import eta, local_time, number, percent, seconds_between
from tui_backup.screens.rows import NOTHING, View, status_cell
from tui_backup.services.incrementals import read_everything_because
from tui_backup.services.utilities import format_age, format_bytes, format_duration
from tui_backup.widgets.rows import Cell, Column, LazyCells, Recipe, Row
from tui_backup.widgets.symbols import BAD, BUSY, DIM, GOOD, WARN

BACKUP_COLUMNS = (
    Column("status", "Status", 13),
    Column("source", "Source", 11, most=40),
    Column("name", "Name", 12, most=30, hide_below=110),
    Column("type", "Type", 4),
    Column("finished", "Finished", 12, descending=True),
    Column("size", "Size", 9, align="right", hide_below=70, descending=True),
    Column("stored", "Stored", 9, align="right", hide_below=120, descending=True),
    Column("rows", "Rows", 13, align="right", hide_below=130, descending=True),
    Column("took", "Took", 8, align="right", hide_below=70, descending=True),
    Column("proof", "Proof", 15, most=24, hide_below=70, descending=True, ages=True),
)

COMPLETED_COLUMNS = (
    Column("source", "Source", 11, most=40),
    Column("name", "Name", 12, most=30, hide_below=110),
    Column("finished", "Finished", 12, descending=True),
    Column("age", "Age", 5, align="right"),
    Column("size", "Size", 9, align="right", hide_below=70, descending=True),
    Column("tables", "Tables", 6, align="right", hide_below=70, descending=True),
    Column("proof", "Proof", 15, most=24, ages=True),
)

TYPE_WORDS = {JobType.FULL: "full", JobType.INCREMENTAL: "incr", JobType.SNAPSHOT: "snap"}
_NO_PROOF = Cell("none", DIM)


def job_row(view: View[BackupJob]) -> Row:
    """One backup job for the first tab."""
    job = view.of
    key = str(job.id)
    return Row(key, LazyCells(_JOB, view), rank=(-job.created_at.timestamp(), key))


def completed_row(view: View[BackupJob]) -> Row:
    """One completed backup for the restore tab and the wizard."""
    job = view.of
    key = str(job.id)
    return Row(key, LazyCells(_COMPLETED, view), rank=(-(job.completed_at or job.created_at).timestamp(), key))


def _job_status(view: View[BackupJob]) -> Cell:
    return status_cell(view.of, view.look.symbols)


def _source(view: View[BackupJob]) -> Cell:
    """One tenant's rows are not the source, and are not taken for it."""
    name = view.of.source_name or "?"
    return Cell(f"{name} (tenant)" if view.of.tenant_scope else name)


def _type(view: View[BackupJob]) -> Cell:
    """An incremental that had to read everything stands out; the pane below says why."""
    return Cell("inc!", WARN) if read_everything_because(view.of) else Cell(TYPE_WORDS[view.of.job_type])


def _finished(view: View[BackupJob]) -> Cell:
    job = view.of
    if job.status is JobStatus.RUNNING:
        return Cell(eta(job.progress) if job.progress else "-", sort=float("inf"))
    return Cell(local_time(job.completed_at, view.look.now()), sort=job.completed_at and job.completed_at.timestamp())


def _size(view: View[BackupJob]) -> Cell:
    job = view.of
    size = job.backup_size
    if job.status is JobStatus.RUNNING:
        size = job.progress.bytes_done if job.progress else None
    return Cell(format_bytes(size), sort=size)


def _stored(view: View[BackupJob]) -> Cell:
    stored = view.of.compressed_size_bytes
    return Cell(format_bytes(stored), sort=stored)


def _took(view: View[BackupJob]) -> Cell:
    job = view.of
    running = job.status is JobStatus.RUNNING
    took = seconds_between(job.started_at, view.look.now()) if running else job.duration_seconds
    return Cell(format_duration(took) if took is not None else "-", sort=took)


def _age(view: View[BackupJob]) -> Cell:
    ended = view.of.completed_at
    return Cell(format_age(seconds_between(ended, view.look.now())), sort=ended and -ended.timestamp())


def _proof(view: View[BackupJob]) -> Cell:
    """What was proved about a backup, with its age; a check that runs or found damage stands before it."""
    job, check = view.of, view.check
    if job.status is not JobStatus.COMPLETED:
        return NOTHING
    if job.deleted_at is not None:
        return Cell("deleted", DIM)
    if check is not None and not check.status.is_final:
        return Cell(f"checking {percent(check.progress)}".rstrip(), BUSY, sort=datetime.max.timestamp())
    if check is not None and check.problems:
        return Cell(f"{view.look.symbols.failed} DAMAGED", BAD, sort=0.0)
    if job.proof is Proof.NONE:
        return _NO_PROOF
    word = "files" if job.proof is Proof.FILES else "restored"
    age = format_age(seconds_between(job.proof_at, view.look.now()))
    sort = job.proof_at.timestamp() if job.proof_at else 0.0
    return Cell(f"{word} {age} ago", GOOD if job.proof is Proof.RESTORED else "", sort=sort)


def _job_search(view: View[BackupJob]) -> str:
    job = view.of
    return " ".join((str(job.id), job.backup_name or "", job.description or "", *job.tags))


_JOB: Recipe[View[BackupJob]] = Recipe(
    (
        _job_status,
        _source,
        lambda view: Cell(view.of.backup_name or "-"),
        _type,
        _finished,
        _size,
        _stored,
        lambda view: Cell(number(view.of.rows_count), sort=view.of.rows_count),
        _took,
        _proof,
    ),
    _job_search,
)

_COMPLETED: Recipe[View[BackupJob]] = Recipe(
    (
        _source,
        lambda view: Cell(view.of.backup_name or "-"),
        _finished,
        _age,
        _size,
        lambda view: Cell(number(view.of.tables_count), sort=view.of.tables_count),
        _proof,
    ),
    _job_search,
)
