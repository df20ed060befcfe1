"""Who may do what: two tenants, three roles, the agent, the gateway and strangers, on every version."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.integration.catalog.world import (
    AGENT,
    BOTH,
    GATEWAY,
    OWNER,
    ROLES,
    STRANGER,
    TENANTS,
    World,
    login_of,
)

InsufficientPrivilege = psycopg.errors.InsufficientPrivilege
NOT_IN_TENANT = psycopg.errors.ForeignKeyViolation
TABLES = (
    "sources",
    "repositories",
    "backup_jobs",
    "backup_schedules",
    "backup_restore_logs",
    "backup_verifications",
    "progress",
    "stored_objects",
    "stored_sizes",
)
INSERT_JOB = (
    "INSERT INTO tui_backup.backup_jobs (job_type, source_id, repository_id) VALUES ('full', %(source)s, %(repo)s)"
    " RETURNING id"
)
INSERT_RESTORE = (
    "INSERT INTO tui_backup.backup_restore_logs (backup_job_id, restore_type, target, target_source_id)"
    " VALUES (%(job)s, 'full', %(target)s, %(source)s) RETURNING id"
)


class Stocked:
    """One of everything for each tenant."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids: dict[str, dict[str, UUID]] = {}
        for tenant in TENANTS:
            source = world.add_source(tenant)
            repo = world.add_repository(tenant)
            job = world.add_job(tenant, source, repo)
            ids = {"source": source, "repo": repo, "job": job}
            ids["schedule"] = world.add_schedule(tenant, source)
            ids["restore"] = world.add_restore(tenant, job, source)
            ids["verification"] = world.add_verification(tenant, job, "completed", completed_at="2026-01-01")
            world.superuser(
                "INSERT INTO tui_backup.progress (subject_id, tenant_id, phase) VALUES (%s, %s, 'x')",
                (job, world.tenants[tenant]),
            )
            world.add_stored(tenant, source, repo)
            self.ids[tenant] = ids

    def __getitem__(self, tenant: str) -> dict[str, UUID]:
        return self.ids[tenant]


@pytest.fixture
def stocked(world_any: World) -> Stocked:
    return Stocked(world_any)


def refused(world: World, login: str, statement: str, params: Any = None, **more: Any) -> str:
    """The statement must fail for lack of rights; returns what the server said."""
    with pytest.raises((InsufficientPrivilege, NOT_IN_TENANT)) as caught:
        world.run(login, statement, params, **more)
    return str(caught.value)


@pytest.mark.parametrize("role", ROLES)
def test_a_member_sees_its_own_tenant_and_nothing_else(stocked: Stocked, role: str) -> None:
    world = stocked.world
    for tenant in TENANTS:
        with world.connect(login_of(tenant, role)) as connection:
            for table in TABLES:
                rows = connection.execute(f"SELECT tenant_id FROM tui_backup.{table}").fetchall()  # type: ignore[arg-type]
                assert {row["tenant_id"] for row in rows} == {world.tenants[tenant]}, table
            (row,) = connection.execute("SELECT tenant_name FROM tui_backup.tenants").fetchall()
            assert row["tenant_name"] == tenant
            (row,) = connection.execute("SELECT login FROM tui_backup.memberships").fetchall()
            assert row["login"] == login_of(tenant, role)


def test_a_forged_choice_of_tenant_shows_nothing(stocked: Stocked) -> None:
    world = stocked.world
    for forged in (world.tenants["globex"], uuid4(), "not a uuid"):
        with world.connect(login_of("acme", "admin"), tenant=forged) as connection:
            for table in TABLES:
                assert connection.execute(f"SELECT 1 FROM tui_backup.{table}").fetchall() == []  # type: ignore[arg-type]
            with pytest.raises((InsufficientPrivilege, NOT_IN_TENANT)):
                connection.execute(INSERT_JOB, stocked["globex"])


def test_claims_of_a_direct_login_are_ignored(stocked: Stocked) -> None:
    world = stocked.world
    claims = {
        "sub": str(world.users[login_of("globex", "admin")]),
        "tenant_id": str(world.tenants["globex"]),
        "role": "admin",
    }
    with world.connect(login_of("acme", "employee")) as connection:
        connection.execute("SELECT set_config('request.jwt.claims', %s, false)", (json.dumps(claims),))
        rows = connection.execute("SELECT tenant_id FROM tui_backup.backup_jobs").fetchall()
        assert {row["tenant_id"] for row in rows} == {world.tenants["acme"]}
        (row,) = connection.execute("SELECT tui_backup.current_member_role() AS role").fetchall()
        assert row["role"] == "employee"
        with pytest.raises(InsufficientPrivilege):
            connection.execute(INSERT_JOB, stocked["acme"])


def test_set_role_changes_nothing_about_who_one_is(stocked: Stocked) -> None:
    world = stocked.world
    with world.connect(login_of("acme", "employee")) as connection:
        connection.execute("SET ROLE tui_backup_user")
        rows = connection.execute("SELECT tenant_id FROM tui_backup.backup_jobs").fetchall()
        assert {row["tenant_id"] for row in rows} == {world.tenants["acme"]}
        with pytest.raises(InsufficientPrivilege):
            connection.execute(INSERT_JOB, stocked["acme"])
        for role in ("tui_backup_agent", "tui_backup_gateway", OWNER, "postgres", login_of("acme", "admin")):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f'SET ROLE "{role}"')  # type: ignore[arg-type]
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f'SET SESSION AUTHORIZATION "{role}"')  # type: ignore[arg-type]


def test_a_member_of_no_tenant_sees_and_does_nothing(stocked: Stocked) -> None:
    world = stocked.world
    for tenant in (None, world.tenants["acme"]):
        for table in TABLES:
            assert world.run(STRANGER, f"SELECT 1 FROM tui_backup.{table}", tenant=tenant) == []
        assert world.run(STRANGER, "SELECT * FROM tui_backup.my_memberships()", tenant=tenant) == []
        refused(world, STRANGER, INSERT_JOB, stocked["acme"], tenant=tenant)
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            world.run(STRANGER, "SELECT tui_backup.request_cancel(%(job)s)", stocked["acme"], tenant=tenant)


def test_a_member_of_two_tenants_must_choose(stocked: Stocked) -> None:
    world = stocked.world
    assert world.run(BOTH, "SELECT 1 FROM tui_backup.backup_jobs") == []
    rows = world.run(BOTH, "SELECT tenant_name, role FROM tui_backup.my_memberships()")
    assert [(row["tenant_name"], row["role"]) for row in rows] == [("acme", "admin"), ("globex", "employee")]
    (row,) = world.run(BOTH, "SELECT tenant_id FROM tui_backup.backup_jobs", tenant=world.tenants["acme"])
    assert row["tenant_id"] == world.tenants["acme"]
    assert world.run(BOTH, INSERT_JOB, stocked["acme"], tenant=world.tenants["acme"])
    # the role of one tenant does not count in the other
    refused(world, BOTH, INSERT_JOB, stocked["globex"], tenant=world.tenants["globex"])


# -- what each role may do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "allowed"), [("admin", True), ("operator", True), ("employee", False)])
def test_who_may_back_up_and_verify(stocked: Stocked, role: str, allowed: bool) -> None:
    world, login = stocked.world, login_of("acme", role)
    verify = "INSERT INTO tui_backup.backup_verifications (backup_job_id) VALUES (%(job)s) RETURNING id"
    rename = "UPDATE tui_backup.backup_jobs SET backup_name = 'n' WHERE id = %(job)s RETURNING id"
    if allowed:
        for statement in (INSERT_JOB, verify, rename):
            assert len(world.run(login, statement, stocked["acme"])) == 1
    else:
        assert "row-level security" in refused(world, login, INSERT_JOB, stocked["acme"])
        refused(world, login, verify, stocked["acme"])
        assert world.run(login, rename, stocked["acme"]) == []


@pytest.mark.parametrize(
    ("role", "targets"),
    [
        ("admin", {"new_database", "side_schema", "swap", "in_place"}),
        ("operator", {"new_database", "side_schema"}),
        ("employee", set[str]()),
    ],
)
def test_who_may_restore_where(stocked: Stocked, role: str, targets: set[str]) -> None:
    world, login = stocked.world, login_of("acme", role)
    for target in ("new_database", "side_schema", "swap", "in_place"):
        params = {**stocked["acme"], "target": target}
        if target in targets:
            assert len(world.run(login, INSERT_RESTORE, params)) == 1
        else:
            refused(world, login, INSERT_RESTORE, params)


@pytest.mark.parametrize("role", ROLES)
def test_only_admins_manage_schedules_sources_and_repositories(stocked: Stocked, role: str) -> None:
    world, login = stocked.world, login_of("acme", role)
    inserts = (
        "INSERT INTO tui_backup.backup_schedules (schedule_name, cron_expression, source_id)"
        " VALUES ('n', '* * * * *', %(source)s) RETURNING id",
        "INSERT INTO tui_backup.sources (source_name, conninfo) VALUES ('n', '') RETURNING id",
        "INSERT INTO tui_backup.repositories (repository_name, location) VALUES ('n', '/n') RETURNING id",
    )
    updates = (
        "UPDATE tui_backup.backup_schedules SET is_enabled = false WHERE id = %(schedule)s RETURNING id",
        "UPDATE tui_backup.sources SET rpo_seconds = 60 WHERE id = %(source)s RETURNING id",
        "UPDATE tui_backup.repositories SET location = '/m' WHERE id = %(repo)s RETURNING id",
    )
    for statement in inserts:
        if role == "admin":
            assert len(world.run(login, statement, stocked["acme"])) == 1
        else:
            refused(world, login, statement, stocked["acme"])
    for statement in updates:
        assert len(world.run(login, statement, stocked["acme"])) == (1 if role == "admin" else 0)
        # another tenant's rows are not there, whatever the role
        assert world.run(login, statement, stocked["globex"]) == []
    if role == "admin":
        assert world.run(login, "SELECT tui_backup.delete_schedule(%(schedule)s) AS d", stocked["acme"]) == [
            {"d": True}
        ]
    else:
        refused(world, login, "SELECT tui_backup.delete_schedule(%(schedule)s)", stocked["acme"])


@pytest.mark.parametrize("role", ROLES)
def test_storage_is_the_admins(stocked: Stocked, role: str) -> None:
    world = stocked.world
    for action in ("upload", "view", "delete", "other"):
        (row,) = world.run(
            login_of("acme", role),
            "SELECT tui_backup.may_use_storage(%s, %s) AS own, tui_backup.may_use_storage(%s, %s) AS foreign",
            (world.tenants["acme"], action, world.tenants["globex"], action),
        )
        assert row == {"own": role == "admin" and action != "other", "foreign": False}


def test_no_member_writes_what_the_agent_writes(stocked: Stocked) -> None:
    world, login = stocked.world, login_of("acme", "admin")
    for column, value in (
        ("status", "'completed'"),
        ("tenant_id", f"'{world.tenants['globex']}'"),
        ("created_by", "NULL"),
        ("storage_path", "'x'"),
        ("attempt_token", "NULL"),
        ("retry_count", "9"),
        ("deleted_at", "now()"),
    ):
        refused(world, login, f"UPDATE tui_backup.backup_jobs SET {column} = {value}")
    refused(world, login, "DELETE FROM tui_backup.backup_jobs")
    refused(world, login, "UPDATE tui_backup.backup_restore_logs SET undo_state = 'kept'")
    refused(world, login, "UPDATE tui_backup.backup_verifications SET status = 'completed'")
    refused(
        world,
        login,
        "INSERT INTO tui_backup.backup_verifications (backup_job_id, kind) VALUES (%(job)s, 'restored')",
        stocked["acme"],
    )
    refused(
        world,
        login,
        "INSERT INTO tui_backup.progress (subject_id, tenant_id, phase) VALUES (%(job)s, %(job)s, 'x')",
        stocked["acme"],
    )
    refused(
        world,
        login,
        "INSERT INTO tui_backup.memberships (login, tenant_id, role) VALUES ('x', %(job)s, 'admin')",
        stocked["acme"],
    )
    refused(world, login, "UPDATE tui_backup.memberships SET role = 'admin'")
    refused(
        world,
        login,
        "INSERT INTO tui_backup.agents (id, host, pid, version) VALUES (%(job)s, 'h', 1, '1')",
        stocked["acme"],
    )
    refused(world, login, "UPDATE tui_backup.stored_objects SET bytes = 0")
    refused(world, login, "DELETE FROM tui_backup.stored_sizes")
    refused(world, login, "UPDATE tui_backup.storage_rules SET role = 'employee'")
    refused(world, login, "SELECT * FROM tui_backup_queue.procrastinate_jobs")
    refused(world, login, "SELECT tui_backup.enqueue('delete', %(job)s, NULL)", stocked["acme"])
    refused(world, login, "CREATE TABLE tui_backup.mine ()")


@pytest.mark.parametrize("key", ["source", "repo"])
def test_a_job_cannot_point_into_another_tenant(stocked: Stocked, key: str) -> None:
    params = {**stocked["acme"], key: stocked["globex"][key]}
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="in this tenant"):
        stocked.world.run(login_of("acme", "admin"), INSERT_JOB, params)


def test_nothing_can_be_made_of_another_tenants_backup(stocked: Stocked) -> None:
    world, login = stocked.world, login_of("acme", "admin")
    foreign = {**stocked["acme"], "job": stocked["globex"]["job"], "target": "new_database"}
    for statement in (
        INSERT_RESTORE,
        "INSERT INTO tui_backup.backup_verifications (backup_job_id) VALUES (%(job)s)",
    ):
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="in this tenant"):
            world.run(login, statement, foreign)
    for call in ("request_cancel(%(job)s)", "request_delete(%(job)s)", "delete_schedule(%(schedule)s)"):
        assert world.run(login, f"SELECT tui_backup.{call} AS done", stocked["globex"]) == [{"done": False}]
    for state in ("undo_requested", "finish_requested"):
        world.superuser("UPDATE tui_backup.backup_restore_logs SET undo_state = 'kept'")
        params = {**stocked["globex"], "state": state}
        assert world.run(login, "SELECT tui_backup.request_undo(%(restore)s, %(state)s) AS done", params) == [
            {"done": False}
        ]


def test_audit_columns_come_from_the_identity(stocked: Stocked) -> None:
    world = stocked.world
    admin, operator = login_of("acme", "admin"), login_of("acme", "operator")
    (row,) = world.run(operator, INSERT_JOB, stocked["acme"])
    world.run(admin, "UPDATE tui_backup.backup_jobs SET backup_name = 'n' WHERE id = %(id)s", row)
    (job,) = world.superuser("SELECT created_by, updated_by FROM tui_backup.backup_jobs WHERE id = %(id)s", row)
    assert job == {"created_by": world.users[operator], "updated_by": world.users[admin]}
    (row,) = world.run(admin, INSERT_RESTORE, {**stocked["acme"], "target": "swap"})
    (log,) = world.superuser(
        "SELECT created_by, initiated_by FROM tui_backup.backup_restore_logs WHERE id = %(id)s", row
    )
    assert log == {"created_by": world.users[admin], "initiated_by": world.users[admin]}


# -- the agent ---------------------------------------------------------------------------------------------------------


def test_the_agent_crosses_tenants_and_keeps_who_asked(stocked: Stocked) -> None:
    world = stocked.world
    rows = world.run(AGENT, "SELECT tenant_id FROM tui_backup.backup_jobs")
    assert {row["tenant_id"] for row in rows} == set(world.tenants.values())
    (row,) = world.run(login_of("acme", "operator"), INSERT_JOB, stocked["acme"])
    world.run(
        AGENT,
        "UPDATE tui_backup.backup_jobs SET status = 'completed', completed_at = now(), storage_path = 'p',"
        " backup_size = 1 WHERE id = %(id)s",
        row,
    )
    (job,) = world.superuser("SELECT created_by, updated_by FROM tui_backup.backup_jobs WHERE id = %(id)s", row)
    assert job == {"created_by": world.users[login_of("acme", "operator")], "updated_by": None}
    # it works on jobs, it does not appoint anybody
    refused(
        world,
        AGENT,
        "INSERT INTO tui_backup.memberships (login, tenant_id, role) VALUES ('x', %(job)s, 'admin')",
        stocked["acme"],
    )
    refused(world, AGENT, "INSERT INTO tui_backup.sources (source_name, conninfo) VALUES ('n', '')")


def test_the_agent_makes_a_scheduled_job_for_a_tenant(stocked: Stocked) -> None:
    world, ids = stocked.world, stocked["globex"]
    statement = (
        "INSERT INTO tui_backup.backup_jobs (job_type, tenant_id, source_id, repository_id, schedule_id, scheduled_for)"
        " VALUES ('full', %(tenant)s, %(source)s, %(repo)s, %(schedule)s, '2026-01-01') RETURNING id"
    )
    params = {**ids, "tenant": world.tenants["globex"]}
    assert len(world.run(AGENT, statement, params)) == 1
    with pytest.raises(psycopg.errors.UniqueViolation):
        world.run(AGENT, statement, params)


# -- the gateway -------------------------------------------------------------------------------------------------------


def claimed(
    connection: psycopg.Connection[dict[str, Any]], claims: dict[str, Any], statement: str, params: Any = None
) -> Any:
    """One statement in a transaction that carries claims."""
    with connection.transaction():
        connection.execute("SELECT set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
        return connection.execute(statement, params).fetchall()  # type: ignore[arg-type]


def test_a_gateway_acts_for_the_user_of_its_claims(stocked: Stocked) -> None:
    world = stocked.world
    select = "SELECT DISTINCT tenant_id FROM tui_backup.backup_jobs"
    with world.connect(GATEWAY) as connection:
        assert connection.execute(select).fetchall() == []
        for tenant in TENANTS:
            claims = {"sub": str(world.users[login_of(tenant, "admin")])}
            assert claimed(connection, claims, select) == [{"tenant_id": world.tenants[tenant]}]
            assert claimed(connection, claims, INSERT_JOB, stocked[tenant])
            # nothing is left for the next user of the connection
            assert connection.execute(select).fetchall() == []


def test_a_gateway_takes_tenant_and_role_from_the_catalog(stocked: Stocked) -> None:
    world = stocked.world
    employee = str(world.users[login_of("acme", "employee")])
    select = "SELECT tenant_id FROM tui_backup.backup_jobs"
    with world.connect(GATEWAY) as connection:
        forged = {"sub": employee, "role": "admin", "tenant_id": str(world.tenants["globex"])}
        assert claimed(connection, forged, select) == []
        with pytest.raises(InsufficientPrivilege):
            claimed(connection, {"sub": employee, "role": "admin"}, INSERT_JOB, stocked["acme"])
        assert claimed(connection, {"sub": str(uuid4())}, select) == []
        assert claimed(connection, {}, select) == []
        both = {"sub": str(world.users[BOTH])}
        assert claimed(connection, both, select) == []
        chosen = {**both, "tenant_id": str(world.tenants["globex"])}
        assert claimed(connection, chosen, select) == [{"tenant_id": world.tenants["globex"]}]


# -- functions ---------------------------------------------------------------------------------------------------------


def test_statistics_refuse_another_tenant(stocked: Stocked) -> None:
    world = stocked.world
    world.add_job("acme", stocked["acme"]["source"], stocked["acme"]["repo"], "failed")
    for role in ROLES:
        login = login_of("acme", role)
        (row,) = world.run(login, "SELECT * FROM tui_backup.get_backup_statistics(%s)", (world.tenants["acme"],))
        assert (row["total_backups"], row["successful_backups"], row["failed_backups"]) == (2, 1, 1)
        assert (row["total_size_bytes"], row["avg_duration_seconds"]) == (5, 3.0)
        assert row["last_backup_at"] is not None
        for other in (world.tenants["globex"], uuid4(), None):
            assert "not a tenant" in refused(
                world, login, "SELECT * FROM tui_backup.get_backup_statistics(%s)", (other,)
            )
    refused(world, STRANGER, "SELECT * FROM tui_backup.get_backup_statistics(%s)", (world.tenants["acme"],))


def test_a_notification_is_an_id_and_nothing_else(stocked: Stocked) -> None:
    world = stocked.world
    with world.connect(STRANGER) as listener:
        listener.execute("LISTEN tui_backup_changed")
        (row,) = world.run(login_of("acme", "admin"), INSERT_JOB, stocked["acme"])
        world.run(AGENT, "UPDATE tui_backup.progress SET phase = 'secret' WHERE subject_id = %(job)s", stocked["acme"])
        payloads = [message.payload for message in listener.notifies(timeout=2, stop_after=2)]
    assert payloads == [str(row["id"]), str(stocked["acme"]["job"])]


def queued(world: World, subject: UUID) -> list[dict[str, Any]]:
    """The subject's entries in the queue."""
    return world.superuser(
        "SELECT id, task_name, lock, status::text FROM tui_backup_queue.procrastinate_jobs"
        " WHERE args ->> 'subject_id' = %s ORDER BY id",
        (str(subject),),
    )


def test_a_row_and_its_place_in_the_queue_are_one_transaction(stocked: Stocked) -> None:
    world, ids = stocked.world, stocked["acme"]
    with world.connect(login_of("acme", "admin")) as connection:
        with connection.transaction(force_rollback=True):
            (row,) = connection.execute(INSERT_JOB, ids).fetchall()
        assert queued(world, row["id"]) == []
        (job,) = connection.execute(INSERT_JOB, ids).fetchall()
        (restore,) = connection.execute(INSERT_RESTORE, {**ids, "target": "swap"}).fetchall()
        (check,) = connection.execute(
            "INSERT INTO tui_backup.backup_verifications (backup_job_id) VALUES (%(job)s) RETURNING id", ids
        ).fetchall()
    found = [
        (one["task_name"], one["lock"], one["status"])
        for row in (job, restore, check)
        for one in queued(world, row["id"])
    ]
    assert found == [
        ("tui_backup.backup", f"source:{ids['source']}", "todo"),
        ("tui_backup.restore", f"source:{ids['source']}", "todo"),
        ("tui_backup.verify", f"verify:{check['id']}", "todo"),
    ]


def test_cancelling(stocked: Stocked) -> None:
    world, ids = stocked.world, stocked["acme"]
    (job,) = world.run(login_of("acme", "operator"), INSERT_JOB, ids)
    refused(world, login_of("acme", "employee"), "SELECT tui_backup.request_cancel(%(id)s)", job)
    cancel = "SELECT tui_backup.request_cancel(%(id)s) AS done"
    assert world.run(login_of("globex", "admin"), cancel, job) == [{"done": False}]
    assert world.run(login_of("acme", "operator"), cancel, job) == [{"done": True}]
    (row,) = world.superuser("SELECT status, completed_at FROM tui_backup.backup_jobs WHERE id = %(id)s", job)
    assert row["status"] == "cancelled" and row["completed_at"] is not None
    assert [one["status"] for one in queued(world, job["id"])] == ["cancelled"]
    assert world.run(login_of("acme", "operator"), cancel, job) == [{"done": False}]
    # a running one is only asked; its agent hears of it through the queue
    (job,) = world.run(login_of("acme", "operator"), INSERT_JOB, ids)
    agent = world.add_agent()
    world.run(
        AGENT,
        "UPDATE tui_backup.backup_jobs SET status = 'running', agent_id = %(agent)s WHERE id = %(id)s",
        {**job, "agent": agent},
    )
    world.superuser(
        "BEGIN; SET LOCAL search_path = tui_backup_queue; UPDATE procrastinate_jobs SET status = 'doing'"
        f" WHERE args ->> 'subject_id' = '{job['id']}'; COMMIT"
    )
    assert world.run(login_of("acme", "admin"), cancel, job) == [{"done": True}]
    (row,) = world.superuser("SELECT status, cancel_requested FROM tui_backup.backup_jobs WHERE id = %(id)s", job)
    assert row == {"status": "running", "cancel_requested": True}
    (row,) = world.superuser("SELECT abort_requested FROM tui_backup_queue.procrastinate_jobs WHERE status = 'doing'")
    assert row["abort_requested"]


def test_deleting_is_asked_for_by_admins_only(stocked: Stocked) -> None:
    world, ids = stocked.world, stocked["acme"]
    ask = "SELECT tui_backup.request_delete(%(job)s) AS done"
    for role in ("operator", "employee"):
        refused(world, login_of("acme", role), ask, ids)
    assert world.run(login_of("acme", "admin"), ask, ids) == [{"done": True}]
    (entry,) = queued(world, ids["job"])
    assert (entry["task_name"], entry["lock"]) == ("tui_backup.delete", f"source:{ids['source']}")
    (job,) = world.run(login_of("acme", "admin"), INSERT_JOB, ids)
    assert world.run(login_of("acme", "admin"), ask, {"job": job["id"]}) == [{"done": False}]


def test_undo_is_asked_for_once_and_by_admins_only(stocked: Stocked) -> None:
    world, ids = stocked.world, stocked["acme"]
    ask = "SELECT tui_backup.request_undo(%(restore)s, 'undo_requested') AS done"
    admin = login_of("acme", "admin")
    assert world.run(admin, ask, ids) == [{"done": False}]
    world.superuser("UPDATE tui_backup.backup_restore_logs SET undo_state = 'kept'")
    refused(world, login_of("acme", "operator"), ask, ids)
    assert world.run(admin, ask, ids) == [{"done": True}]
    assert world.run(admin, ask, ids) == [{"done": False}]
    (entry,) = queued(world, ids["restore"])
    assert entry["task_name"] == "tui_backup.undo"
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        world.run(admin, "SELECT tui_backup.request_undo(%(restore)s, 'finished')", ids)


def test_a_schedule_can_go_while_its_backups_stay(stocked: Stocked) -> None:
    world, ids = stocked.world, stocked["acme"]
    world.superuser("UPDATE tui_backup.backup_jobs SET schedule_id = %(schedule)s WHERE id = %(job)s", ids)
    assert world.run(login_of("acme", "admin"), "SELECT tui_backup.delete_schedule(%(schedule)s) AS d", ids) == [
        {"d": True}
    ]
    (row,) = world.superuser("SELECT schedule_id FROM tui_backup.backup_jobs WHERE id = %(job)s", ids)
    assert row["schedule_id"] is None


@pytest.mark.parametrize(
    ("silent_s", "stopped", "lost"), [(0, False, False), (40, False, False), (60, False, True), (0, True, True)]
)
def test_rows_of_a_dead_agent_are_marked_lost(stocked: Stocked, silent_s: float, stopped: bool, lost: bool) -> None:
    world, ids = stocked.world, stocked["acme"]
    agent = world.add_agent(silent_s=silent_s, stopped=stopped)
    running = [
        world.add_job("acme", ids["source"], ids["repo"], "running", agent_id=agent, attempt_token=uuid4()),
        world.add_restore("acme", ids["job"], ids["source"], "running", agent_id=agent),
        world.add_verification("acme", ids["job"], "running", agent_id=agent),
    ]
    # somebody who only looks may say so: the catalog's clock decides
    (row,) = world.run(login_of("acme", "employee"), "SELECT tui_backup.mark_lost() AS n")
    assert row["n"] == (3 if lost else 0)
    tables = ("backup_jobs", "backup_restore_logs", "backup_verifications")
    for table, subject in zip(tables, running, strict=True):
        (row,) = world.superuser(
            f"SELECT status, error_details ->> 'error' AS error FROM tui_backup.{table} WHERE id = %s", (subject,)
        )
        assert row == ({"status": "failed", "error": "agent_lost"} if lost else {"status": "running", "error": None})
    (row,) = world.superuser(
        "SELECT updated_by, attempt_token FROM tui_backup.backup_jobs WHERE id = %s", (running[0],)
    )
    # it was ended by nobody, and its late agent may write nothing more
    assert row["updated_by"] is None and (row["attempt_token"] is None) == lost


def test_only_an_agent_may_be_impatient(stocked: Stocked) -> None:
    refused(stocked.world, login_of("acme", "admin"), "SELECT tui_backup.mark_lost('1 second')")
    assert stocked.world.run(AGENT, "SELECT tui_backup.mark_lost('1 second') AS n") == [{"n": 0}]
