"""One tenant's rows restored by a real agent: in place with undo, tried, beside, shared sources, and crashes."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.integration.agent.installation import Installation

# the README's test command has eight minutes
pytestmark = pytest.mark.slow

SHOP = """
CREATE TABLE people (id int PRIMARY KEY, tenant_id text NOT NULL, name text);
CREATE TABLE orders (id int PRIMARY KEY, person int NOT NULL REFERENCES people, note text);
INSERT INTO people SELECT g, CASE g % 2 WHEN 0 THEN 'acme' ELSE 'beta' END, 'n' || g
    FROM generate_series(1, {people}) g;
INSERT INTO orders SELECT g, g % {people} + 1, repeat('x', 200) FROM generate_series(1, {people} * 5) g;
"""
DAMAGE = """
DELETE FROM orders o USING people p WHERE p.id = o.person AND tenant_id = 'acme' AND o.id % 3 = 0;
UPDATE orders o SET note = 'changed' FROM people p WHERE p.id = o.person AND tenant_id = 'acme' AND o.id % 3 = 1;
INSERT INTO people VALUES (-1, 'acme', 'new');
"""


def _all(installation: Installation, tenant: str) -> list[tuple[Any, ...]]:
    place = "ctid, xmin, " if tenant != "acme" else ""
    inner = "o.ctid, o.xmin, " if tenant != "acme" else ""
    return installation.server.execute(
        f"SELECT {place}tenant_id, id, name FROM people WHERE tenant_id = '{tenant}' ORDER BY id",
        installation.source_database,
    ) + installation.server.execute(
        f"SELECT {inner}o.* FROM orders o JOIN people p ON p.id = o.person WHERE tenant_id = '{tenant}' ORDER BY o.id",
        installation.source_database,
    )


def _backed_up(installation: Installation, people: int = 200) -> UUID:
    installation.server.execute(SHOP.format(people=people), installation.source_database)
    installation.query("UPDATE tui_backup.tenants SET tenant_key = 'acme'")
    installation.start_agent()
    job = installation.finished("backup_jobs", installation.backup(tenant_scope=True))
    assert job["status"] == "completed", f"{job}\n{installation.log()}"
    return job["id"]


def _completed(installation: Installation, job: UUID, target: str = "in_place", **columns: Any) -> dict[str, Any]:
    log = installation.finished("backup_restore_logs", installation.restore(job, target, **columns))
    assert log["status"] == "completed", f"{log}\n{installation.log()}"
    return log


def _damage(installation: Installation) -> None:
    installation.server.execute(DAMAGE, installation.source_database)


def _request_undo(installation: Installation, log: UUID, wanted: str) -> bool:
    ((done,),) = installation.as_admin(f"SELECT tui_backup.request_undo('{log}', '{wanted}')")
    return bool(done)


def test_in_place_and_undo(installation: Installation) -> None:
    job = _backed_up(installation)
    good, beta = _all(installation, "acme"), _all(installation, "beta")
    _damage(installation)
    damaged = _all(installation, "acme")
    log = _completed(installation, job)
    assert _all(installation, "acme") == good
    assert _all(installation, "beta") == beta
    assert log["undo_state"] == "kept"
    assert log["metadata"]["compare"]["identical"] is True
    safety = installation.row("backup_jobs", log["safety_job_id"])
    assert (safety["status"], safety["tenant_scope"], safety["tags"]) == ("completed", True, ["safety"])

    # nothing is kept that could be dropped
    assert not _request_undo(installation, log["id"], "finish_requested")
    assert _request_undo(installation, log["id"], "undo_requested")
    installation.wait(lambda: installation.row("backup_restore_logs", log["id"])["undo_state"] == "undone", 30)
    assert _all(installation, "acme") == damaged
    assert _all(installation, "beta") == beta
    after = installation.row("backup_restore_logs", log["id"])
    undo = installation.row("backup_restore_logs", after["metadata"]["undone_by"])
    assert (undo["undo_state"], undo["status"], undo["backup_job_id"]) == ("kept", "completed", safety["id"])
    assert undo["initiated_by"] is not None
    assert not _request_undo(installation, log["id"], "undo_requested")


def test_an_undo_that_fails_can_be_asked_for_again(installation: Installation) -> None:
    job = _backed_up(installation)
    _damage(installation)
    log = _completed(installation, job)
    installation.server.execute("ALTER TABLE orders RENAME TO orders_away", installation.source_database)
    assert _request_undo(installation, log["id"], "undo_requested")
    installation.wait(
        lambda: (
            "undo_error" in (installation.row("backup_restore_logs", log["id"])["metadata"])
            and installation.row("backup_restore_logs", log["id"])["undo_state"] == "kept"
        ),
        30,
    )
    error = installation.row("backup_restore_logs", log["id"])["metadata"]["undo_error"]
    assert "orders" in error["message"]
    installation.server.execute("ALTER TABLE orders_away RENAME TO orders", installation.source_database)
    assert _request_undo(installation, log["id"], "undo_requested")
    installation.wait(lambda: installation.row("backup_restore_logs", log["id"])["undo_state"] == "undone", 30)


def test_a_dry_run_tells_the_plan_and_touches_nothing(installation: Installation) -> None:
    job = _backed_up(installation)
    _damage(installation)
    installation.server.execute("INSERT INTO orders VALUES (-1, -1, 'of a new one')", installation.source_database)
    before = _all(installation, "acme"), _all(installation, "beta")
    log = _completed(installation, job, options={"dry_run": True})
    assert (_all(installation, "acme"), _all(installation, "beta")) == before
    assert (log["safety_job_id"], log["undo_state"], log["rollback_executed"]) == (None, "none", False)
    people, orders = sorted(log["metadata"]["plan"]["tables"], key=lambda row: row["table"], reverse=True)
    assert people == {
        "table": "public.people", "rows_delete": 1, "rows_insert": 0, "rows_update": 0, "rows_same": 100
    }  # fmt: skip
    assert orders["rows_delete"] == 1
    assert orders["rows_insert"] + orders["rows_update"] + orders["rows_same"] == 500


def test_beside_the_live_rows(installation: Installation) -> None:
    job = _backed_up(installation)
    _damage(installation)
    _completed(installation, job, "side_schema", target_schema="look")
    assert installation.server.execute("SELECT count(*) FROM look.orders", installation.source_database) == [(500,)]


def test_catalog_and_manifest_must_agree_whose_it_is(installation: Installation) -> None:
    job = _backed_up(installation)
    installation.query("UPDATE tui_backup.backup_jobs SET tenant_scope = false WHERE id = %(id)s", {"id": job})
    before = _all(installation, "acme"), _all(installation, "beta")
    log = installation.finished("backup_restore_logs", installation.restore(job, "in_place"))
    assert (log["status"], log["error_details"]["error"]) == ("failed", "other_tenant")
    assert (_all(installation, "acme"), _all(installation, "beta")) == before


def test_another_key_of_the_tenant_refuses_the_old_backup(installation: Installation) -> None:
    """The key is the catalog's word now, not the manifest's."""
    job = _backed_up(installation)
    installation.query("UPDATE tui_backup.tenants SET tenant_key = 'beta'")
    before = _all(installation, "acme"), _all(installation, "beta")
    log = installation.finished("backup_restore_logs", installation.restore(job, "in_place"))
    assert (log["status"], log["error_details"]["error"]) == ("failed", "other_tenant")
    assert (_all(installation, "acme"), _all(installation, "beta")) == before


def _can_be_asked(installation: Installation, job: UUID, target: str, **columns: Any) -> bool:
    try:
        installation.restore(job, target, target_schema="look", target_database="x", **columns)
    except (psycopg.errors.ForeignKeyViolation, psycopg.errors.InvalidParameterValue):
        return False
    return True


def test_what_may_go_into_a_shared_source(installation: Installation) -> None:
    """The source is the platform's: a member's own backup of a whole database must never be written into it."""
    with installation.connect() as conn:
        conn.execute("INSERT INTO tui_backup.tenants (tenant_name) VALUES ('platform')")
        source = conn.execute(
            "INSERT INTO tui_backup.sources (source_name, conninfo, tenant_id)"
            " SELECT 'all', %s, id FROM tui_backup.tenants WHERE tenant_name = 'platform' RETURNING id",
            [installation.source_conninfo()],
        ).fetchone()
    assert source
    # no agent runs: what the catalog says is what counts
    jobs = {scope: installation.backup(tenant_scope=scope) for scope in (True, False)}
    ways = [(scope, target) for scope in jobs for target in ("in_place", "side_schema", "new_database", "swap")]

    def allowed() -> list[tuple[bool, str]]:
        return [way for way in ways if _can_be_asked(installation, jobs[way[0]], way[1], target_source_id=source["id"])]

    assert allowed() == []
    installation.query(
        "INSERT INTO tui_backup.source_shares VALUES (%(source)s, %(tenant)s)",
        {"source": source["id"], "tenant": installation.tenant},
    )
    assert allowed() == [(True, "in_place"), (True, "side_schema")]


def test_what_goes_nowhere(installation: Installation) -> None:
    tenants, whole = installation.backup(tenant_scope=True), installation.backup()
    tried = {"options": {"dry_run": True}}
    assert not _can_be_asked(installation, tenants, "swap")
    assert not _can_be_asked(installation, whole, "in_place", **tried)
    assert not _can_be_asked(installation, tenants, "new_database", **tried)
    assert _can_be_asked(installation, tenants, "in_place", **tried)
    assert _can_be_asked(installation, whole, "swap")


@pytest.mark.parametrize("after_s", [0.2, pytest.param(0.6, marks=pytest.mark.slow)])
def test_a_killed_agents_restore_is_taken_back_or_complete(installation: Installation, after_s: float) -> None:
    job = _backed_up(installation, 6000)
    good, beta = _all(installation, "acme"), _all(installation, "beta")
    _damage(installation)
    damaged = _all(installation, "acme")
    restore = installation.restore(job, "in_place", options={"safety_backup": False})
    installation.wait(lambda: installation.row("backup_restore_logs", restore)["status"] != "pending", 20)
    time.sleep(after_s)
    installation.agents[0].kill()
    installation.agents[0].wait()
    installation.start_agent()
    log = installation.finished("backup_restore_logs", restore, 60)
    if log["status"] == "completed":
        assert _all(installation, "acme") == good
    else:
        assert (log["status"], log["error_details"]["error"]) == ("failed", "agent_lost"), log
        assert (log["rollback_executed"], log["rollback_at"] is None) == (True, False)
        assert _all(installation, "acme") == damaged
    assert _all(installation, "beta") == beta


def test_settings_of_the_map_count(installation: Installation) -> None:
    """The source's map says whose rows are: here that nobody's table stays as it is."""
    installation.query(
        "UPDATE tui_backup.sources SET tenant_map = %(map)s", {"map": Jsonb({"tables": {"log": {"left_out": True}}})}
    )
    installation.server.execute("CREATE TABLE log (what text)", installation.source_database)
    job = _backed_up(installation)
    good = _all(installation, "acme")
    _damage(installation)
    _completed(installation, job)
    assert _all(installation, "acme") == good
