"""`restore`: show the plan, and only with --confirm do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_backup.cli.checks import show_checks
from tui_backup.cli.outcome import going_on, report_failure
from tui_backup.cli.parser import Commands, add_command, add_confirm, add_job, add_tables, folder
from tui_backup.cli.progress import ProgressLine
from tui_backup.cli.restore_logs import show_result
from tui_backup.cli.text import Column, local_time
from tui_backup.errors import ConfirmationRequiredError, RefusedError, UsageError
from tui_backup.model import BackupRestoreLog, RestorePlan, RestoreRequest, RestoreTarget

if TYPE_CHECKING:
    from argparse import Namespace
    from uuid import UUID

    from tui_backup.cli.context import Context
    from tui_backup.cli.output import Output
    from tui_backup.services.session import Session

REFUSED = 3

_EPILOG = """\
Without --confirm the plan is shown (rows now, rows in the backup, checks) and
nothing is done: exit status 3.

  new database next to the old one   --into-database shop_restored
  the same, then swapped by rename   --into-database shop_restored --swap
  chosen tables to look at           --into-schema look --table public.orders
  chosen tables back in place        --in-place --table public.orders
  a tenant's rows (tenant backup)    --in-place | --into-schema look
  the rows as SQL for a reviewer     --rows-as-sql FILE

A swap keeps the old database: `tui-backup restore-log undo` swaps back.
In place is one transaction: an error leaves the target as it was.
"""


def add_commands(commands: Commands) -> None:
    """Add `restore`."""
    parser = add_command(commands, "restore", restore, "bring a backup back", epilog=_EPILOG)
    add_job(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--into-database", metavar="NAME", help="into a new database of this name")
    where.add_argument("--into-schema", metavar="NAME", help="chosen tables into a new schema of the live database")
    where.add_argument("--in-place", action="store_true", help="replace the rows of the live tables")
    where.add_argument(
        "--rows-as-sql", metavar="FILE", type=folder, help="write the rows as SQL into a new file; nothing is restored"
    )
    parser.add_argument(
        "--swap", action="store_true", help="then give it the live database's name; the old one is kept"
    )
    add_tables(parser, "only this table (schema.table, quoted as in SQL)")
    add_confirm(parser, "do what the plan says")
    parser.add_argument("--dry-run", action="store_true", help="show the plan; exit status 3 when it is refused")
    parser.add_argument("--wait", action="store_true", help="wait for the end; exit status 1 when it failed")
    parser.add_argument("--no-compare", action="store_true", help="do not compare the copy with the backup's content")
    parser.add_argument(
        "--replace-all", action="store_true", help="a tenant's rows in place: replace all, not only what differs"
    )
    parser.add_argument("--no-safety-backup", action="store_true", help="in place: do not back the tables up first")
    parser.add_argument("--no-owner", action="store_true", help="leave owners and grants out")
    parser.add_argument("--target-source", metavar="NAME", help="restore onto this source's server instead")
    parser.add_argument("--notes", metavar="TEXT", help="free text for the restore log")


def _request(arguments: Namespace, job_id: UUID) -> RestoreRequest:
    return RestoreRequest(
        job_id=job_id,
        target=_target(arguments),
        database=arguments.into_database,
        schema=arguments.into_schema,
        tables=tuple(arguments.tables),
        confirm_restore=arguments.confirm and not arguments.dry_run,
        compare=not arguments.no_compare,
        safety_backup=not arguments.no_safety_backup,
        no_owner=arguments.no_owner,
        target_source=arguments.target_source,
        notes=arguments.notes,
        replace_all=arguments.replace_all,
    )


def _target(arguments: Namespace) -> RestoreTarget:
    """Where it goes.

    Raises:
        UsageError: no place, or options that contradict one another.
    """
    if arguments.swap:
        if arguments.into_schema or arguments.in_place:
            raise UsageError("--swap needs a database of its own.", hint="Use --into-database NAME --swap.")
        return RestoreTarget.SWAP
    if arguments.into_schema:
        return RestoreTarget.SIDE_SCHEMA
    if arguments.in_place:
        return RestoreTarget.IN_PLACE
    if arguments.into_database:
        return RestoreTarget.NEW_DATABASE
    raise UsageError(
        "Where shall it go?", hint="Name one of --into-database NAME [--swap], --into-schema NAME, --in-place."
    )


async def restore(context: Context, arguments: Namespace) -> int:
    """Plan a restore and, once confirmed, queue it and wait for it."""
    if arguments.rows_as_sql:
        return await _write_rows(context, arguments)
    # wrong use is told before anything is opened
    _target(arguments)
    from tui_backup.services import backups, restores

    is_planning = arguments.dry_run or not arguments.confirm
    async with context.session(agent=not is_planning) as session:
        job = await backups.get_backup_job_by_id(session, arguments.job)
        request = _request(arguments, job.id)
        plan = await restores.plan_restore(session, request)
        if plan.refused or is_planning:
            return _show(context, plan, is_dry_run=arguments.dry_run)
        if not context.output.is_json:
            _show_plan(context.output, plan)
            context.output.line()
        log = await restores.restore_from_backup(session, request)
        if arguments.wait:
            log = await _wait(context, session, log)
    if context.output.is_json:
        context.output.data(log)
    elif arguments.wait:
        show_result(context.output, log)
    else:
        short = str(log.id)[:8]
        context.output.line(f"Restore {log.id} is queued.")
        context.output.line(f"Watch it: tui-backup restore-log show {short}")
    return report_failure(context, log, "The restore") if arguments.wait else 0


async def _write_rows(context: Context, arguments: Namespace) -> int:
    """Write the rows into a file."""
    from tui_backup.services import backups, tenant_restores
    from tui_backup.services.stored import check_restorable
    from tui_backup.services.utilities import format_bytes

    async with context.session() as session:
        job = await backups.get_backup_job_by_id(session, arguments.job)
        check_restorable(job)
        with ProgressLine(context.output, "rows as SQL") as line:
            written = await tenant_restores.write_rows(
                session, job, arguments.rows_as_sql, tables=tuple(arguments.tables), on_progress=line.update
            )
    if context.output.is_json:
        context.output.data({"file": str(arguments.rows_as_sql), "bytes": written})
    else:
        context.output.line(f"{format_bytes(written)} written to {arguments.rows_as_sql}")
        context.output.line("Load it: psql --single-transaction --set ON_ERROR_STOP=1 --file FILE")
    return 0


async def _wait(context: Context, session: Session, log: BackupRestoreLog) -> BackupRestoreLog:
    from tui_backup.services.waiting import wait_for_restore

    short = str(log.id)[:8]
    context.output.note(f"Restore {log.id}")
    with (
        going_on(context, f"The restore {short} goes on.", f"Cancel it: tui-backup restore-log cancel {short}"),
        ProgressLine(context.output, "restore") as line,
    ):
        return await wait_for_restore(
            session, log.id, on_progress=lambda now: line.update(now.progress, now.status.value)
        )


def _show(context: Context, plan: RestorePlan, *, is_dry_run: bool) -> int:
    """Show a plan; without --dry-run it ends in the demand for the confirmation.

    Raises:
        ConfirmationRequiredError: the plan could be carried out, but was not confirmed.
    """
    if context.output.is_json:
        context.output.data(plan)
    else:
        _show_plan(context.output, plan)
    if plan.refused:
        codes = {check.code for check in plan.refused}
        context.output.failure(
            {
                "error": (codes.pop() if len(codes) == 1 else "") or RefusedError.code,
                "message": "The restore is refused: " + "; ".join(check.message for check in plan.refused),
                "hint": "Mend what the refused checks name, or choose another target.",
            }
        )
        return REFUSED
    if not is_dry_run:
        raise ConfirmationRequiredError("Nothing was done: a restore needs the explicit confirmation.")
    return 0


def _show_plan(output: Output, plan: RestorePlan) -> None:
    from tui_backup.services.utilities import clean_text, format_bytes

    job = plan.job
    free = format_bytes(plan.bytes_free) if plan.bytes_free is not None else "unknown"
    into = f"{clean_text(plan.database)} @ {clean_text(plan.server)}"
    facts = [
        ("From", f"{clean_text(job.source_name or '-')}, {local_time(job.completed_at)}, {str(job.id)[:8]}"),
        ("Into", into + (f", schema {clean_text(plan.schema)}" if plan.schema else "")),
        ("How", f"{plan.target.value.replace('_', ' ')}: {clean_text(plan.reason)}"),
        ("Sessions", f"{plan.sessions} connected now" if plan.sessions else "none connected"),
        ("Space", f"{format_bytes(plan.bytes_needed)} needed, {free} free"),
        ("Undo", clean_text(plan.undo) if plan.undo else "not possible afterwards"),
    ]
    output.facts(facts)
    output.line()
    if any(found.rows_same is not None for found in plan.tables):
        _show_changes(output, plan)
    else:
        _show_rows(output, plan)
    output.line()
    show_checks(output, plan.checks)


def _show_rows(output: Output, plan: RestorePlan) -> None:
    from tui_backup.services.utilities import clean_text

    columns = [Column("Table", flexible=True), Column("Rows now", right=True), Column("Rows in the backup", right=True)]
    output.table(
        columns,
        [
            [clean_text(found.name), _rows_now(found.rows_now, found.rows_now_is_estimate), f"{found.rows_in_backup:,}"]
            for found in plan.tables
        ],
        empty="The backup holds no table.",
    )


def _show_changes(output: Output, plan: RestorePlan) -> None:
    """What becomes of the tenant's rows, table by table."""
    from tui_backup.services.utilities import clean_text

    columns = [Column("Table", flexible=True)]
    columns += [Column(word, right=True) for word in ("Delete", "Insert", "Change", "Unchanged")]
    output.table(
        columns,
        [
            [
                clean_text(found.name),
                *(
                    f"{rows or 0:,}"
                    for rows in (found.rows_delete, found.rows_insert, found.rows_update, found.rows_same)
                ),
            ]
            for found in plan.tables
        ],
        empty="The backup holds no table.",
    )


def _rows_now(rows: int | None, is_estimate: bool) -> str:
    if rows is None:
        return "not there"
    return f"about {rows:,}" if is_estimate else f"{rows:,}"
