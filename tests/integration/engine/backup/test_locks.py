"""Locks first, snapshot second; and lines that depend on both."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from tests.integration.engine.backup.conftest import back_up
from tests.servers import TestServer
from tui_backup.engine.logical import locks
from tui_backup.engine.logical.lines import Line, LinePlan, PsycopgLine, open_line
from tui_backup.engine.logical.locks import begin_with_locks
from tui_backup.engine.logical.relations import Selection, list_relations, select_relations
from tui_backup.engine.logical.session import SourceSession
from tui_backup.errors import ConnectionFailedError, SourceChangedError, SqlFailedError
from tui_backup.model import StopFlag


def _session(server: TestServer, dbname: str) -> SourceSession:
    return SourceSession(server.dsn(dbname), application_name="test", stop=StopFlag())


def _selecting(session: SourceSession, between: Callable[[int], None]) -> Callable[[], Selection]:
    """Lists the relations and then, but for the call inside the snapshot, lets something happen."""
    calls = 0

    def select() -> Selection:
        nonlocal calls
        selection = select_relations(session, list_relations(session), [], is_standby=False)
        calls += 1
        between(calls)
        return selection

    return select


def test_a_table_made_between_the_list_and_the_locks_is_locked_too(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE first AS SELECT 1 AS a", database)

    def make(call: int) -> None:
        if call == 1:
            pg.execute("CREATE TABLE late AS SELECT 1 AS a", database)

    with _session(pg, database) as session:
        selection = begin_with_locks(session, _selecting(session, make), lock_timeout_s=1)
        assert [rel.name for rel in selection.tables] == ["first", "late"]
        locked = pg.execute(
            f"SELECT relation::regclass::text FROM pg_locks WHERE pid = {session.connection.info.backend_pid} "
            "AND mode = 'AccessShareLock' AND relation >= 16384 ORDER BY 1",
            database,
        )
        assert locked == [("first",), ("late",)]


def test_a_late_table_that_is_rewritten_at_once_is_refused(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE first AS SELECT 1 AS a", database)
    calls: list[int] = []

    def make_then_rewrite(call: int) -> None:
        calls.append(call)
        if call % 2:
            pg.execute(f"CREATE TABLE late_{call} AS SELECT 1 AS a", database)
        else:
            pg.execute(f"TRUNCATE late_{call - 1}", database)

    with _session(pg, database) as session, pytest.raises(SourceChangedError, match="faster than"):
        begin_with_locks(session, _selecting(session, make_then_rewrite), lock_timeout_s=1)
    assert calls == list(range(1, 11)), "five attempts"


def test_a_renamed_table_is_listed_again(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE first AS SELECT 1 AS a", database)

    def rename(call: int) -> None:
        if call == 1:
            pg.execute("ALTER TABLE first RENAME TO second", database)

    with _session(pg, database) as session:
        selection = begin_with_locks(session, _selecting(session, rename), lock_timeout_s=1)
    assert [rel.name for rel in selection.tables] == ["second"]


def test_the_snapshot_comes_after_the_locks(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE t AS SELECT 1 AS a", database)
    with _session(pg, database) as session:
        session.run(locks.BEGIN_SQL, what="beginning")
        session.run("LOCK TABLE ONLY public.t IN ACCESS SHARE MODE", what="locking")
        pg.execute("INSERT INTO t VALUES (2)", database)
        assert session.query("SELECT count(*) FROM public.t", what="counting") == [(2,)]
        pg.execute("INSERT INTO t VALUES (3)", database)
        assert session.query("SELECT count(*) FROM public.t", what="counting") == [(2,)]


def test_more_tables_than_the_lock_table_holds(pg_new: Callable[..., TestServer]) -> None:
    server = pg_new(settings={"max_locks_per_transaction": "10", "max_connections": "15", "max_wal_senders": "0"})
    dbname = server.create_database()
    for start in range(0, 1500, 100):
        tables = "".join(f"CREATE TABLE t{number} (a int);" for number in range(start, start + 100))
        server.execute(tables, dbname)
    with pytest.raises(SqlFailedError) as caught:
        back_up(server, dbname)
    assert "max_locks_per_transaction" in caught.value.hint


def test_a_line_whose_snapshot_is_gone(pg: TestServer, database: str) -> None:
    with _session(pg, database) as session:
        plan = LinePlan(
            conninfo=pg.dsn(database),
            passfile=None,
            parameters=session.parameters,
            application_name="test",
            major=session.major,
            lc_monetary="C",
            snapshot="00000007-00000001-1",
            lock_statement=None,
            lock_timeout_s=1.0,
            encoding="UTF8",
        )

        async def opened(plan: LinePlan) -> Line:
            return await open_line(plan)

        with pytest.raises(ConnectionFailedError, match="coordinating session"):
            asyncio.run(opened(plan))
        with pytest.raises(ConnectionFailedError, match="coordinating session"):
            PsycopgLine(dataclasses.replace(plan, snapshot="not a snapshot"))
