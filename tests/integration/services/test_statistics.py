"""The answer to "are we safe?", on a real catalog."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.integration.catalog.world import World
from tui_backup.model import Safety
from tui_backup.services.session import Session
from tui_backup.services.statistics import SafetyOverview, get_backup_statistics, get_safety

HOUR = 3600


@pytest.fixture
def repository(world: World) -> UUID:
    return world.add_repository("acme")


def backup(world: World, source: UUID, repository: UUID, *, hours_ago: float, **columns: Any) -> UUID:
    """A completed backup that ended so many hours ago."""
    ended = datetime.now(UTC) - timedelta(hours=hours_ago)
    return world.add_job("acme", source, repository, completed_at=ended, **columns)


def by_source(overview: SafetyOverview) -> dict[str, Safety]:
    return {source.source_name: source.safety for source in overview.sources}


async def test_nobody_knows_without_an_agent(admin: Session, world: World, repository: UUID) -> None:
    backup(world, world.add_source("acme"), repository, hours_ago=1)
    overview = await get_safety(admin)
    assert overview.safety is Safety.UNKNOWN and overview.headline.startswith("AGENT DOWN")
    # an agent that was alive 11 s ago counts as down, one of 9 s ago does not
    world.add_agent(silent_s=11)
    assert (await get_safety(admin)).headline.startswith("AGENT DOWN: last heard of <1m ago")
    world.add_agent(stopped=True)
    assert (await get_safety(admin)).safety is Safety.UNKNOWN
    world.add_agent(silent_s=8)
    assert (await get_safety(admin)).safety is Safety.SAFE


async def test_no_source_is_not_safe_and_says_what_to_do(admin: Session, world: World) -> None:
    world.add_agent()
    overview = await get_safety(admin)
    assert overview.safety is Safety.UNKNOWN and "source add" in overview.headline


async def test_the_worst_source_is_the_headline(admin: Session, world: World, repository: UUID) -> None:
    world.add_agent()
    ages = {"safe": 1, "fresh": 19, "edge": 19.5, "late": 31}
    for name, hours_ago in ages.items():
        backup(world, world.add_source("acme", name), repository, hours_ago=hours_ago)
    overview = await get_safety(admin)
    # at risk begins above 80 % of the RPO of a day: at 19.2 hours
    assert by_source(overview) == {
        "late": Safety.NOT_SAFE,
        "edge": Safety.AT_RISK,
        "fresh": Safety.SAFE,
        "safe": Safety.SAFE,
    }
    assert [source.source_name for source in overview.sources] == ["late", "edge", "fresh", "safe"]
    assert overview.headline == "late: last good 31h ago, RPO 24h"
    never = world.add_source("acme", "never", rpo_seconds=6 * HOUR)
    overview = await get_safety(admin)
    assert overview.safety is Safety.NOT_SAFE
    assert overview.headline == "never: no good backup yet, RPO 6h"
    for source, hours_ago in ((never, 1), (_id(world, "late"), 1)):
        backup(world, source, repository, hours_ago=hours_ago)
    overview = await get_safety(admin)
    assert (overview.safety, overview.headline) == (Safety.AT_RISK, "edge: last good 19h ago, RPO 24h")
    backup(world, _id(world, "edge"), repository, hours_ago=0)
    assert (await get_safety(admin)).headline == "all 5 sources inside RPO"


def _id(world: World, name: str) -> UUID:
    return world.superuser("SELECT id FROM tui_backup.sources WHERE source_name = %s", (name,))[0]["id"]


async def test_what_does_not_count_as_a_good_backup(admin: Session, world: World, repository: UUID) -> None:
    world.add_agent()
    source = world.add_source("acme")
    for status in ("failed", "cancelled"):
        world.add_job("acme", source, repository, status)
    backup(world, source, repository, hours_ago=1, deleted_at="2026-01-01")
    backup(world, source, repository, hours_ago=1, chosen_tables=["public.orders"])
    damaged = backup(world, source, repository, hours_ago=1)
    columns = {"error_message": "bad", "problems": '[{"kind": "missing"}]'}
    world.add_verification("acme", damaged, "failed", completed_at="2026-01-05", **columns)
    world.add_job("globex", world.add_source("globex"), world.add_repository("globex"))
    overview = await get_safety(admin)
    assert by_source(overview) == {"shop": Safety.NOT_SAFE}
    assert overview.sources[0].last_good_at is None
    world.add_verification("acme", damaged, "completed", completed_at="2026-01-06")
    assert by_source(await get_safety(admin)) == {"shop": Safety.SAFE}


async def test_the_figures_beside_it(admin: Session, world: World, repository: UUID) -> None:
    agent = world.add_agent()
    source = world.add_source("acme")
    job = backup(world, source, repository, hours_ago=2)
    world.add_job("acme", source, repository, "running", agent_id=agent)
    # its agent is silent: it does not run, it has failed
    world.add_job("acme", source, repository, "running", agent_id=world.add_agent(silent_s=90))
    world.add_job("acme", source, repository, "failed")
    world.add_job("acme", source, repository, "failed", completed_at="2026-01-01")
    world.add_restore("acme", job, source, "running", agent_id=agent)
    world.add_stored("acme", source, repository, size=7)
    world.add_stored("globex", world.add_source("globex"), world.add_repository("globex"), size=100)
    for name, due, enabled in (("b", "2030-01-02", True), ("a", "2030-01-03", True), ("c", "2030-01-01", False)):
        world.add_schedule("acme", source, name, next_run_at=due, is_enabled=enabled)
    overview = await get_safety(admin)
    assert (overview.running, overview.failed, overview.stored_bytes) == (2, 2, 7)
    assert overview.next_schedule is not None and overview.next_schedule.schedule_name == "b"
    assert [found.is_alive for found in overview.agents] == [True, False]
    assert abs((overview.checked_at - datetime.now(UTC)).total_seconds()) < 5
    figures = await get_backup_statistics(admin)
    assert (figures.total_backups, figures.successful_backups, figures.failed_backups) == (5, 1, 3)
    assert (figures.total_size_bytes, figures.avg_duration_seconds) == (5, 3.0)
    assert figures.next_scheduled_backup == datetime(2030, 1, 2, tzinfo=UTC)
