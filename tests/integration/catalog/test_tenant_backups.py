"""What the catalog lets a backup of one tenant's rows use: own, or shared with the tenant, a source for that only."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest

from tests.integration.catalog.world import AGENT, World, login_of

JOB = """
INSERT INTO tui_backup.backup_jobs (job_type, source_id, repository_id, tenant_scope) VALUES ('full', %s, %s, %s)
RETURNING tenant_scope
"""
SCHEDULE = """
INSERT INTO tui_backup.backup_schedules (schedule_name, cron_expression, source_id, repository_id, tenant_scope)
VALUES ('nightly', '0 2 * * *', %s, %s, %s) RETURNING id
"""
OPERATOR, ADMIN = login_of("acme", "operator"), login_of("acme", "admin")


def share(world: World, *, source: UUID | None = None, repository: UUID | None = None) -> None:
    if source is not None:
        world.superuser(
            "INSERT INTO tui_backup.source_shares (source_id, tenant_id) VALUES (%s, %s)",
            (source, world.tenants["acme"]),
        )
    if repository is not None:
        world.superuser(
            "INSERT INTO tui_backup.repository_shares (repository_id, tenant_id) VALUES (%s, %s)",
            (repository, world.tenants["acme"]),
        )


@pytest.mark.parametrize("tenant_scope", [False, True])
def test_own_source_and_repository(world: World, tenant_scope: bool) -> None:
    source, repository = world.add_source("acme"), world.add_repository("acme")
    (made,) = world.run(OPERATOR, JOB, (source, repository, tenant_scope))
    assert made["tenant_scope"] is tenant_scope


@pytest.mark.parametrize("tenant_scope", [False, True])
def test_anothers_that_is_not_shared(world: World, tenant_scope: bool) -> None:
    own, others = world.add_source("acme"), world.add_source("globex", "theirs")
    local, theirs = world.add_repository("acme"), world.add_repository("globex")
    for source, repository in ((others, local), (own, theirs)):
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            world.run(OPERATOR, JOB, (source, repository, tenant_scope))


def test_a_shared_source_for_the_tenants_rows_only(world: World) -> None:
    source, repository = world.add_source("globex"), world.add_repository("acme")
    share(world, source=source)
    assert world.run(OPERATOR, JOB, (source, repository, True))
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="no such source"):
        world.run(OPERATOR, JOB, (source, repository, False))
    # the share is acme's
    other = world.add_source("acme", "mine")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        world.run(login_of("globex", "operator"), JOB, (other, world.add_repository("globex"), True))


def test_a_shared_repository_for_either(world: World) -> None:
    source, repository = world.add_source("acme"), world.add_repository("globex")
    share(world, repository=repository)
    assert world.run(OPERATOR, JOB, (source, repository, False))
    assert world.run(OPERATOR, JOB, (source, repository, True))


def test_a_schedule_of_a_shared_source_does_not_become_one_of_all(world: World) -> None:
    source, repository = world.add_source("globex"), world.add_repository("acme")
    share(world, source=source)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        world.run(ADMIN, SCHEDULE, (source, repository, False))
    (made,) = world.run(ADMIN, SCHEDULE, (source, repository, True))
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        world.run(ADMIN, "UPDATE tui_backup.backup_schedules SET tenant_scope = false WHERE id = %s", (made["id"],))


def test_who_may_say_what(world: World) -> None:
    source, repository = world.add_source("acme"), world.add_repository("acme")
    job = world.add_job("acme", source, repository, tenant_scope=True)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        # a job's scope is what its manifest says
        world.run(ADMIN, "UPDATE tui_backup.backup_jobs SET tenant_scope = false WHERE id = %s", (job,))
    change = """UPDATE tui_backup.sources SET tenant_map = '{"column": "org"}' WHERE id = %s RETURNING id"""
    assert world.run(OPERATOR, change, (source,)) == []
    assert world.run(login_of("globex", "admin"), change, (source,)) == []
    assert world.run(ADMIN, change, (source,))
    with pytest.raises(psycopg.errors.CheckViolation):
        world.run(ADMIN, "UPDATE tui_backup.sources SET tenant_map = '[]' WHERE id = %s", (source,))


def test_the_agent_asks_again_when_a_share_was_taken_back(world: World) -> None:
    source, repository = world.add_source("globex"), world.add_repository("globex")
    share(world, source=source, repository=repository)
    (made,) = world.run(OPERATOR, JOB.replace("RETURNING tenant_scope", "RETURNING id"), (source, repository, True))
    ask = "SELECT tui_backup.job_may_run(%s) AS allowed"
    assert world.run(AGENT, ask, (made["id"],)) == [{"allowed": True}]
    for table in ("source_shares", "repository_shares"):
        world.superuser(f"DELETE FROM tui_backup.{table}")
        assert world.run(AGENT, ask, (made["id"],)) == [{"allowed": False}]
        share(world, source=source if table == "source_shares" else None)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        world.run(ADMIN, ask, (made["id"],))
