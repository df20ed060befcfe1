"""The named statements: every one is valid, and the review's query is an index scan under row security."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.integration.catalog.world import TENANTS, World, login_of
from tui_backup.catalog.pool import SESSION_SETTINGS
from tui_backup.catalog.queries import query, query_names
from tui_backup.services.lookup import TABLES, compose

REVIEW = (
    "SELECT * FROM tui_backup.backup_jobs WHERE status = 'completed' ORDER BY created_at DESC LIMIT 50",
    "idx_backup_jobs_tenant_status",
)
DASHBOARD = (
    "SELECT * FROM tui_backup.backup_jobs ORDER BY created_at DESC LIMIT 50",
    "idx_backup_jobs_tenant_id",
)


@pytest.mark.parametrize("name", query_names())
def test_every_statement_is_valid(world_any: World, name: str) -> None:
    with world_any.connect(login_of("acme", "admin")) as connection:
        cursor = psycopg.ClientCursor(connection)
        text = compose(name, []).as_string() if name in TABLES else query(name).decode()
        # every parameter as an untyped null is enough to have it parsed and planned
        names = {part.split(")")[0] for part in text.split("%(")[1:]}
        text = cursor.mogrify(text, dict.fromkeys(names))  # type: ignore[arg-type]
        connection.execute("EXPLAIN " + text)  # type: ignore[operator]


def _fill(world: World, jobs: int, tenants: int) -> None:
    """Jobs of many tenants in random order of time, ours among them."""
    for tenant in TENANTS:
        world.add_source(tenant), world.add_repository(tenant)
    world.superuser(
        "INSERT INTO tui_backup.tenants (tenant_name) SELECT 'crowd ' || n FROM generate_series(1, %s) n"
        " ON CONFLICT DO NOTHING",
        (tenants,),
    )
    world.superuser("SET session_replication_role = replica")
    world.superuser("CREATE TEMP TABLE ids AS SELECT id, row_number() OVER () - 1 AS n FROM tui_backup.tenants")
    world.superuser(
        "INSERT INTO tui_backup.backup_jobs (job_type, status, tenant_id, created_at, completed_at, storage_path,"
        " backup_size, error_message, source_id, repository_id)"
        " SELECT 'full', CASE WHEN g.n %% 10 < 8 THEN 'completed' ELSE 'failed' END, i.id,"
        " now() - random() * interval '300 days', now(), 'p', 1, 'e', s.id, r.id"
        " FROM generate_series(1, %s) AS g(n)"
        " JOIN ids i ON i.n = (g.n::bigint * 7919) %% (SELECT count(*) FROM ids)"
        " CROSS JOIN (SELECT id FROM tui_backup.sources LIMIT 1) s"
        " CROSS JOIN (SELECT id FROM tui_backup.repositories LIMIT 1) r"
        # as in life the tenants' rows lie mixed
        " ORDER BY random()",
        (jobs,),
    )
    world.superuser("SET session_replication_role = origin")
    world.superuser("ANALYZE tui_backup.backup_jobs")
    world.superuser("ANALYZE tui_backup.memberships")
    world.superuser("DROP TABLE ids")


def _empty(world: World) -> None:
    world.empty()
    world.superuser("DELETE FROM tui_backup.tenants WHERE tenant_name LIKE 'crowd %'")


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def _settle(connection: psycopg.Connection[dict[str, Any]]) -> None:
    """Set the session up as the product's connections are."""
    for name, value in SESSION_SETTINGS.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


def _explain(connection: psycopg.Connection[dict[str, Any]], statement: str) -> tuple[list[dict[str, Any]], float]:
    """The nodes on backup_jobs, and the milliseconds it took."""
    (row,) = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}").fetchall()  # type: ignore[arg-type]
    found = row["QUERY PLAN"]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]
    nodes = [node for node in _nodes(plan["Plan"]) if node.get("Relation Name") == "backup_jobs"]
    return nodes, plan["Execution Time"]


def test_a_tenants_newest_jobs_are_an_index_scan(world: World) -> None:
    _check_plans(world)


@pytest.mark.slow
def test_so_they_are_on_every_version(world_any: World) -> None:
    _check_plans(world_any)


def _check_plans(world: World) -> None:
    _fill(world, 100_000, 50)
    try:
        for role in ("admin", "employee"):
            with world.connect(login_of("acme", role)) as connection:
                _settle(connection)
                for statement, index in (REVIEW, DASHBOARD):
                    nodes, _ = _explain(connection, statement)
                    assert [(node["Node Type"], node["Index Name"]) for node in nodes] == [("Index Scan", index)]
                    # what another tenant owns is not even looked at
                    assert nodes[0].get("Rows Removed by Filter", 0) == 0
    finally:
        _empty(world)


@pytest.mark.slow
def test_a_million_jobs_do_not_slow_it_down(world: World) -> None:
    _fill(world, 1_000_000, 200)
    try:
        with world.connect(login_of("acme", "admin")) as connection:
            _settle(connection)
            for statement, index in (REVIEW, DASHBOARD):
                took = min(_explain(connection, statement)[1] for _ in range(5))
                (node,), _ = _explain(connection, statement)
                assert node["Index Name"] == index
                assert took < 5, f"{statement}: {took} ms"
            # and what the screens ask for, with names, proof and progress
            order = sql.SQL("ORDER BY j.created_at DESC, j.id")
            listing = compose("jobs", [sql.SQL("j.deleted_at IS NULL")], order=order, limit=50).as_string()
            best = min(_timed(connection, listing) for _ in range(5))
            assert best < 0.05, best
    finally:
        _empty(world)


def _timed(connection: psycopg.Connection[dict[str, Any]], statement: str) -> float:
    started = time.perf_counter()
    assert connection.execute(statement).fetchall()  # type: ignore[arg-type]
    return time.perf_counter() - started
