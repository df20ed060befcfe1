"""`stats`: are we safe, and the catalog's figures."""

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


def add_commands(commands: Commands) -> None:
    """Add `stats`."""
    add_command(commands, "stats", show_statistics, "say whether every source is inside its RPO, and the figures")


async def show_statistics(context: Context, arguments: Namespace) -> None:
    """Show safety and statistics."""
    from tui_backup.services.statistics import get_backup_statistics, get_safety

    async with context.session() as session:
        figures = await get_backup_statistics(session)
        overview = await get_safety(session)
    if context.output.is_json:
        context.output.data({**plain(figures), "safety": plain(overview)})
    else:
        _show(context.output, figures, overview)


def _show(output: Output, figures: BackupStatistics, overview: SafetyOverview) -> None:
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
    following = overview.next_schedule
    output.facts(
        [
            (
                "Backups",
                f"{figures.total_backups} ({figures.successful_backups} good, {figures.failed_backups} failed)",
            ),
            ("Running", f"{overview.running} now, {overview.failed} failed in the last 24 h"),
            ("Stored", format_bytes(figures.total_size_bytes)),
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
