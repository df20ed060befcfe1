"""The plan says beforehand what a restore would do, and what forbids it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from tests.integration.engine.restore.conftest import Shop
from tui_backup.engine.logical.plan import plan_restore
from tui_backup.model import BackupJob, JobStatus, JobType, RestorePlan, RestoreRequest, RestoreTarget

JOB = BackupJob(
    id=uuid.uuid4(),
    job_type=JobType.FULL,
    status=JobStatus.COMPLETED,
    tenant_id=uuid.uuid4(),
    created_at=datetime(2026, 11, 23, tzinfo=UTC),
)


def _plan(
    shop: Shop, target: RestoreTarget, *, dsn: str | None = None, contents: Any = None, **request: Any
) -> RestorePlan:
    return plan_restore(
        RestoreRequest(job_id=JOB.id, target=target, **request),
        JOB,
        contents or shop.contents,
        dsn or shop.server.dsn(shop.name),
    )


def _refused(plan: RestorePlan) -> str:
    return "; ".join(f"{check.name}: {check.message}" for check in plan.refused)


def test_new_database(shop: Shop) -> None:
    plan = _plan(shop, RestoreTarget.NEW_DATABASE, database="shop_restored")
    assert plan.refused == []
    assert plan.database == "shop_restored"
    assert {table.rows_now for table in plan.tables} == {None}
    assert sum(table.rows_in_backup for table in plan.tables) == shop.contents.rows
    assert plan.bytes_needed > 0
    assert plan.bytes_free is not None
    assert "PostgreSQL" in plan.server
    assert plan.reason
    assert plan.undo


def test_a_taken_name(shop: Shop) -> None:
    assert "exists already" in _refused(_plan(shop, RestoreTarget.NEW_DATABASE, database=shop.name))


def test_a_lost_database(shop: Shop) -> None:
    lost = shop.server.dsn("never_was")
    assert _plan(shop, RestoreTarget.NEW_DATABASE, dsn=lost, database="never_was").refused == []
    for target in (RestoreTarget.SWAP, RestoreTarget.IN_PLACE, RestoreTarget.SIDE_SCHEMA):
        assert "there is no database never_was" in _refused(_plan(shop, target, dsn=lost, schema="side"))


def test_swap(shop: Shop) -> None:
    with shop.server.connect(shop.name), shop.server.connect(shop.name) as conn:
        conn.execute("SELECT pg_create_logical_replication_slot('plan_slot', 'test_decoding')")
        try:
            plan = _plan(shop, RestoreTarget.SWAP)
        finally:
            conn.execute("SELECT pg_drop_replication_slot('plan_slot')")
    assert plan.refused == []
    assert plan.sessions == 2
    assert plan.database == shop.name
    assert any("plan_slot" in check.message for check in plan.checks)
    assert plan.undo is not None
    assert f"{shop.name}_old_" in plan.undo


def test_swap_by_one_who_may_not(shop: Shop) -> None:
    shop.server.execute("DROP ROLE IF EXISTS plan_weak; CREATE ROLE plan_weak LOGIN PASSWORD 'weak'")
    with shop.server.connect(shop.name):
        refused = _refused(_plan(shop, RestoreTarget.SWAP, dsn=shop.server.dsn(shop.name, "plan_weak", "weak")))
    assert "CREATEDB" in refused
    assert "only its owner" in refused
    assert "pg_signal_backend" in refused
    shop.server.execute("DROP ROLE plan_weak")


def test_missing_roles_and_extensions(shop: Shop) -> None:
    contents = replace(shop.contents, roles=["postgres", "nobody_here"], extensions=["no_such_extension"])
    refused = _refused(_plan(shop, RestoreTarget.NEW_DATABASE, contents=contents, database="shop_restored"))
    assert "nobody_here" in refused
    assert "--no-owner" in refused
    assert "no_such_extension" in refused
    kept = _plan(shop, RestoreTarget.NEW_DATABASE, contents=contents, database="shop_restored", no_owner=True)
    assert "nobody_here" not in _refused(kept)


def test_an_older_server(shop: Shop) -> None:
    contents = replace(shop.contents, server=replace(shop.contents.server, version_num=990000))
    refused = _refused(_plan(shop, RestoreTarget.NEW_DATABASE, contents=contents, database="shop_restored"))
    assert "PostgreSQL 99" in refused


def test_places_that_are_missing(shop: Shop) -> None:
    database = replace(
        shop.contents.database, tablespace="fast_disks", locale_provider="c", lc_collate="xx_XX", lc_ctype="xx_XX"
    )
    plan = _plan(
        shop, RestoreTarget.NEW_DATABASE, contents=replace(shop.contents, database=database), database="shop_restored"
    )
    warnings = " ".join(check.message for check in plan.checks if check.level == "warning")
    assert "fast_disks" in warnings
    assert "xx_XX" in warnings


def test_no_room(shop: Shop) -> None:
    contents = replace(shop.contents, database=replace(shop.contents.database, size_bytes=1 << 60))
    refused = _refused(_plan(shop, RestoreTarget.NEW_DATABASE, contents=contents, database="shop_restored"))
    assert "space: about 1.0 EiB are needed" in refused


def test_a_database_that_holds_a_catalog_is_neither_swapped_nor_overwritten(shop: Shop) -> None:
    shop.rows("CREATE SCHEMA tui_backup CREATE TABLE schema_migrations (name text)")
    try:
        assert "holds a catalog of tui-backup" in _refused(_plan(shop, RestoreTarget.SWAP))
        assert _plan(shop, RestoreTarget.IN_PLACE, tables=["s.orders"]).refused == []
        tables = [*shop.contents.tables, replace(shop.contents.tables[0], schema="tui_backup", name="backup_jobs")]
        contents = replace(shop.contents, tables=tables)
        assert "holds a catalog of tui-backup" in _refused(_plan(shop, RestoreTarget.IN_PLACE, contents=contents))
    finally:
        shop.rows("DROP SCHEMA tui_backup CASCADE")


def test_in_place(shop: Shop) -> None:
    shop.rows("DELETE FROM s.orders WHERE id > 4000")
    plan = _plan(shop, RestoreTarget.IN_PLACE, tables=["s.orders"])
    (table,) = plan.tables
    assert plan.refused == []
    assert (table.name, table.rows_in_backup, table.rows_now, table.rows_now_is_estimate) == (
        "s.orders",
        5000,
        4000,
        False,
    )
    assert any("lines_order_id_fkey" in check.message for check in plan.checks)
    assert plan.undo is not None
    assert _plan(shop, RestoreTarget.IN_PLACE, tables=["s.orders"], safety_backup=False).undo is None


def test_in_place_onto_another_shape(shop: Shop) -> None:
    shop.rows("ALTER TABLE s.orders DROP note")
    assert "note" in _refused(_plan(shop, RestoreTarget.IN_PLACE, tables=["s.orders"]))


@pytest.mark.parametrize("name", ["s", "pg_mine", "", "x" * 64])
def test_side_schema_s_name(shop: Shop, name: str) -> None:
    assert _refused(_plan(shop, RestoreTarget.SIDE_SCHEMA, schema=name))


def test_side_schema(shop: Shop) -> None:
    plan = _plan(shop, RestoreTarget.SIDE_SCHEMA, schema="side", tables=["s.log"])
    assert plan.refused == []
    assert [table.name for table in plan.tables] == ["s.log_1", "s.log_2"]
