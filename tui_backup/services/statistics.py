"""Figures for the header: statistics and the answer to "are we safe?"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import DictRow

from tui_backup.catalog import rows
from tui_backup.model import AgentInfo, BackupSchedule, BackupStatistics, Safety, SourceSafety
from tui_backup.services import lookup
from tui_backup.services.agents import get_agents
from tui_backup.services.session import Session
from tui_backup.services.utilities import format_age

AT_RISK_SHARE = 0.8
_WORST_FIRST = (Safety.NOT_SAFE, Safety.AT_RISK, Safety.SAFE)


@dataclass(frozen=True, slots=True)
class SafetyOverview:
    """Everything the "are we safe?" bar shows. Ages are by the catalog's clock.

    Args:
        safety: that of the worst source; UNKNOWN where nobody can know.
        headline: one line that says why.
        sources: worst first.
        agents: newest sign of life first.
        running: backups and restores that run.
        failed: backups and restores that failed within 24 hours.
        stored_bytes: in all repositories, what backups share counted once.
        next_schedule: the enabled one that fires next.
        checked_at: the catalog's time.
    """

    safety: Safety
    headline: str
    sources: Sequence[SourceSafety]
    agents: Sequence[AgentInfo]
    running: int
    failed: int
    stored_bytes: int
    next_schedule: BackupSchedule | None
    checked_at: datetime


async def get_backup_statistics(session: Session) -> BackupStatistics:
    """The catalog's own figures for our tenant."""
    return rows.statistics(await session.catalog.one("statistics"))


async def get_safety(session: Session) -> SafetyOverview:
    """Whether every source is inside its RPO, worst first.

    A backup counts from its end, when it is of the whole database and no check has found it damaged since.
    """
    # first: a row that a dead agent left running must not be counted
    await end_lost_runs(session)
    found = await session.catalog.rows("safety")
    activity = await session.catalog.one("activity")
    agents = await get_agents(session)
    following = await lookup.read(
        session,
        "schedules",
        ["c.is_enabled", "c.next_run_at IS NOT NULL"],
        {},
        order="ORDER BY c.next_run_at, c.schedule_name",
        limit=1,
    )
    sources = sorted((_source_safety(row) for row in found), key=_badness)
    safety, headline = _verdict(sources, agents)
    return SafetyOverview(
        safety=safety,
        headline=headline,
        sources=sources,
        agents=agents,
        running=activity["running"],
        failed=activity["failed"],
        stored_bytes=activity["stored_bytes"],
        next_schedule=rows.backup_schedule(following[0]) if following else None,
        checked_at=activity["checked_at"],
    )


async def end_lost_runs(session: Session) -> None:
    """Mark what runs under an agent that is silent for 45 s as failed; cheap when there is none."""
    row = await session.catalog.row("any_lost")
    if row and row["any_lost"]:
        await session.catalog.rows("mark_lost")


def _source_safety(row: DictRow) -> SourceSafety:
    age: int | None = row["age_seconds"]
    rpo: int = row["rpo_seconds"]
    if age is None or age > rpo:
        safety = Safety.NOT_SAFE
    else:
        safety = Safety.AT_RISK if age > rpo * AT_RISK_SHARE else Safety.SAFE
    return SourceSafety(row["source_name"], safety, rpo, row["last_good_at"], age)


def _badness(source: SourceSafety) -> tuple[int, float, str]:
    """Worst first: by state, then by how much of the RPO is used up."""
    used = float("inf") if source.age_seconds is None else source.age_seconds / source.rpo_seconds
    return _WORST_FIRST.index(source.safety), -used, source.source_name


def _verdict(sources: Sequence[SourceSafety], agents: Sequence[AgentInfo]) -> tuple[Safety, str]:
    if not any(agent.is_alive for agent in agents):
        heard = f"last heard of {format_age(agents[0].age_seconds)} ago" if agents else "none was ever heard of"
        return Safety.UNKNOWN, f"AGENT DOWN: {heard}; nothing is backed up until one runs"
    if not sources:
        return Safety.UNKNOWN, "no source yet: add one with `tui-backup source add`"
    worst = sources[0]
    if worst.safety is Safety.SAFE:
        return Safety.SAFE, f"all {len(sources)} sources inside RPO" if len(sources) > 1 else _words(worst)
    return worst.safety, _words(worst)


def _words(source: SourceSafety) -> str:
    rpo = format_age(source.rpo_seconds)
    if source.age_seconds is None:
        return f"{source.source_name}: no good backup yet, RPO {rpo}"
    return f"{source.source_name}: last good {format_age(source.age_seconds)} ago, RPO {rpo}"
