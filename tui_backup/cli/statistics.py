"""`stats`: are we safe, what the backups take up, and the catalog's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_backup.cli.output import plain
from tui_backup.cli.parser import Commands, add_command
from tui_backup.cli.text import Cell, Column, local_time

if TYPE_CHECKING:
    from argparse import Namespace

    from tui_backup.cli.context import Context
    from tui_backup.cli.output import Output
    from tui_backup.model import BackupStatistics
    from tui_backup.services.statistics import SafetyOverview
    from tui_backup.services.storage import MeasuredRepository, Storage


def add_commands(commands: Commands) -> None:
    """Add `stats`."""
    command = add_command(
        commands, "stats", show_statistics, "say whether every source is inside its RPO, and the figures"
    )
    command.add_argument(
        "--measure", action="store_true", help="list the repositories first and correct what is known of their size"
    )


async def show_statistics(context: Context, arguments: Namespace) -> None:
    """Show safety and statistics."""
    from tui_backup.services.statistics import get_backup_statistics, get_safety
    from tui_backup.services.storage import get_storage, measure_storage

    async with context.session() as session:
        measured = await measure_storage(session) if arguments.measure else []
        figures = await get_backup_statistics(session)
        overview = await get_safety(session)
        storage = await get_storage(session)
    if context.output.is_json:
        facts = {**plain(figures), "sources": storage.sources, "total": storage.total, "safety": overview}
        context.output.data({**facts, "measured": measured} if arguments.measure else facts)
        return
    for each in measured:
        _tell_measured(context.output, each)
    _show(context.output, figures, overview, storage)


def _tell_measured(output: Output, measured: MeasuredRepository) -> None:
    from tui_backup.services.utilities import clean_text, format_bytes

    name, change = clean_text(measured.repository_name), measured.corrected_bytes
    said = f"{name}: {measured.objects:,} objects, {format_bytes(measured.bytes)}"
    said += f"; {format_bytes(abs(change))} {'more' if change > 0 else 'less'} than was known" if change else ""
    if measured.unclaimed_bytes:
        said += f"; {format_bytes(measured.unclaimed_bytes)} beside it belong to no backup"
    if measured.unreadable_manifests:
        said += f"; {measured.unreadable_manifests} manifests cannot be read"
    output.note(f"{said}.")


def _show(output: Output, figures: BackupStatistics, overview: SafetyOverview, storage: Storage) -> None:
    from tui_backup.services.utilities import clean_text, format_age, format_bytes, format_duration

    word = overview.safety.value
    output.line(f"{output.paint(output.status(word))}  {clean_text(overview.headline)}")
    output.line()
    output.table(
        [
            Column("Source", flexible=True),
            Column("Safe"),
            Column("Last good"),
            Column("Age", right=True),
            Column("RPO"),
        ],
        [
            [
                clean_text(source.source_name),
                Cell(source.safety.value, source.safety.value),
                local_time(source.last_good_at),
                format_age(source.age_seconds),
                format_age(source.rpo_seconds),
            ]
            for source in overview.sources
        ],
        empty="No sources yet. Add one: tui-backup source add NAME --dsn DSN",
    )
    output.line()
    if storage.sources:
        _show_storage(output, storage)
        output.line()
    following = overview.next_schedule
    output.facts(
        [
            (
                "Backups",
                f"{figures.total_backups} ({figures.successful_backups} good, {figures.failed_backups} failed)",
            ),
            ("Running", f"{overview.running} now, {overview.failed} failed in the last 24 h"),
            ("Stored", format_bytes(overview.stored_bytes)),
            ("Usual time", format_duration(figures.avg_duration_seconds)),
            ("Last backup", local_time(figures.last_backup_at)),
            (
                "Next scheduled",
                local_time(figures.next_scheduled_backup)
                + (f" ({clean_text(following.schedule_name)})" if following else ""),
            ),
            ("Agents alive", str(sum(agent.is_alive for agent in overview.agents))),
        ]
    )


def _show_storage(output: Output, storage: Storage) -> None:
    """What each source's backups hold and take up; several are added up in a last line."""
    from tui_backup.services.utilities import clean_text, format_bytes

    def bytes_or_dash(count: int | None) -> str:
        return "-" if count is None else format_bytes(count)

    rows = [*storage.sources, storage.total] if len(storage.sources) > 1 else storage.sources
    output.table(
        [
            Column("Source", flexible=True),
            Column("Good backups", right=True),
            Column("Newest, raw", right=True, hide=1),
            Column("All, raw", right=True),
            Column("Stored", right=True),
            Column("Ratio", right=True),
        ],
        [
            [
                "Total" if row is storage.total else clean_text(row.source_name or "(removed)"),
                f"{row.good_backups:,}",
                bytes_or_dash(row.newest_bytes),
                format_bytes(row.logical_bytes),
                format_bytes(row.stored_bytes),
                f"{row.ratio:,.1f} x" if row.ratio else "-",
            ]
            for row in rows
        ],
        empty="",
    )
