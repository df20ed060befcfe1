"""A backup in a hostile world: it ends, soon, with a typed error, and leaves nothing running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.engine.backup.conftest import Backup, back_up
from tests.integration.engine.backup.proxy import Proxy
from tests.servers import TestServer
from tests.unit.engine.fakes import MemorySink
from tui_backup.engine.logical import pump
from tui_backup.errors import (
    CancelledError,
    ClientToolsError,
    ConnectionFailedError,
    LockTimeoutError,
    SourceChangedError,
    StoreFullError,
    TuiBackupError,
)
from tui_backup.manifest import Contents
from tui_backup.model import StopFlag

ROWS = "CREATE TABLE t AS SELECT i, repeat(md5(i::text), 10) AS pad FROM generate_series(1, 60000) i"

LOCKERS = "SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = 'small'::regclass AND pid <> pg_backend_pid()"


@pytest.fixture
def big(pg: TestServer, database: str) -> str:
    """A database with one table of 20 MB."""
    pg.execute(ROWS, database)
    return database


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def _sessions(server: TestServer, dbname: str) -> int:
    (row,) = server.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{dbname}' AND pid <> pg_backend_pid()"
        # autovacuum comes and goes as it likes
        " AND backend_type = 'client backend'"
    )
    return row[0]


def _assert_nothing_left(server: TestServer, dbname: str) -> None:
    give_up = time.monotonic() + 5
    while _sessions(server, dbname) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert _sessions(server, dbname) == 0
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("backup-")]
    give_up = time.monotonic() + 3
    while names and time.monotonic() < give_up:
        time.sleep(0.05)
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("backup-")]
    assert names == []


def _wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "what the test waits for did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("cut_after", [200, 12_000, 2_000_000, 15_000_000])
def test_a_cut_line_is_a_connection_failure(pg: TestServer, big: str, cut_after: int) -> None:
    with Proxy(pg.port, cut_after=cut_after) as proxy:
        dsn = pg.dsn(big).replace(f":{pg.port}/", f":{proxy.port}/")
        with pytest.raises(ConnectionFailedError) as caught:
            back_up(pg, big, conninfo=dsn)
        assert proxy.is_triggered.is_set()
    assert caught.value.retryable
    assert pg.password not in caught.value.message
    _assert_nothing_left(pg, big)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_restart_is_a_connection_failure(
    pg_new: Callable[..., TestServer], background: ThreadPoolExecutor, mode: str
) -> None:
    server = pg_new()
    dbname = server.create_database()
    server.execute(ROWS, dbname)
    reading = threading.Event()

    def slow(_: bytes) -> None:
        reading.set()
        time.sleep(0.05)

    running = background.submit(back_up, server, dbname, sink=MemorySink(slow))
    assert reading.wait(20)
    server.restart(mode)
    with pytest.raises(ConnectionFailedError):
        running.result(30)
    _assert_nothing_left(server, dbname)


def test_a_silent_network_ends_at_the_stall_limit(pg: TestServer, big: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = pump.run_pump

    def impatient(*args: object, **options: object) -> object:
        return limited(*args, **{**options, "stall_timeout_s": 1.0})  # type: ignore[arg-type]

    monkeypatch.setattr("tui_backup.engine.logical.backup.run_pump", impatient)
    with Proxy(pg.port, silent_after=2_000_000) as proxy:
        dsn = pg.dsn(big).replace(f":{pg.port}/", f":{proxy.port}/")
        began = time.monotonic()
        with pytest.raises(ConnectionFailedError, match="nothing for 1 s"):
            back_up(pg, big, conninfo=dsn)
        assert time.monotonic() - began < 15


def _stopped_after(future: Future[Backup], stop: StopFlag) -> float:
    began = time.monotonic()
    stop.set(CancelledError("The user cancelled."))
    with pytest.raises(CancelledError, match="The user cancelled"):
        future.result(30)
    return time.monotonic() - began


def test_stop_while_reading(pg: TestServer, big: str, background: ThreadPoolExecutor) -> None:
    reading, stop = threading.Event(), StopFlag()

    def slow(_: bytes) -> None:
        reading.set()
        time.sleep(0.05)

    sink = MemorySink(slow)
    running = background.submit(back_up, pg, big, sink=sink, stop=stop)
    assert reading.wait(20)
    assert _stopped_after(running, stop) < 2
    _assert_nothing_left(pg, big)
    assert not any(writer.is_open for writer in sink.writers)


def test_stop_while_waiting_for_a_lock(pg: TestServer, big: str, background: ThreadPoolExecutor) -> None:
    stop = StopFlag()
    with pg.connect(big) as holder:
        holder.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        running = background.submit(back_up, pg, big, stop=stop, lock_timeout_s=60)
        _wait_for(lambda: bool(pg.execute("SELECT 1 FROM pg_locks WHERE NOT granted")))
        assert _stopped_after(running, stop) < 2
    _assert_nothing_left(pg, big)


def test_stop_while_the_network_is_silent(pg: TestServer, big: str, background: ThreadPoolExecutor) -> None:
    stop = StopFlag()
    with Proxy(pg.port, silent_after=2_000_000) as proxy:
        dsn = pg.dsn(big).replace(f":{pg.port}/", f":{proxy.port}/")
        running = background.submit(back_up, pg, big, conninfo=dsn, stop=stop)
        assert proxy.is_triggered.wait(20)
        time.sleep(0.3)
        assert _stopped_after(running, stop) < 10


def test_stop_before_the_start(pg: TestServer, big: str) -> None:
    stop = StopFlag()
    stop.set(CancelledError("The user cancelled."))
    with pytest.raises(CancelledError):
        back_up(pg, big, stop=stop)


def test_a_failing_store_ends_everything(pg: TestServer, big: str) -> None:
    def full(_: bytes) -> None:
        raise StoreFullError("No room.")

    sink = MemorySink(full)
    with pytest.raises(StoreFullError):
        back_up(pg, big, sink=sink)
    assert not any(writer.is_open for writer in sink.writers)
    _assert_nothing_left(pg, big)


def test_a_lock_is_waited_for_so_long_and_its_holder_named(pg: TestServer, big: str) -> None:
    with pg.connect(big, application_name="migration") as holder:
        holder.execute("BEGIN; ALTER TABLE t ADD COLUMN late int")
        began = time.monotonic()
        with pytest.raises(LockTimeoutError) as caught:
            back_up(pg, big, lock_timeout_s=0.5)
        took = time.monotonic() - began
        assert 1.0 <= took < 4, "tried twice, no longer"
        assert f"process {holder.info.backend_pid}" in caught.value.message
        assert "public.t" in caught.value.message
        (blocker,) = caught.value.details["blockers"]
        assert blocker["application"] == "migration"
        assert blocker["holds"] == "lock"
        assert "ADD COLUMN late" in blocker["query"]
    _assert_nothing_left(pg, big)


def test_a_lock_that_is_released_in_time_is_no_failure(
    pg: TestServer, big: str, background: ThreadPoolExecutor
) -> None:
    with pg.connect(big) as holder:
        holder.execute("BEGIN; ALTER TABLE t ADD COLUMN late int DEFAULT 5")
        running = background.submit(back_up, pg, big, lock_timeout_s=1.0)
        time.sleep(1.3)
        holder.execute("COMMIT")
    backup = running.result(30)
    # the locks come before the snapshot: the change is in, in full
    assert [column.name for column in backup.table("t").columns] == ["i", "pad", "late"]
    assert backup.table("t").columns[2].missing == "{5}"
    assert backup.rows("t").endswith(b"\t5\n")
    assert backup.table("t").rows == 60000


@pytest.mark.parametrize("statement", ["DROP TABLE t", "ALTER TABLE t RENAME TO renamed", "TRUNCATE t"])
def test_a_change_committed_while_the_locks_are_awaited(
    pg: TestServer, big: str, background: ThreadPoolExecutor, statement: str
) -> None:
    pg.execute("CREATE TABLE other AS SELECT 1 AS a", big)
    with pg.connect(big) as holder:
        holder.execute(f"BEGIN; {statement}".encode())
        running = background.submit(back_up, pg, big, lock_timeout_s=20)
        _wait_for(lambda: bool(pg.execute("SELECT 1 FROM pg_locks WHERE NOT granted")))
        holder.execute("COMMIT")
    backup = running.result(30)
    found = {table.name: table.rows for table in backup.contents.tables}
    expected = {"DROP": {}, "ALTER": {"renamed": 60000}, "TRUNCATE": {"t": 0}}[statement.split(maxsplit=1)[0]]
    assert found == {"other": 1, **expected}


def test_ddl_queued_behind_the_backup_does_not_lock_it_up(
    pg: TestServer, big: str, background: ThreadPoolExecutor
) -> None:
    reading = threading.Event()

    def slow(_: bytes) -> None:
        reading.set()
        time.sleep(0.02)

    def run() -> Contents:
        reading.clear()
        pg.execute("DROP TABLE IF EXISTS small; CREATE TABLE small AS SELECT 1 AS a", big)
        running = background.submit(back_up, pg, big, sink=MemorySink(slow), chunk_blocks=64)
        assert reading.wait(20)
        # the coordinating session and both workers hold their locks
        _wait_for(lambda: pg.execute(LOCKERS, big) >= [(3,)])
        with pg.connect(big) as other:
            other.execute("ALTER TABLE small ADD COLUMN b int")
        return running.result(60)

    try:
        backup = run()
    except LockTimeoutError:
        # the ALTER came before a pg_dump that was slow to start: the agent tries such a backup again, too
        backup = run()
    assert backup.table("t").rows == 60000
    assert len(backup.table("small").columns) == 1


def test_ddl_queued_where_workers_lock_as_they_go_is_bounded(
    pg: TestServer, big: str, background: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui_backup.engine.logical.backup._MOST_WORKER_LOCKS", 0)
    pg.execute("CREATE TABLE small AS SELECT 1 AS a", big)
    go_on = threading.Event()
    first_block = threading.Event()

    def wait(_: bytes) -> None:
        if threading.current_thread().name.startswith("backup-pump"):
            first_block.set()
            go_on.wait(20)

    running = background.submit(back_up, pg, big, sink=MemorySink(wait), workers=1, lock_timeout_s=1.0)
    assert first_block.wait(20)
    # the coordinating session and one worker; pg_dump has its locks behind it
    _wait_for(lambda: _sessions(pg, big) == 2)
    with pg.connect(big) as other:
        queued = background.submit(other.execute, "ALTER TABLE small ADD COLUMN b int")
        _wait_for(lambda: bool(pg.execute("SELECT 1 FROM pg_locks WHERE NOT granted")))
        go_on.set()
        with pytest.raises(LockTimeoutError, match=r"public\.small"):
            running.result(30)
        queued.result(20)


def test_a_table_dropped_by_force_in_the_middle(
    pg: TestServer, big: str, background: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinating session is ended by somebody, the lock goes, and so does the table."""
    monkeypatch.setattr("tui_backup.engine.logical.backup._MOST_WORKER_LOCKS", 0)
    pg.execute("CREATE TABLE small AS SELECT 1 AS a", big)
    first_block, go_on = threading.Event(), threading.Event()

    def wait(_: bytes) -> None:
        if threading.current_thread().name.startswith("backup-pump"):
            first_block.set()
            go_on.wait(20)

    running = background.submit(back_up, pg, big, sink=MemorySink(wait), workers=1)
    assert first_block.wait(20)
    pg.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{big}' AND state = 'idle in transaction' AND query NOT LIKE 'COPY%'"
    )
    pg.execute("DROP TABLE small", big)
    go_on.set()
    with pytest.raises((SourceChangedError, ConnectionFailedError)) as caught:
        running.result(30)
    assert caught.value.retryable
    _assert_nothing_left(pg, big)


def test_client_tools_older_than_the_server(pg: TestServer, big: str, tmp_path: Path) -> None:
    for name in ("pg_dump", "pg_dumpall", "pg_restore"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 13.4 (Debian)'\n")
        program.chmod(0o755)
    with pytest.raises(ClientToolsError, match=r"PostgreSQL 18 or newer is needed; found .*13\.4") as caught:
        back_up(pg, big, tools=tmp_path)
    assert "postgresql-client-18" in caught.value.hint


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("echo 'pg_dump: error: disk on fire' >&2; exit 1", "disk on fire"),
        ("echo half a dump; kill -9 $$", "killed by SIGKILL"),
        ("exit 0", "wrote nothing"),
    ],
)
def test_a_pg_dump_that_fails_fails_the_backup(
    pg: TestServer, big: str, tmp_path: Path, behaviour: str, error: str
) -> None:
    for name in ("pg_dump", "pg_dumpall", "pg_restore"):
        program = tmp_path / name
        program.write_text(
            f"#!/bin/sh\ncase $1 in --version) echo 'pg_dump (PostgreSQL) 18.0';; *) {behaviour};; esac\n"
        )
        program.chmod(0o755)
    with pytest.raises(TuiBackupError, match=error):
        back_up(pg, big, tools=tmp_path)
    _assert_nothing_left(pg, big)
