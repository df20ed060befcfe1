"""`schedule add|list|show|edit|enable|disable|delete`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tui_backup.cli.backups import TYPE_HELP, TYPES
from tui_backup.cli.output import plain
from tui_backup.cli.parser import (
    Commands,
    add_command,
    add_confirm,
    add_group,
    add_name,
    add_tables,
    count_or_none,
    require_confirm,
)
from tui_backup.cli.text import Cell, Column, local_time, time_column
from tui_backup.errors import UsageError
from tui_backup.model import BackupSchedule, BackupScheduleInsert, JobType

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tui_backup.cli.context import Context
    from tui_backup.cli.output import Output

PRESETS = ("daily", "every-6-hours", "every-12-hours", "weekly", "monthly")
"""Ids of services.schedules.PRESETS, said again here so that the parser need not load them (a test compares)."""

_CHANGES = {
    "source": "source",
    "job_type": "type",
    "timezone": "timezone",
    "description": "description",
    "repository": "repo",
    "retention_days": "retention_days",
    "max_backups_count": "max_backups",
    "notify_on_success": "notify_on_success",
    "notify_on_failure": "notify_on_failure",
    "notification_emails": "emails",
    "schedule_name": "rename",
    "tables": "tables",
    "tenant_scope": "tenant_rows",
}


def add_commands(commands: Commands) -> None:
    """Add `schedule …`."""
    group = add_group(commands, "schedule", "backups that start by themselves")
    add = add_command(group, "add", add_schedule, "make a schedule")
    add_name(add, "name of the new schedule")
    add.add_argument("--source", required=True, metavar="NAME", help="the source to back up")
    add.add_argument("--type", choices=TYPES, default="full", help=TYPE_HELP)
    _add_when(add, is_required=True)
    add.add_argument("--timezone", default="UTC", metavar="ZONE", help="zone of the cron expression (default: UTC)")
    add.add_argument("--retention-days", type=count_or_none, default=30, metavar="N", help="default: 30; or `none`")
    add.add_argument("--max-backups", type=count_or_none, default=10, metavar="N", help="default: 10; or `none`")
    _add_email(add, [])
    _add_notify(add, "notify-on-success", is_on=False)
    _add_notify(add, "notify-on-failure", is_on=True)
    add.add_argument("--description", metavar="TEXT", help="a few words about it")
    add.add_argument("--repo", metavar="NAME", help="repository (default: the default one)")
    add_tables(add, "only this table (schema.table, quoted as in SQL)")
    add.add_argument("--tenant-rows", action="store_true", help="only the rows of your tenant, by the source's map")
    add.add_argument("--disabled", action="store_true", help="make it, but do not switch it on yet")

    add_command(group, "list", list_schedules, "list the schedules")
    show = add_command(group, "show", show_schedule, "show all about one schedule and its next five runs")
    add_name(show, "name of the schedule")
    _add_edit(group)
    for name, sentence in (("enable", "switch a schedule on"), ("disable", "switch a schedule off")):
        toggle = add_command(group, name, toggle_schedule, sentence)
        add_name(toggle, "name of the schedule")
        toggle.set_defaults(is_enabled=name == "enable")
    delete = add_command(group, "delete", delete_schedule, "delete a schedule; its backups stay")
    add_name(delete, "name of the schedule")
    add_confirm(delete, "really delete it")


def _add_edit(group: Commands) -> None:
    edit = add_command(group, "edit", edit_schedule, "change a schedule; what is not named stays as it is")
    add_name(edit, "name of the schedule")
    edit.add_argument("--rename", metavar="NAME", help="a new name")
    edit.add_argument("--source", metavar="NAME", help="another source")
    edit.add_argument("--type", choices=TYPES, help="another type of backup")
    _add_when(edit, is_required=False)
    edit.add_argument("--timezone", metavar="ZONE", help="another zone, e.g. Asia/Riyadh")
    # None means `none` here, so what was not named must be absent
    absent: dict[str, Any] = {"type": count_or_none, "metavar": "N", "default": argparse.SUPPRESS}
    edit.add_argument("--retention-days", help="days, or `none`", **absent)
    edit.add_argument("--max-backups", help="number, or `none`", **absent)
    _add_email(edit, None)
    edit.add_argument("--no-email", action="store_const", const=[], dest="emails", help="send no mail")
    _add_notify(edit, "notify-on-success", is_on=None)
    _add_notify(edit, "notify-on-failure", is_on=None)
    edit.add_argument("--description", metavar="TEXT", help="a few words about it")
    edit.add_argument("--repo", metavar="NAME", help="another repository")
    edit.add_argument(
        "--tenant-rows",
        action=argparse.BooleanOptionalAction,
        help="only the rows of your tenant, or the whole database",
    )
    tables = edit.add_mutually_exclusive_group()
    tables.add_argument("--table", dest="tables", metavar="TABLE", action="append", help="only this; may be repeated")
    tables.add_argument("--all-tables", dest="tables", action="store_const", const=[], help="the whole database")


def _add_when(parser: ArgumentParser, *, is_required: bool) -> None:
    when = parser.add_mutually_exclusive_group(required=is_required)
    when.add_argument("--preset", choices=PRESETS, help="a ready-made cron expression")
    when.add_argument("--cron", metavar="EXPRESSION", help="five fields, e.g. '30 1 * * 1-5'")


def _add_email(parser: ArgumentParser, default: list[str] | None) -> None:
    parser.add_argument(
        "--email", dest="emails", metavar="ADDRESS", action="append", default=default, help="may be repeated"
    )


def _add_notify(parser: ArgumentParser, name: str, *, is_on: bool | None) -> None:

    parser.add_argument(
        f"--{name}",
        action=argparse.BooleanOptionalAction,
        default=is_on,
        help=f"send mail {name.removeprefix('notify-').replace('-', ' ')}",
    )


def _cron(arguments: Namespace) -> str | None:
    if arguments.preset is None:
        return arguments.cron
    from tui_backup.services.schedules import PRESETS as READY

    return next(preset.cron for preset in READY if preset.id == arguments.preset)


async def add_schedule(context: Context, arguments: Namespace) -> None:
    """Make a schedule."""
    from tui_backup.services import schedules

    insert = BackupScheduleInsert(
        schedule_name=arguments.name,
        source=arguments.source,
        cron_expression=_cron(arguments) or "",
        job_type=JobType(arguments.type),
        timezone=arguments.timezone,
        description=arguments.description,
        repository=arguments.repo,
        is_enabled=not arguments.disabled,
        retention_days=arguments.retention_days,
        max_backups_count=arguments.max_backups,
        notify_on_success=arguments.notify_on_success,
        notify_on_failure=arguments.notify_on_failure,
        notification_emails=tuple(arguments.emails),
        tables=tuple(arguments.tables),
        tenant_scope=arguments.tenant_rows,
    )
    async with context.session(agent=True) as session:
        made = await schedules.create_backup_schedule(session, insert)
    _say(context, made, "added")


async def edit_schedule(context: Context, arguments: Namespace) -> None:
    """Change a schedule."""
    from tui_backup.services import schedules

    given = vars(arguments)
    updates: dict[str, Any] = {}
    for field, option in _CHANGES.items():
        # the two limits are absent when not named, everything else is None
        if option in given and (given[option] is not None or option in ("retention_days", "max_backups")):
            updates[field] = given[option]
    if cron := _cron(arguments):
        updates["cron_expression"] = cron
    if "job_type" in updates:
        updates["job_type"] = JobType(updates["job_type"])
    if not updates:
        raise UsageError("Nothing to change was named.", hint="See `tui-backup schedule edit --help`.")
    async with context.session() as session:
        schedule = await schedules.get_backup_schedule(session, arguments.name)
        changed = await schedules.update_backup_schedule(session, schedule.id, updates)
    _say(context, changed, "changed")


async def toggle_schedule(context: Context, arguments: Namespace) -> None:
    """Switch a schedule on or off."""
    from tui_backup.services import schedules

    async with context.session(agent=arguments.is_enabled) as session:
        schedule = await schedules.get_backup_schedule(session, arguments.name)
        changed = await schedules.toggle_backup_schedule(session, schedule.id, arguments.is_enabled)
    _say(context, changed, "enabled" if changed.is_enabled else "disabled")


def _say(context: Context, schedule: BackupSchedule, done: str) -> None:
    from tui_backup.services.utilities import clean_text

    if context.output.is_json:
        context.output.data(schedule)
        return
    following = f" Next run: {local_time(schedule.next_run_at)}." if schedule.next_run_at else ""
    context.output.line(f"Schedule {clean_text(schedule.schedule_name)} {done}.{following}")


async def list_schedules(context: Context, arguments: Namespace) -> None:
    """List the schedules."""
    from tui_backup.services import schedules
    from tui_backup.services.utilities import clean_text

    async with context.session() as session:
        found = await schedules.get_backup_schedules(session)
    if context.output.is_json:
        context.output.data(found)
        return
    following, next_times = time_column("Next", [each.next_run_at if each.is_enabled else None for each in found])
    last, last_times = time_column("Last run", [each.last_run_at for each in found], hide=1)
    columns = [Column("On"), Column("Name", flexible=True), Column("Source", flexible=True), Column("Type", hide=2)]
    columns += [Column("When", flexible=True), following, last, Column("Last result")]
    context.output.table(
        columns,
        [
            [
                "yes" if schedule.is_enabled else "no",
                clean_text(schedule.schedule_name),
                clean_text(schedule.source_name or "-"),
                schedule.job_type.value,
                _when(schedule),
                next_time,
                last_time,
                _last_result(context.output, schedule),
            ]
            for schedule, next_time, last_time in zip(found, next_times, last_times, strict=True)
        ],
        empty="No schedules yet. Make one: tui-backup schedule add NAME --source SOURCE --preset daily",
    )


def _last_result(output: Output, schedule: BackupSchedule) -> str | Cell:
    return output.status(schedule.last_run_status) if schedule.last_run_status else "-"


def _when(schedule: BackupSchedule) -> str:
    from tui_backup.services.utilities import clean_text, describe_cron

    return f"{describe_cron(schedule.cron_expression)} ({clean_text(schedule.timezone)})"


async def show_schedule(context: Context, arguments: Namespace) -> None:
    """Show one schedule."""
    from tui_backup.services import schedules

    async with context.session() as session:
        schedule = await schedules.get_backup_schedule(session, arguments.name)
    runs = schedules.next_runs(schedule.cron_expression, schedule.timezone)
    output = context.output
    if output.is_json:
        output.data({**plain(schedule), "next_runs": plain(runs)})
        return
    output.facts(_facts(output, schedule))
    output.line("Next runs" if schedule.is_enabled else "Next runs, once it is switched on")
    output.lines([f"  {run:%a %Y-%m-%d %H:%M} {run.tzname()}" for run in runs])


def _facts(output: Output, schedule: BackupSchedule) -> list[tuple[str, str | Cell]]:
    from tui_backup.services.tenant_words import scope_words
    from tui_backup.services.utilities import clean_text

    def limit(value: int | None, unit: str) -> str:
        return "no limit" if value is None else f"{value} {unit}"

    told = [
        word
        for word, is_on in (("success", schedule.notify_on_success), ("failure", schedule.notify_on_failure))
        if is_on
    ]
    mail = ", ".join(schedule.notification_emails)
    return [
        ("Id", str(schedule.id)),
        ("Name", clean_text(schedule.schedule_name)),
        ("Description", clean_text(schedule.description or "-")),
        ("On", "yes" if schedule.is_enabled else "no"),
        ("Source", clean_text(schedule.source_name or "-")),
        ("Repository", clean_text(schedule.repository_name or "-")),
        ("Type", schedule.job_type.value),
        ("Scope", scope_words(schedule)),
        ("When", _when(schedule)),
        ("Cron", clean_text(schedule.cron_expression)),
        ("Keep", f"{limit(schedule.retention_days, 'days')}, {limit(schedule.max_backups_count, 'backups')}"),
        ("Mail", clean_text(f"{mail} on {' and '.join(told) or 'nothing'}") if mail else "-"),
        ("Last run", local_time(schedule.last_run_at)),
        ("Last result", _last_result(output, schedule)),
        ("Next run", local_time(schedule.next_run_at if schedule.is_enabled else None)),
    ]


async def delete_schedule(context: Context, arguments: Namespace) -> None:
    """Delete a schedule."""
    from tui_backup.services import schedules
    from tui_backup.services.utilities import clean_text

    async with context.session() as session:
        schedule = await schedules.get_backup_schedule(session, arguments.name)
        require_confirm(arguments, f"Deletes the schedule {schedule.schedule_name}; its backups stay.")
        await schedules.delete_backup_schedule(session, schedule.id)
    if context.output.is_json:
        context.output.data({"id": str(schedule.id), "deleted": True})
    else:
        context.output.line(f"Schedule {clean_text(schedule.schedule_name)} deleted; its backups stay.")
