"""Migrations: applied once, by whomever, and never over a catalog of another version."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from tests.integration.catalog.world import OWNER, PASSWORD, make_login
from tests.servers import TestServer
from tui_backup.catalog import migrate as migrations
from tui_backup.catalog.migrate import CATALOG, QUEUE, Migration, check_version, migrate, shipped
from tui_backup.errors import (
    AuthenticationError,
    CatalogUnavailableError,
    CatalogVersionError,
    PermissionRefusedError,
)

DEFINITIONS = """
SELECT c.relname || '.' || coalesce(a.attname, '') || ' ' || coalesce(format_type(a.atttypid, a.atttypmod), '') AS what
  FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'tui_backup_queue'::regnamespace AND c.relkind IN ('r', 'c')
UNION ALL SELECT 'function ' || p.oid::regprocedure || md5(regexp_replace(p.prosrc, '\\s+', ' ', 'g')) FROM pg_proc p
 WHERE p.pronamespace = 'tui_backup_queue'::regnamespace
UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'tui_backup_queue'
UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE NOT tgisinternal AND c.relnamespace = 'tui_backup_queue'::regnamespace
UNION ALL SELECT 'enum ' || t.typname || ' ' || e.enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
 WHERE t.typnamespace = 'tui_backup_queue'::regnamespace
ORDER BY 1
"""


def _empty(server: TestServer) -> str:
    make_login(server, OWNER, "CREATEROLE")
    return server.create_database(owner=OWNER)


@pytest.fixture
def empty(pg: TestServer) -> Iterator[str]:
    """The owner's DSN of an empty database."""
    name = _empty(pg)
    yield pg.dsn(name, OWNER, PASSWORD)
    pg.drop_database(name)


def _names() -> list[str]:
    return ["queue schema.sql", *(migration.name for migration in shipped(CATALOG))]


async def test_a_new_catalog_on_every_version(pg_any: TestServer) -> None:
    name = _empty(pg_any)
    dsn = pg_any.dsn(name, OWNER, PASSWORD)
    try:
        assert await migrate(dsn) == _names()
        await check_version(dsn)
        assert await migrate(dsn) == []
    finally:
        pg_any.drop_database(name)


async def test_two_at_once_make_one(empty: str) -> None:
    done = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sorted(done, key=len) == [[], [], [], _names()]


async def test_a_cut_off_upgrade_is_finished_by_the_next(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shipped(CATALOG)
    broken = Migration(CATALOG, whole[1].name, whole[1].text + "\nSELECT 1 / 0;")

    def first_breaks(component: str) -> list[Migration]:
        return [whole[0], broken, *whole[2:]] if component == CATALOG else shipped(component)

    monkeypatch.setattr(migrations, "shipped", first_breaks)
    with pytest.raises(Exception, match="division by zero"):
        await migrate(empty)
    monkeypatch.undo()
    assert await migrate(empty) == [migration.name for migration in whole[1:]]


async def test_an_older_program_stops_at_a_newer_catalog(empty: str) -> None:
    await migrate(empty)
    with psycopg.connect(empty) as connection:
        connection.execute(
            "INSERT INTO tui_backup.schema_migrations (component, name, checksum, program)"
            " VALUES ('catalog', '9999_future.sql', 'x', '77.0')"
        )
    for attempt in (check_version, migrate):
        with pytest.raises(CatalogVersionError, match=r"newer program \(77\.0\)") as caught:
            await attempt(empty)
        assert "77.0" in caught.value.hint


async def test_a_newer_program_asks_for_the_upgrade(empty: str) -> None:
    await migrate(empty)
    with psycopg.connect(empty) as connection:
        connection.execute("DELETE FROM tui_backup.schema_migrations WHERE name = '0004_schedule_status.sql'")
    with pytest.raises(CatalogVersionError, match="older than this program") as caught:
        await check_version(empty)
    assert "tui-backup upgrade" in caught.value.hint


async def test_a_changed_file_is_refused(empty: str) -> None:
    await migrate(empty)
    with psycopg.connect(empty) as connection:
        connection.execute("UPDATE tui_backup.schema_migrations SET checksum = 'x' WHERE name = '0001_catalog.sql'")
    for attempt in (check_version, migrate):
        with pytest.raises(CatalogVersionError, match=r"0001_catalog\.sql"):
            await attempt(empty)


async def test_the_librarys_migrations_lead_to_its_schema(
    pg: TestServer, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog made with an older procrastinate is brought up to date by the library's own files."""
    files = shipped(QUEUE)
    older = [file for file in files if file.name < "03.02"]

    async def one_by_one(connection: migrations.Connection) -> str:
        # a new value of an enum cannot be used in the transaction that adds it
        for file in older:
            await migrations._apply(connection, file)  # pyright: ignore[reportPrivateUsage]
        return "older files"

    monkeypatch.setattr(migrations, "_apply_queue_schema", one_by_one)
    monkeypatch.setattr(migrations, "shipped", lambda component: older if component == QUEUE else shipped(component))
    await migrate(empty)
    monkeypatch.undo()
    assert await migrate(empty) == [file.name for file in files if file.name >= "03.02"]
    fresh = _empty(pg)
    try:
        await migrate(pg.dsn(fresh, OWNER, PASSWORD))
        with psycopg.connect(empty) as migrated, psycopg.connect(pg.dsn(fresh)) as new:
            assert migrated.execute(DEFINITIONS).fetchall() == new.execute(DEFINITIONS).fetchall()
            # what the library's migrations added is the agent's too
            (row,) = migrated.execute(
                "SELECT bool_and(has_function_privilege('tui_backup_agent', oid, 'EXECUTE')),"
                " bool_or(has_function_privilege('public', oid, 'EXECUTE'))"
                " FROM pg_proc WHERE pronamespace = 'tui_backup_queue'::regnamespace"
            ).fetchall()
            assert row == (True, False)
    finally:
        pg.drop_database(fresh)


async def test_a_superusers_catalog_belongs_to_a_role_that_is_none(pg_any: TestServer) -> None:
    name = pg_any.create_database()
    try:
        assert await migrate(pg_any.dsn(name)) == _names()
        assert await migrate(pg_any.dsn(name)) == []
        rows = pg_any.execute(
            "SELECT DISTINCT r.rolname, r.rolsuper FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
            " WHERE c.relnamespace IN ('tui_backup'::regnamespace, 'tui_backup_queue'::regnamespace)",
            name,
        )
        assert rows == [("tui_backup_owner", False)]
    finally:
        pg_any.drop_database(name)


async def test_without_the_rights_the_hint_says_what_is_needed(pg: TestServer) -> None:
    make_login(pg, "w_nobody")
    name = pg.create_database()
    try:
        with pytest.raises(PermissionRefusedError) as caught:
            await migrate(pg.dsn(name, "w_nobody", PASSWORD))
        assert "CREATEROLE" in caught.value.hint
    finally:
        pg.drop_database(name)


async def test_a_database_without_catalog_says_so(pg: TestServer, database: str) -> None:
    with pytest.raises(CatalogVersionError, match="holds no catalog") as caught:
        await check_version(pg.dsn(database))
    assert "init" in caught.value.hint


async def test_only_utf8_is_taken(pg: TestServer) -> None:
    name = pg.create_database(encoding="SQL_ASCII", locale="C")
    try:
        with pytest.raises(CatalogVersionError, match="not UTF8"):
            await migrate(pg.dsn(name))
    finally:
        pg.drop_database(name)


async def test_a_held_lock_is_waited_for_but_not_for_ever(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "_LOCK_WAIT_S", 0.2)
    with psycopg.connect(empty, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (migrations._LOCK_KEY,))  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(CatalogUnavailableError, match="Another program"):
            await migrate(empty)


async def test_no_server_and_a_wrong_password_are_told_apart(pg: TestServer, empty: str) -> None:
    with pytest.raises(CatalogUnavailableError, match="cannot be reached"):
        await migrate("postgresql://u:topsecret@127.0.0.1:1/d")
    with pytest.raises(AuthenticationError) as caught:
        await migrate(pg.dsn("postgres", OWNER, "topsecret"))
    assert "topsecret" not in str(caught.value.to_json())
