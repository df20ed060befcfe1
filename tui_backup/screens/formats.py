"""Facts of the model in words, for cells, panes and details."""

from __future__ import annotations

from datetime import datetime

from tui_backup.errors import ValidationError
from tui_backup.model import BackupRestoreLog, Progress, RestoreTarget
from tui_backup.services.utilities import describe_cron, format_age, format_bytes, format_duration
from tui_backup.widgets.rows import Column

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


def cron_words(expression: str) -> str:
    """A cron expression in words."""
    try:
        return describe_cron(expression)
    except ValidationError:
        # A row written by something else must not take the table down.
        return expression


def target_words(log: BackupRestoreLog) -> str:
    """Where a restore went."""
    name = log.target_schema if log.target is RestoreTarget.SIDE_SCHEMA else log.target_database
    return f"{TARGET_WORDS[log.target]} {name or ''}".rstrip()
