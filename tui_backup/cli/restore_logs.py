"""`restore-log list|show|undo|finish|cancel`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from tui_backup.cli.outcome import going_on, show_failure
from tui_backup.cli.parser import Commands, add_command, add_confirm, add_group, count, require_confirm
from tui_backup.cli.text import Cell, Column, local_time, time_column
from tui_backup.model import BackupRestoreLog, JobStatus, RestoreTarget

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tui_backup.cli.context import Context
    from tui_backup.cli.output import Output


def add_commands(commands: Commands) -> None:
    """Add `restore-log …`."""
    group = add_group(commands, "restore-log", "restores: past, running and waiting")
    listing = add_command(group, "list", list_logs, "list the restores, newest first")
    listing.add_argument("--limit", type=count, default=100, metavar="N", help="at most so many (default: %(default)s)")
    _add_restore(add_command(group, "show", show_log, "show all about one restore"))
    _add_restore(add_command(group, "undo", undo, "swap back, or put a tenant's rows back from the safety backup"))
    finish = add_command(group, "finish", finish_restore, "drop the kept old database; no undo after that")
    _add_restore(finish)
    add_confirm(finish, "really drop it")
    _add_restore(add_command(group, "cancel", cancel, "cancel a waiting or running restore"))


def _add_restore(parser: ArgumentParser) -> None:
    parser.add_argument("restore", metavar="RESTORE", help="id of the restore, or its first characters (at least 4)")


async def list_logs(context: Context, arguments: Namespace) -> None:
    """List restores."""
    from tui_backup.services import restores
    from tui_backup.services.utilities import clean_text, format_duration

    async with context.session() as session:
        logs = await restores.get_restore_logs(session, arguments.limit)
    output = context.output
    if output.is_json:
        output.data(logs)
        return
    finished, times = time_column("Finished", [log.completed_at for log in logs])
    columns = [Column("Id"), Column("Status"), Column("Source", flexible=True), Column("Backup", hide=3)]
    columns += [Column("Type", hide=1), finished, Column("Tables", right=True)]
    columns += [Column("Rows", right=True), Column("Took", right=True, hide=2)]
    output.table(
        columns,
        [
            [
                str(log.id)[:8],
                _status(output, log),
                clean_text(log.source_name or "-"),
                str(log.backup_job_id)[:8],
                "dry run" if log.is_dry_run else log.restore_type.value,
                time,
                _number(log.tables_restored),
                _number(log.rows_restored),
                format_duration(log.duration_seconds),
            ]
            for log, time in zip(logs, times, strict=True)
        ],
        empty="No restores yet. Plan one: tui-backup restore JOB --into-database NAME",
    )


def _status(output: Output, log: BackupRestoreLog) -> Cell:
    fraction = log.progress.fraction if log.progress and log.status is JobStatus.RUNNING else None
    return output.status(log.status.value, f"{fraction:.0%}" if fraction is not None else "")


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


async def show_log(context: Context, arguments: Namespace) -> None:
    """Show one restore."""
    from tui_backup.services import restores

    async with context.session() as session:
        log = await restores.get_restore_log_by_id(session, arguments.restore)
    if context.output.is_json:
        context.output.data(log)
    else:
        _show(context.output, log)


def _show(output: Output, log: BackupRestoreLog) -> None:
    from tui_backup.services.utilities import clean_text, format_duration

    rolled_back = f"yes, {local_time(log.rollback_at)}" if log.rollback_executed else "no"
    output.facts(
        [
            ("Id", str(log.id)),
            ("Status", _status(output, log)),
            ("Backup", str(log.backup_job_id)),
            ("Source", clean_text(log.source_name or "-")),
            ("Type", log.restore_type.value),
            ("Target", log.target.value.replace("_", " ") + (" (dry run)" if log.is_dry_run else "")),
            ("Created", local_time(log.created_at)),
            ("Started", local_time(log.started_at)),
            ("Finished", local_time(log.completed_at)),
            ("Took", format_duration(log.duration_seconds)),
            ("Tables", _number(log.tables_restored)),
            ("Rows", _number(log.rows_restored)),
            ("Rolled back", rolled_back),
            ("Notes", clean_text(log.notes or "-")),
            *_metadata_facts(output, log),
        ]
    )
    if log.error_message:
        output.line()
        show_failure(output, log.error_message, log.error_details)


def show_result(output: Output, log: BackupRestoreLog) -> None:
    """Show what a finished restore came to; a failure is reported elsewhere."""
    from tui_backup.services.utilities import clean_text, format_duration

    if log.status is not JobStatus.COMPLETED:
        return
    output.line(f"{output.paint(output.status('completed'))}  {clean_text(log.source_name or '')}  {log.id}")
    output.line(
        f"{_number(log.tables_restored)} tables, {_number(log.rows_restored)} rows"
        f" in {format_duration(log.duration_seconds)}"
    )
    if facts := _metadata_facts(output, log):
        output.facts(facts)
    short = str(log.id)[:8]
    if log.undo_state == "kept":
        output.line(f"Undo it: tui-backup restore-log undo {short}")
    if log.undo_state == "kept" and log.target is not RestoreTarget.IN_PLACE:
        output.line(f"Drop the kept old database: tui-backup restore-log finish {short} --confirm")


def _part(log: BackupRestoreLog, name: str) -> Mapping[str, Any]:
    part = log.metadata.get(name)
    return cast("Mapping[str, Any]", part) if isinstance(part, Mapping) else {}


def _metadata_facts(output: Output, log: BackupRestoreLog) -> list[tuple[str, str | Cell]]:
    """What the agent noted: where the data is, the comparison, the kept database, warnings."""
    from tui_backup.services.utilities import clean_text

    facts: list[tuple[str, str | Cell]] = []
    if database := log.metadata.get("database") or log.target_database:
        schema = f", schema {log.target_schema}" if log.target_schema else ""
        facts.append(("Into", clean_text(f"{database}{schema}")))
    if kept := _part(log, "swap").get("kept"):
        said = {"undone": "has its name again", "finished": "dropped"}.get(log.undo_state, f"kept as {kept}")
        facts.append(("Old database", clean_text(said)))
    if compare := _part(log, "compare"):
        is_identical = compare.get("identical")
        word = "identical with the backup" if is_identical else "differs from the backup"
        facts.append(("Comparison", output.status("ok" if is_identical else "failed", word)))
        differences = cast("Sequence[Mapping[str, Any]]", compare.get("differences") or ())
        facts += [("Difference", clean_text(f"{each.get('name')}: {each.get('message')}")) for each in differences]
    if log.safety_job_id:
        facts.append(("Safety backup", str(log.safety_job_id)))
    facts += [("Warning", clean_text(str(warning))) for warning in log.metadata.get("warnings") or ()]
    return facts


async def undo(context: Context, arguments: Namespace) -> None:
    """Swap back, or put the rows back."""
    from tui_backup.services import restores

    async with context.session(agent=True) as session:
        log = await restores.get_restore_log_by_id(session, arguments.restore)
        with going_on(context, "The undo goes on.", f"See: tui-backup restore-log show {str(log.id)[:8]}"):
            log = await restores.undo_restore(session, log.id)
    if context.output.is_json:
        context.output.data(log)
    elif log.target is RestoreTarget.IN_PLACE:
        context.output.line("The rows are as they were before the restore.")
    else:
        context.output.line("The old database has its name again; the restored one is kept beside it.")


async def finish_restore(context: Context, arguments: Namespace) -> None:
    """Drop the kept old database."""
    from tui_backup.services import restores

    async with context.session(agent=arguments.confirm) as session:
        log = await restores.get_restore_log_by_id(session, arguments.restore)
        kept = _part(log, "swap").get("kept", "the kept old database")
        require_confirm(arguments, f"Drops {kept} for ever; the restore {str(log.id)[:8]} cannot be undone after that.")
        with going_on(context, "The drop goes on.", f"See: tui-backup restore-log show {str(log.id)[:8]}"):
            log = await restores.finish_restore(session, log.id, confirm=True)
    if context.output.is_json:
        context.output.data(log)
    else:
        context.output.line("The kept old database is dropped.")


async def cancel(context: Context, arguments: Namespace) -> None:
    """Cancel a restore."""
    from tui_backup.services import restores

    async with context.session() as session:
        log = await restores.cancel_restore(session, arguments.restore)
    if context.output.is_json:
        context.output.data(log)
    elif log.status is JobStatus.CANCELLED:
        context.output.line(f"Restore {log.id} is cancelled.")
    else:
        context.output.line(f"Restore {log.id} is asked to stop; it ends within seconds.")
