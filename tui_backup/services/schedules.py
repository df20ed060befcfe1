"""Schedules: when backups start by themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from tui_backup.catalog import rows
from tui_backup.errors import NotFoundError, PermissionRefusedError, ValidationError
from tui_backup.model import BUILT_TYPES, BackupSchedule, BackupScheduleInsert, JobType
from tui_backup.services import lookup
from tui_backup.services.cron import parse_cron, parse_zone
from tui_backup.services.repositories import get_repository
from tui_backup.services.session import Session
from tui_backup.services.sources import get_source

_MAX_NAME = 100
_MAX_COUNT = 100_000
_EMAIL = re.compile(
    r"[^\s@<>\"(),:;\\\[\]]{1,64}@(?=.{1,253}$)[^\W_](?:[\w-]{0,61}[^\W_])?(?:\.[^\W_](?:[\w-]{0,61}[^\W_])?)+"
)


@dataclass(frozen=True, slots=True)
class Preset:
    """A ready-made cron expression. ``id`` is for the command line, ``label`` for people."""

    id: str
    label: str
    cron: str


PRESETS: Sequence[Preset] = (
    Preset("daily", "Daily 02:00", "0 2 * * *"),
    Preset("every-6-hours", "Every 6 hours", "0 */6 * * *"),
    Preset("every-12-hours", "Every 12 hours", "0 */12 * * *"),
    Preset("weekly", "Weekly, Sunday 02:00", "0 2 * * 0"),
    Preset("monthly", "Monthly, first day 02:00", "0 2 1 * *"),
)


async def create_backup_schedule(session: Session, schedule: BackupScheduleInsert) -> BackupSchedule:
    """Store a schedule; the agent fires it.

    Raises:
        ValidationError: the first field that is wrong; all of them are in the details.
        NotFoundError: no such source or repository.
        AlreadyExistsError: the name is taken.
        PermissionRefusedError: only an admin may.
    """
    params = await _params(session, schedule)
    params["next_run_at"] = await _next_run(session, schedule)
    created = await session.catalog.one("insert_schedule", params)
    return await get_backup_schedule(session, created["id"])


async def get_backup_schedules(session: Session) -> list[BackupSchedule]:
    """All schedules of the tenant, by name."""
    found = await lookup.read(session, "schedules", [], {}, order="ORDER BY c.schedule_name")
    return [rows.backup_schedule(row) for row in found]


async def get_backup_schedule(session: Session, name_or_id: UUID | str) -> BackupSchedule:
    """One schedule by name, id or unique id prefix; a name comes first.

    Raises:
        NotFoundError: there is none.
        ValidationError: several ids start so.
    """
    if isinstance(name_or_id, str):
        found = await lookup.read(session, "schedules", ["c.schedule_name = %(name)s"], {"name": name_or_id})
        if found:
            return rows.backup_schedule(found[0])
    return rows.backup_schedule(await lookup.read_one(session, "schedules", name_or_id, what="schedule"))


async def update_backup_schedule(
    session: Session, schedule_id: UUID | str, updates: Mapping[str, Any]
) -> BackupSchedule:
    """Change fields of a schedule. When it fires next is computed anew only where that can have changed.

    Args:
        session: open.
        schedule_id: name, id or prefix.
        updates: fields of BackupScheduleInsert.

    Raises:
        ValidationError: an unknown field, or a value that cannot be used.
        NotFoundError: no such schedule, source or repository.
        AlreadyExistsError: the new name is taken.
        PermissionRefusedError: only an admin may.
    """
    known = {field.name for field in fields(BackupScheduleInsert)}
    if unknown := sorted(set(updates) - known):
        raise ValidationError(unknown[0], f"A schedule has no field {unknown[0]!r}.")
    present = await get_backup_schedule(session, schedule_id)
    before = _as_insert(present)
    after = BackupScheduleInsert(**{**asdict(before), **_typed(updates)})
    params = {**await _params(session, after), "id": present.id}
    timing = ("cron_expression", "timezone", "is_enabled")
    if present.next_run_at and all(getattr(before, name) == getattr(after, name) for name in timing):
        # a run that is due this very moment must not be lost by a change of the description
        params["next_run_at"] = present.next_run_at
    else:
        params["next_run_at"] = await _next_run(session, after)
    if await session.catalog.row("update_schedule", params) is None:
        raise PermissionRefusedError("Your role may not change schedules.")
    return await get_backup_schedule(session, present.id)


def _typed(updates: Mapping[str, Any]) -> dict[str, Any]:
    if "job_type" not in updates:
        return dict(updates)
    try:
        return {**updates, "job_type": JobType(updates["job_type"])}
    except ValueError as exc:
        raise ValidationError("job_type", f"There is no type {updates['job_type']!r}.") from exc


def _as_insert(schedule: BackupSchedule) -> BackupScheduleInsert:
    return BackupScheduleInsert(
        schedule_name=schedule.schedule_name,
        source=schedule.source_name or "",
        cron_expression=schedule.cron_expression,
        job_type=schedule.job_type,
        timezone=schedule.timezone,
        description=schedule.description,
        repository=schedule.repository_name,
        is_enabled=schedule.is_enabled,
        retention_days=schedule.retention_days,
        max_backups_count=schedule.max_backups_count,
        notify_on_success=schedule.notify_on_success,
        notify_on_failure=schedule.notify_on_failure,
        notification_emails=tuple(schedule.notification_emails),
        tables=tuple(schedule.chosen_tables),
        tenant_scope=schedule.tenant_scope,
    )


async def toggle_backup_schedule(session: Session, schedule_id: UUID | str, is_enabled: bool) -> BackupSchedule:
    """Switch a schedule on or off; switched on it fires at its next time, never for those that passed meanwhile."""
    return await update_backup_schedule(session, schedule_id, {"is_enabled": is_enabled})


async def delete_backup_schedule(session: Session, schedule_id: UUID | str) -> None:
    """Remove a schedule; its backups stay.

    Raises:
        NotFoundError: no such schedule.
        PermissionRefusedError: only an admin may.
    """
    schedule = await get_backup_schedule(session, schedule_id)
    done = await session.catalog.row("delete_schedule", {"id": schedule.id})
    if not done or not done["done"]:
        raise NotFoundError(f"The schedule {schedule.schedule_name!r} is gone already.")


async def _params(session: Session, schedule: BackupScheduleInsert) -> dict[str, Any]:
    problems = validate_schedule(schedule)
    if problems:
        field, message = next(iter(problems.items()))
        raise ValidationError(field, message, details={"fields": problems})
    source = await get_source(session, schedule.source)
    repository = await get_repository(session, schedule.repository) if schedule.repository else None
    return {
        "schedule_name": schedule.schedule_name.strip(),
        "description": schedule.description or None,
        "job_type": schedule.job_type.value,
        "cron_expression": parse_cron(schedule.cron_expression).text,
        "timezone": schedule.timezone,
        "is_enabled": schedule.is_enabled,
        "retention_days": schedule.retention_days,
        "max_backups_count": schedule.max_backups_count,
        "notify_on_success": schedule.notify_on_success,
        "notify_on_failure": schedule.notify_on_failure,
        "notification_emails": list(schedule.notification_emails),
        "source_id": source.id,
        "repository_id": repository.id if repository else None,
        "tables": list(schedule.tables),
        "tenant_scope": schedule.tenant_scope,
    }


async def _next_run(session: Session, schedule: BackupScheduleInsert) -> datetime | None:
    """By the catalog's clock, which is the one that the agents fire by."""
    if not schedule.is_enabled:
        return None
    clock = await session.catalog.one("catalog_clock")
    return next_runs(schedule.cron_expression, schedule.timezone, count=1, after=clock["now"])[0]


def next_runs(cron_expression: str, timezone: str, *, count: int = 5, after: datetime | None = None) -> list[datetime]:
    """When a schedule will fire, as aware times of its own zone.

    Args:
        cron_expression: five fields.
        timezone: IANA name.
        count: how many.
        after: aware; now by this machine's clock when None.

    Raises:
        ValidationError: the expression or the zone cannot be used.
    """
    cron, zone = parse_cron(cron_expression), parse_zone(timezone)
    return list(islice(cron.runs(zone, after or datetime.now(UTC)), count))


def validate_schedule(insert: BackupScheduleInsert) -> dict[str, str]:
    """What is wrong with a schedule, by field, in the form's order; empty when nothing is.

    Whether source and repository exist is found out when it is stored.
    """
    problems: dict[str, str] = {}
    if not insert.source:
        problems["source"] = "Choose a source."
    if insert.job_type not in BUILT_TYPES:
        problems["job_type"] = f"Backups of the type {insert.job_type} are not possible yet."
    if insert.tenant_scope and insert.tables:
        problems["tables"] = "A backup of one tenant's rows takes no chosen tables."
    name = insert.schedule_name.strip()
    if not name:
        problems["schedule_name"] = "Give it a name."
    elif len(name) > _MAX_NAME or not name.isprintable():
        problems["schedule_name"] = f"A name has at most {_MAX_NAME} characters, all of them printable."
    for check, value in ((parse_cron, insert.cron_expression), (parse_zone, insert.timezone)):
        try:
            check(value)
        except ValidationError as exc:
            suggestion = exc.hint if exc.field == "timezone" else ""
            problems[exc.field] = f"{exc.message} {suggestion}".strip()
    for field, limit in (("retention_days", insert.retention_days), ("max_backups_count", insert.max_backups_count)):
        if limit is not None and not 1 <= limit <= _MAX_COUNT:
            problems[field] = f"It must be 1 to {_MAX_COUNT}, or empty for no limit."
    wrong = [address for address in insert.notification_emails if not _EMAIL.fullmatch(address)]
    if wrong:
        problems["notification_emails"] = f"{wrong[0]!r} is not an e-mail address."
    return problems
