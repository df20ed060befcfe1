"""Into a new database: whole, in part, and not at all when something fails."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.integration.engine.restore.conftest import Shop
from tests.integration.engine.restore.helpers import Recorder, Repository, back_up, dropped, restore
from tests.servers import TestServer
from tui_backup.engine.logical.createdb import unfinished_comment
from tui_backup.errors import (
    CancelledError,
    ClientToolsError,
    ConnectionFailedError,
    DamagedError,
    TargetNotEmptyError,
    TargetSpaceError,
    TuiBackupError,
    ValidationError,
)
from tui_backup.model import RestoreTarget, StopFlag


def _databases(server: TestServer) -> list[str]:
    return sorted(row[0] for row in server.execute("SELECT datname FROM pg_database"))


def _in(shop: Shop, query: str) -> list[tuple[Any, ...]]:
    return shop.server.execute(query, "shop_restored")


def test_whole(shop: Shop) -> None:
    progress = Recorder()
    result = restore(shop.server, shop.contents, shop.repository, "shop_restored", progress=progress)
    assert result.database == "shop_restored"
    assert Shop(shop.server, "shop_restored", shop.contents, shop.repository).fingerprint() == shop.fingerprint()
    assert progress.rows == shop.contents.rows
    assert progress.bytes == progress.bytes_total
    assert progress.tables_done == progress.tables_total
    assert _in(shop, "SELECT count(*) FROM s.sums") == [(200,)]
    assert _in(shop, "SELECT length(lo_get(4711))") == [(600000,)]
    assert _in(shop, "SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 's'") == [(True,)]
    assert _in(
        shop, "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop_restored'"
    ) == [(None,)]


def test_from_a_lost_database(shop: Shop) -> None:
    """The connection string names the very database that is gone."""
    name = shop.server.create_database(template=shop.name)
    shop.server.drop_database(name)
    from tui_backup.engine.logical.restore import restore_database
    from tui_backup.model import RestoreRequest

    result = restore_database(
        RestoreRequest(job_id=uuid.uuid4(), database="shop_restored"),
        shop.contents,
        shop.repository.reader,
        shop.server.dsn(name),
        restore_id=uuid.uuid4(),
        progress=Recorder(),
        stop=StopFlag(),
    )
    assert result.compare is not None
    assert result.compare.identical


def test_chosen_tables(shop: Shop) -> None:
    result = restore(shop.server, shop.contents, shop.repository, "shop_restored", tables=["s.orders", "s.log"])
    assert result.rows_restored == 5000 + 300
    assert result.compare is not None
    assert result.compare.identical
    tables = {row[0] for row in _in(shop, "SELECT relname FROM pg_class WHERE relnamespace = 's'::regnamespace")}
    assert {"orders", "log", "log_1", "log_2", "totals", "sums", "orders_id_seq"} <= tables
    assert not tables & {"people", "lines", "a", "b", "fired"}
    assert _in(shop, "SELECT count(*) FROM s.sums") == [(200,)]
    assert _in(shop, "SELECT nextval('s.orders_id_seq')") == [(5001,)]
    excluded = " ".join(result.excluded)
    assert "orders_person_fkey" in excluded
    assert "TABLE s people" in excluded
    assert "1 large objects" in excluded


def test_a_backup_of_chosen_tables(shop: Shop, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    contents = back_up(shop.server, shop.name, repository, tables=["s.people"])
    result = restore(shop.server, contents, repository, "shop_restored")
    assert result.rows_restored == 200
    assert _in(shop, "SELECT count(*) FROM s.people WHERE upper_name = upper(name)") == [(200,)]
    assert _in(shop, "SELECT to_regclass('s.orders')") == [(None,)]


def test_an_existing_database_is_left_alone(shop: Shop) -> None:
    with pytest.raises(TargetNotEmptyError):
        restore(shop.server, shop.contents, shop.repository, shop.name)
    assert shop.rows("SELECT count(*) FROM s.orders") == [(5000,)]


def test_a_name_is_needed(shop: Shop) -> None:
    with pytest.raises(ValidationError):
        restore(shop.server, shop.contents, shop.repository, "")


PHASES = ["checking", "schema", "data", "indexes", "views", "statistics", "comparing"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_stop_leaves_nothing(shop: Shop, phase: str) -> None:
    before = _databases(shop.server)
    stop = StopFlag()
    stopped_at: list[float] = []

    class Stopping(Recorder):
        def __call__(self, **facts: object) -> None:  # type: ignore[override]
            super().__call__(**facts)  # type: ignore[arg-type]
            if facts.get("phase") == phase:
                stopped_at.append(time.monotonic())
                stop.set(CancelledError("stopped by the test"))

    with pytest.raises(CancelledError) as caught:
        restore(shop.server, shop.contents, shop.repository, "shop_restored", stop=stop, progress=Stopping())
    assert time.monotonic() - stopped_at[0] < 5
    assert _databases(shop.server) == before
    if phase != "checking":
        assert caught.value.details["rollback_executed"] is True
        assert caught.value.details["rollback_at"]


def test_a_stop_while_the_server_is_busy(shop: Shop, tmp_path: Path) -> None:
    """A statement that takes for ever is cancelled."""
    with dropped(shop.server, "slow_source"):
        shop.server.create_database("slow_source")
        shop.server.execute(
            "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
            " 'BEGIN IF current_database() <> ''slow_source'' THEN PERFORM pg_sleep(60); END IF; RETURN $1; END';"
            "CREATE TABLE t AS SELECT 1 AS id; CREATE INDEX ON t (slow(id))",
            "slow_source",
        )
        repository = Repository(tmp_path / "repository")
        contents = back_up(shop.server, "slow_source", repository)
        stop = StopFlag()
        timer = threading.Timer(3, stop.set, [CancelledError("stopped by the test")])
        timer.start()
        started = time.monotonic()
        with pytest.raises(CancelledError):
            restore(shop.server, contents, repository, "shop_restored", stop=stop)
        assert time.monotonic() - started < 8
        assert "shop_restored" not in _databases(shop.server)


def test_a_killed_loader_leaves_nothing(shop: Shop) -> None:
    before = _databases(shop.server)
    killed = threading.Event()

    class Killing(Recorder):
        def __call__(self, **facts: object) -> None:  # type: ignore[override]
            super().__call__(**facts)  # type: ignore[arg-type]
            if facts.get("rows") and not killed.is_set():
                killed.set()
                shop.server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'tui_backup_%'"
                )

    with pytest.raises(ConnectionFailedError) as caught:
        restore(shop.server, shop.contents, shop.repository, "shop_restored", progress=Killing())
    assert killed.is_set()
    assert caught.value.details["rollback_executed"] is True
    assert _databases(shop.server) == before


def _twice(shop: Shop, name: str) -> Any:
    """The backup with one table's rows in it twice, every checksum right."""
    tables = [
        replace(table, chunks=[*table.chunks, *table.chunks], rows=2 * table.rows) if table.name == name else table
        for table in shop.contents.tables
    ]
    return replace(shop.contents, tables=tables)


def test_rows_that_break_a_key_fail_the_restore(shop: Shop) -> None:
    before = _databases(shop.server)
    with pytest.raises(ClientToolsError) as caught:
        restore(shop.server, _twice(shop, "people"), shop.repository, "shop_restored")
    assert any(
        "people_pkey" in line or "could not create unique index" in line for line in caught.value.details["stderr"]
    )
    assert _databases(shop.server) == before


def test_a_wrong_count_fails_the_restore(shop: Shop) -> None:
    table = next(table for table in shop.contents.tables if table.name == "orders")
    wrong = replace(table, chunks=[replace(chunk, rows=chunk.rows + 1) for chunk in table.chunks])
    before = _databases(shop.server)
    with pytest.raises(DamagedError, match="took"):
        restore(shop.server, replace(shop.contents, tables=[wrong]), shop.repository, "shop_restored")
    assert _databases(shop.server) == before


@pytest.fixture
def small_tablespace(pg: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tablespace of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = pg.base / "small"
    folder.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        owner = pg.data_dir.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        pg.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        yield "small"
        pg.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_nothing(pg: TestServer, small_tablespace: str, tmp_path: Path) -> None:
    with dropped(pg, "wide", "wide_restored"):
        pg.create_database("wide")
        pg.execute("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 40000) g", "wide")
        repository = Repository(tmp_path / "repository")
        contents = back_up(pg, "wide", repository)
        contents = replace(contents, database=replace(contents.database, tablespace=small_tablespace))
        before = _databases(pg)
        with pytest.raises(TargetSpaceError) as caught:
            restore(pg, contents, repository, "wide_restored")
        assert caught.value.details["rollback_executed"] is True
        assert _databases(pg) == before


def test_a_missing_tablespace_is_a_warning(shop: Shop) -> None:
    contents = replace(shop.contents, database=replace(shop.contents.database, tablespace="fast_disks"))
    result = restore(shop.server, contents, shop.repository, "shop_restored")
    assert any("fast_disks" in warning for warning in result.warnings)


def test_leftovers_of_a_dead_attempt_are_dropped(shop: Shop) -> None:
    number = uuid.uuid4()
    dead = shop.server.create_database()
    shop.server.execute(f"COMMENT ON DATABASE \"{dead}\" IS '{unfinished_comment(number)}'")
    shop.server.create_database(f"tui_backup_{number.hex}")
    restore(shop.server, shop.contents, shop.repository, "shop_restored", restore_id=number)
    assert dead not in _databases(shop.server)
    assert not [name for name in _databases(shop.server) if name.startswith("tui_backup_")]


def test_a_swap_s_copy_stays_marked(shop: Shop) -> None:
    number = uuid.uuid4()
    result = restore(
        shop.server, shop.contents, shop.repository, "shop_restored", target=RestoreTarget.SWAP, restore_id=number
    )
    query = f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE oid = {result.database_oid}"
    assert shop.server.execute(query) == [(unfinished_comment(number),)]


def test_an_owner_who_is_no_superuser(pg: TestServer, tmp_path: Path) -> None:
    """A login with CREATEDB backs up and restores what is its own."""
    pg.execute("DROP ROLE IF EXISTS plain_owner; CREATE ROLE plain_owner LOGIN CREATEDB PASSWORD 'plain'")
    with dropped(pg, "plain", "plain_restored"):
        pg.create_database("plain", owner="plain_owner")
        with __import__("psycopg").connect(pg.dsn("plain", "plain_owner", "plain"), autocommit=True) as conn:
            conn.execute(
                "CREATE SCHEMA own; CREATE TABLE own.t (id serial PRIMARY KEY, t text);"
                "INSERT INTO own.t (t) SELECT g FROM generate_series(1, 1000) g;"
                "REVOKE INSERT ON own.t FROM plain_owner; SELECT lo_from_bytea(815, 'bytes')"
            )
        repository = Repository(tmp_path / "repository")
        contents = back_up(pg, "plain", repository)
        result = restore(pg, contents, repository, "plain_restored", user="plain_owner", password="plain")
        assert result.compare is not None
        assert result.compare.identical
        assert result.warnings == []
        assert pg.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'plain_restored'") == [
            ("plain_owner",)
        ]
        assert pg.execute("SELECT has_table_privilege('plain_owner', 'own.t', 'INSERT')", "plain_restored") == [
            (False,)
        ]
    pg.execute("DROP ROLE plain_owner")


def test_roles_that_are_missing(pg: TestServer, tmp_path: Path) -> None:
    pg.execute("DROP ROLE IF EXISTS soon_gone; CREATE ROLE soon_gone")
    with dropped(pg, "roles", "roles_restored"):
        pg.create_database("roles")
        pg.execute("CREATE TABLE t (id int); ALTER TABLE t OWNER TO soon_gone; INSERT INTO t VALUES (1)", "roles")
        repository = Repository(tmp_path / "repository")
        contents = back_up(pg, "roles", repository)
        pg.drop_database("roles")
        pg.execute("DROP ROLE soon_gone")
        with pytest.raises(TuiBackupError, match="soon_gone"):
            restore(pg, contents, repository, "roles_restored")
        result = restore(pg, contents, repository, "roles_restored", no_owner=True)
        assert result.compare is not None
        assert result.compare.identical
        assert pg.execute("SELECT id FROM t", "roles_restored") == [(1,)]
