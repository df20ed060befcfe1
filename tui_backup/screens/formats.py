"""Rows of the model as rows of a live table."""

from __future__ import annotations

from datetime import datetime

from tui_backup.errors import ValidationError
from tui_backup.model import (
    BackupJob,
    BackupRestoreLog,
    BackupSchedule,
    JobStatus,
    JobType,
    Progress,
    Proof,
    RestoreTarget,
    Verification,
)
from tui_backup.screens.facts import comparison_words
from tui_backup.services.incrementals import read_everything_because
from tui_backup.services.utilities import describe_cron, format_age, format_bytes, format_duration
from tui_backup.widgets.symbols import BAD, BUSY, DIM, GOOD, WARN, Symbols, status_tone
from tui_backup.widgets.table_model import Cell, Column, Row

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
    Column("proof", "Proof", 15, most=24, hide_below=70, descending=True),
)

SCHEDULE_COLUMNS = (
    Column("on", "On", 5),
    Column("name", "Name", 10, most=40),
    Column("source", "Source", 8, most=40, hide_below=70),
    Column("when", "When", 16, most=50),
    Column("next", "Next", 16, most=18),
    Column("last", "Last result", 11, hide_below=60),
    Column("last_at", "Last run", 12, hide_below=110, descending=True),
)

COMPLETED_COLUMNS = (
    Column("source", "Source", 11, most=40),
    Column("name", "Name", 12, most=30, hide_below=110),
    Column("finished", "Finished", 12, descending=True),
    Column("age", "Age", 5, align="right"),
    Column("size", "Size", 9, align="right", hide_below=70, descending=True),
    Column("tables", "Tables", 6, align="right", hide_below=70, descending=True),
    Column("proof", "Proof", 15, most=24),
)

RESTORE_COLUMNS = (
    Column("status", "Status", 13),
    Column("source", "Backup of", 11, most=40),
    Column("target", "Into", 12, most=44),
    Column("finished", "Finished", 12, descending=True),
    Column("rows", "Rows", 11, align="right", hide_below=110, descending=True),
    Column("took", "Took", 8, align="right", hide_below=90, descending=True),
    Column("result", "Result", 11, most=36, hide_below=60),
)

TABLE_COLUMNS = (
    Column("table", "Table", 20, most=80),
    Column("rows", "Rows", 12, align="right", descending=True),
    Column("bytes", "Size", 9, align="right", descending=True),
    Column("stored", "Stored", 9, align="right", hide_below=60, descending=True),
)

TARGET_WORDS = {
    RestoreTarget.NEW_DATABASE: "new",
    RestoreTarget.SWAP: "swap",
    RestoreTarget.SIDE_SCHEMA: "schema",
    RestoreTarget.IN_PLACE: "in place",
}
TYPE_WORDS = {JobType.FULL: "full", JobType.INCREMENTAL: "incr", JobType.SNAPSHOT: "snap"}


def local_time(moment: datetime | None, now: datetime) -> str:
    """A moment in the local zone, short: ``Nov 22 02:14``, with the year where it is another one."""
    if moment is None:
        return "-"
    local = moment.astimezone()
    pattern = "%b %d %H:%M" if local.year == now.astimezone().year else "%Y-%m-%d"
    return local.strftime(pattern)


def exact_time(moment: datetime | None) -> str:
    """A moment in the local zone to the second, with the zone."""
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def zone_name(now: datetime) -> str:
    """The local zone as people know it."""
    return now.astimezone().strftime("%Z") or "UTC"


def number(value: int | None) -> str:
    """A count with separators."""
    return "-" if value is None else f"{value:,}"


def seconds_between(earlier: datetime | None, later: datetime) -> int | None:
    """Whole seconds, never negative."""
    return None if earlier is None else max(0, int((later - earlier).total_seconds()))


def percent(progress: Progress | None) -> str:
    """How far a running job is; 100 % only once it is completed."""
    fraction = progress.fraction if progress else None
    return "" if fraction is None else f"{min(99, int(fraction * 100))}%"


def eta(progress: Progress | None) -> str:
    """When it will be done."""
    if progress is None or progress.eta_seconds is None:
        return "ETA unknown"
    return f"ETA {format_age(progress.eta_seconds)}"


def progress_words(progress: Progress | None, started_at: datetime | None, now: datetime) -> str:
    """Bytes of total, rate, elapsed time and ETA of a running job."""
    elapsed = format_duration(seconds_between(started_at, now))
    if progress is None:
        return f"starting, {elapsed}"
    total = f" of {format_bytes(progress.bytes_total)}" if progress.bytes_total else ""
    rate = f", {format_bytes(int(progress.bytes_per_second))}/s" if progress.bytes_per_second else ""
    tables = f", table {progress.tables_done} of {progress.tables_total}" if progress.tables_total else ""
    rows = f", {progress.rows_done:,} rows" if progress.rows_done else ""
    done = format_bytes(progress.bytes_done)
    return f"{progress.phase}: {done}{total}{rate}{tables}{rows}, {elapsed}, {eta(progress)}"


def status_cell(status: JobStatus, progress: Progress | None, symbols: Symbols, *, started: bool = True) -> Cell:
    """Sign, word and, while it runs, how far it is."""
    word = symbols.status(status)
    if status is JobStatus.RUNNING and started:
        word = f"{word} {percent(progress)}".rstrip()
    return Cell(word, status_tone(status), sort=str(status))


def proof_cell(job: BackupJob, verification: Verification | None, now: datetime, symbols: Symbols) -> Cell:
    """What was proved about a backup, with its age; a check that runs or found damage stands before it."""
    if job.status is not JobStatus.COMPLETED:
        return Cell("-", DIM)
    if job.deleted_at is not None:
        return Cell("deleted", DIM)
    if verification is not None and not verification.status.is_final:
        return Cell(f"checking {percent(verification.progress)}".rstrip(), BUSY, sort=datetime.max.timestamp())
    if verification is not None and verification.problems:
        return Cell(f"{symbols.failed} DAMAGED", BAD, sort=0.0)
    if job.proof is Proof.NONE:
        return Cell("none", DIM)
    word = "files" if job.proof is Proof.FILES else "restored"
    age = format_age(seconds_between(job.proof_at, now))
    sort = job.proof_at.timestamp() if job.proof_at else 0.0
    return Cell(f"{word} {age} ago", GOOD if job.proof is Proof.RESTORED else "", sort=sort)


def _type_cell(job: BackupJob) -> Cell:
    """An incremental that had to read everything stands out; the pane below says why."""
    return Cell("inc!", WARN) if read_everything_because(job) else Cell(TYPE_WORDS[job.job_type])


def job_row(job: BackupJob, verification: Verification | None, now: datetime, symbols: Symbols) -> Row:
    """One backup job for the first tab."""
    progress = job.progress if job.status is JobStatus.RUNNING else None
    size, took = job.backup_size, job.duration_seconds
    finished = Cell(local_time(job.completed_at, now), sort=job.completed_at and job.completed_at.timestamp())
    if job.status is JobStatus.RUNNING:
        finished = Cell(eta(progress) if progress else "-", sort=float("inf"))
        size = progress.bytes_done if progress else None
        took = seconds_between(job.started_at, now)
    return Row(
        str(job.id),
        (
            status_cell(job.status, progress, symbols),
            Cell(job.source_name or "?"),
            Cell(job.backup_name or "-"),
            _type_cell(job),
            finished,
            Cell(format_bytes(size), sort=size),
            Cell(format_bytes(job.compressed_size_bytes), sort=job.compressed_size_bytes),
            Cell(number(job.rows_count), sort=job.rows_count),
            Cell(format_duration(took) if took is not None else "-", sort=took),
            proof_cell(job, verification, now, symbols),
        ),
        rank=(-job.created_at.timestamp(), str(job.id)),
        search=" ".join((str(job.id), job.backup_name or "", job.description or "", *job.tags)),
    )


def completed_row(job: BackupJob, verification: Verification | None, now: datetime, symbols: Symbols) -> Row:
    """One completed backup for the restore tab and the wizard."""
    age = seconds_between(job.completed_at, now)
    return Row(
        str(job.id),
        (
            Cell(job.source_name or "?"),
            Cell(job.backup_name or "-"),
            Cell(local_time(job.completed_at, now), sort=job.completed_at and job.completed_at.timestamp()),
            Cell(format_age(age), sort=age),
            Cell(format_bytes(job.backup_size), sort=job.backup_size),
            Cell(number(job.tables_count), sort=job.tables_count),
            proof_cell(job, verification, now, symbols),
        ),
        rank=(-(job.completed_at or job.created_at).timestamp(), str(job.id)),
        search=" ".join((str(job.id), job.backup_name or "", job.description or "", *job.tags)),
    )


def cron_words(expression: str) -> str:
    """A cron expression in words."""
    try:
        return describe_cron(expression)
    except ValidationError:
        # A row written by something else must not take the table down.
        return expression


def schedule_row(schedule: BackupSchedule, now: datetime, symbols: Symbols) -> Row:
    """One schedule."""
    on = Cell(f"{symbols.completed} on", GOOD) if schedule.is_enabled else Cell(f"{symbols.cancelled} off", DIM)
    due = schedule.next_run_at if schedule.is_enabled else None
    late = due is not None and (now - due).total_seconds() > 120
    next_text = due.astimezone().strftime("%a %b %d %H:%M") if due else "-"
    last = schedule.last_run_status or ""
    ran = schedule.last_run_at
    return Row(
        str(schedule.id),
        (
            on,
            Cell(schedule.schedule_name),
            Cell(schedule.source_name or "?"),
            Cell(f"{cron_words(schedule.cron_expression)} {schedule.timezone}"),
            Cell(f"{symbols.late} {next_text}" if late else next_text, WARN if late else "", due and due.timestamp()),
            Cell(symbols.status(last) if last else "never ran", status_tone(last) if last else DIM, last or None),
            Cell(local_time(ran, now), sort=ran and ran.timestamp()),
        ),
        rank=schedule.schedule_name.lower(),
        search=f"{schedule.id} {schedule.cron_expression} {schedule.description or ''}",
    )


def target_words(log: BackupRestoreLog) -> str:
    """Where a restore went."""
    name = log.target_schema if log.target is RestoreTarget.SIDE_SCHEMA else log.target_database
    return f"{TARGET_WORDS[log.target]} {name or ''}".rstrip()


def restore_row(log: BackupRestoreLog, now: datetime, symbols: Symbols) -> Row:
    """One restore for the log."""
    progress = log.progress if log.status is JobStatus.RUNNING else None
    running = log.status is JobStatus.RUNNING
    took = seconds_between(log.started_at, now) if running else log.duration_seconds
    return Row(
        str(log.id),
        (
            status_cell(log.status, progress, symbols),
            Cell(log.source_name or "?"),
            Cell(target_words(log)),
            Cell(eta(progress) if running else local_time(log.completed_at, now), sort=_finished_sort(log)),
            Cell(number(log.rows_restored), sort=log.rows_restored),
            Cell(format_duration(took) if took is not None else "-", sort=took),
            _result_cell(log),
        ),
        rank=(-log.created_at.timestamp(), str(log.id)),
        search=f"{log.id} {log.backup_job_id} {log.notes or ''}",
    )


def _finished_sort(log: BackupRestoreLog) -> float | None:
    if log.status is JobStatus.RUNNING:
        return float("inf")
    return log.completed_at.timestamp() if log.completed_at else None


def _result_cell(log: BackupRestoreLog) -> Cell:
    if log.status is JobStatus.FAILED:
        return Cell("rolled back" if log.rollback_executed else "failed", BAD)
    if log.undo_state == "kept":
        return Cell(f"{comparison_words(log)}, old kept", BUSY)
    if log.undo_state != "none":
        return Cell(log.undo_state.replace("_", " "), DIM)
    if log.status is not JobStatus.COMPLETED:
        return Cell("-", DIM)
    words = comparison_words(log)
    return Cell(words, BAD if words.startswith("DIFFERS") else GOOD if words.startswith("identical") else DIM)
