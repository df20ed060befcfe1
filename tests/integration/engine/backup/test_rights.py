"""A login that may not read everything is told so before anything is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.engine.backup.conftest import back_up
from tests.servers import TestServer
from tests.unit.engine.fakes import MemorySink
from tui_backup.errors import SourcePermissionError, ValidationError


@pytest.fixture
def reader(role: Callable[..., str]) -> str:
    return role("reader")


def _refusal(server: TestServer, dbname: str, user: str, **options: object) -> SourcePermissionError:
    sink = MemorySink()
    with pytest.raises(SourcePermissionError) as caught:
        back_up(server, dbname, user=user, password="x", sink=sink, **options)
    assert sink.writers == [], "refused before anything is read"
    return caught.value


def test_missing_grants_are_listed_and_enough(pg: TestServer, database: str, reader: str) -> None:
    pg.execute(
        """
        CREATE SCHEMA "Closed"; CREATE TABLE "Closed"."T 1" (a int); INSERT INTO "Closed"."T 1" VALUES (1);
        CREATE TABLE no_grant (a serial); INSERT INTO no_grant DEFAULT VALUES;
        CREATE TABLE column_grant (a int, b int); GRANT SELECT (a) ON column_grant TO reader;
        CREATE TABLE open (a int); GRANT SELECT ON open TO reader;
        """,
        database,
    )
    error = _refusal(pg, database, reader)
    reasons = {item["table"]: item["reason"] for item in error.details["tables"]}
    assert reasons == {
        '"Closed"."T 1"': "no USAGE on its schema, no SELECT",
        "public.column_grant": "no SELECT",
        "public.no_grant": "no SELECT",
        "public.no_grant_a_seq": "no SELECT",
    }
    assert error.exit_status == 3
    for grant in error.details["grants"]:
        pg.execute(grant, database)
    backup = back_up(pg, database, user=reader, password="x")
    assert {table.name: table.rows for table in backup.contents.tables} == {
        "T 1": 1,
        "no_grant": 1,
        "column_grant": 0,
        "open": 0,
    }
    assert backup.contents.snapshot.marker is not None


def test_row_security_is_never_read_through(pg: TestServer, database: str, role: Callable[..., str]) -> None:
    owner = role("tenant_owner")
    pg.execute(
        f"""
        GRANT CREATE ON SCHEMA public TO {owner};
        SET ROLE {owner};
        CREATE TABLE plain_rls (a int); INSERT INTO plain_rls VALUES (1), (2);
        ALTER TABLE plain_rls ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON plain_rls USING (a = 1);
        CREATE TABLE forced_rls (LIKE plain_rls); INSERT INTO forced_rls VALUES (1), (2);
        """,
        database,
    )
    assert back_up(pg, database, user=owner, password="x").table("plain_rls").rows == 2
    pg.execute(
        """
        ALTER TABLE forced_rls ENABLE ROW LEVEL SECURITY; ALTER TABLE forced_rls FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON forced_rls USING (a = 1);
        """,
        database,
    )
    error = _refusal(pg, database, owner)
    assert error.details["tables"] == [{"table": "public.forced_rls", "reason": "row security would hide rows"}]
    assert error.details["grants"] == [f'ALTER ROLE "{owner}" BYPASSRLS;']
    pg.execute(error.details["grants"][0], database)
    assert back_up(pg, database, user=owner, password="x").table("forced_rls").rows == 2


def test_a_predefined_role_is_enough(pg: TestServer, database: str, reader: str) -> None:
    pg.execute("GRANT pg_read_all_data TO reader; CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 5 AS a", database)
    backup = back_up(pg, database, user=reader, password="x")
    assert backup.rows("t", "s") == b"5\n"
    assert backup.contents.globals is not None
    assert b"CREATE ROLE reader" in backup.sink.read(backup.contents.globals)
    assert b"SCRAM-SHA" not in backup.sink.read(backup.contents.globals)


def test_chosen_tables_need_their_own_grants_only(pg: TestServer, database: str, reader: str) -> None:
    pg.execute(
        "CREATE TABLE mine (a int); INSERT INTO mine VALUES (3); GRANT SELECT ON mine TO reader;"
        'CREATE TABLE "the.irs" (a int); CREATE TABLE "other" (b int, CHECK (b > 0))',
        database,
    )
    backup = back_up(pg, database, user=reader, password="x", tables=["mine"])
    assert [table.name for table in backup.contents.tables] == ["mine"]
    assert backup.rows("mine") == b"3\n"
    left_out = {item.what for item in backup.contents.left_out}
    assert 'definition of table public."the.irs"' in left_out
    assert "definition of table public.other" in left_out
    assert b"mine" in backup.sink.read(backup.contents.schema)
    error = _refusal(pg, database, reader, tables=["mine", "other"])
    assert [item["table"] for item in error.details["tables"]] == ["public.other"]


def test_large_objects_of_others(pg: TestServer, database: str, reader: str) -> None:
    pg.execute("SELECT lo_from_bytea(101, 'secret'); SELECT lo_from_bytea(102, 'open')", database)
    pg.execute("GRANT SELECT ON LARGE OBJECT 102 TO PUBLIC", database)
    error = _refusal(pg, database, reader)
    assert error.details["large_objects"] == [101]
    for grant in error.details["grants"]:
        pg.execute(grant, database)
    backup = back_up(pg, database, user=reader, password="x")
    objects = backup.contents.large_objects
    assert [(item.oid, item.size_bytes) for item in objects.objects] == [(101, 6), (102, 4)]
    assert backup.sink.read(objects.chunks[0]) == b"101\t0\t\\\\x736563726574\n102\t0\t\\\\x6f70656e\n"


def test_an_unknown_table_names_the_near_ones(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE customers (a int); CREATE SCHEMA s; CREATE TABLE s.customers (a int)", database)
    with pytest.raises(ValidationError) as caught:
        back_up(pg, database, tables=["public.custmers"])
    assert "public.customers" in caught.value.details["near"]
    with pytest.raises(ValidationError, match="ambiguous"):
        back_up(pg, database, tables=["customers"])
    with pytest.raises(ValidationError, match="not a table name"):
        back_up(pg, database, tables=["a; DROP TABLE customers"])
