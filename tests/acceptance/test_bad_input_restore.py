"""Bad input, part three: jobs that are no backups, restores that must not happen, damaged manifests, wrong words."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.bench import ORDERS, Bench
from tests.fetch_postgres import find
from tests.servers import TestServer

IN_PLACE = ("--in-place", "--table", "public.orders", "--no-safety-backup")


# -- jobs -------------------------------------------------------------------------------------------------------------


def _reads(bench: Bench, job: str) -> Iterator[list[str]]:
    yield ["restore", job, "--into-database", "bench_never", "--confirm", "--wait"]
    yield ["verify", job, "--files"]
    yield ["job", "download", job, "--output", str(bench.console.folder / "never.sql")]
    yield ["job", "show", job, "--tables"]


@pytest.mark.slow
def test_a_job_that_failed_is_no_backup(bench: Bench) -> None:
    failure = bench.failed_backup("invalid_value", "shop", "--table", "public.gone")
    for words in list(_reads(bench, failure.printed["id"]))[:3]:
        refused = bench.fails(2, "wrong_state", *words)
        assert "failed, not completed" in refused.message and "job show" in refused.hint
    assert not (bench.console.folder / "never.sql").exists()


@pytest.mark.slow
def test_a_job_that_runs_is_no_backup_yet(bench: Bench) -> None:
    with bench.server.connect(bench.shop) as holder, bench.agent(TUI_BACKUP_AGENT_LOCK_TIMEOUT_SECONDS="60"):
        holder.execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        job = bench.ok("backup", "shop")["id"]
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted"
        bench.wait_for(lambda: bool(bench.server.execute(waits)))
        for words in (*_reads(bench, job), ["job", "delete", job, "--confirm"]):
            assert "running" in bench.fails(2, "wrong_state", *words).message
        bench.ok("job", "cancel", job)
        bench.wait_for(lambda: bench.ok("job", "show", job)["status"] == "cancelled")
    assert "nothing to cancel" in bench.fails(2, "wrong_state", "job", "cancel", job).message
    assert not (bench.console.folder / "never.sql").exists()


@pytest.mark.slow
def test_a_job_that_was_deleted(bench: Bench) -> None:
    job = bench.ok("backup", "shop", "--table", "public.customers", "--wait")["id"]
    bench.ok("job", "delete", job, "--confirm")
    for words in (*_reads(bench, job), ["job", "cancel", job]):
        assert "list" in bench.fails(2, "not_found", *words).hint


# -- restores that must not happen ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(["--into-database", "bench_new", "--swap"], marks=pytest.mark.slow),
        pytest.param(["--into-schema", "look", "--table", "public.orders"], marks=pytest.mark.slow),
        list(IN_PLACE),
    ],
    ids=["swap", "schema", "in place"],
)
def test_a_restore_without_the_confirmation(bench: Bench, target: list[str]) -> None:
    refused = bench.fails(3, "confirmation_required", "restore", bench.good_job()["id"], *target, "--wait")
    assert "--confirm" in refused.hint
    assert {table["name"]: table["rows_in_backup"] for table in refused.printed["tables"]}["public.orders"] == ORDERS
    assert bench.ok("restore-log", "list") == []


def _refused(bench: Bench, code: str, said: str, *words: str) -> None:
    """The plan refuses, with and without the confirmation; nothing is queued."""
    before = bench.ok("restore-log", "list")
    refused = bench.fails(3, code, "restore", bench.good_job()["id"], *words, "--confirm", "--wait")
    assert said in refused.message
    assert [check["code"] for check in refused.printed["checks"] if check["level"] == "refused"] == [code]
    assert bench.ok("restore-log", "list") == before


def test_a_target_that_exists(bench: Bench) -> None:
    _refused(bench, "target_exists", f"{bench.shop} exists already", "--into-database", bench.shop)
    refused = bench.fails(
        3,
        "target_exists",
        *("restore", bench.good_job()["id"], "--into-schema", "public", "--table", "public.orders", "--dry-run"),
    )
    assert "public exists already" in refused.message


@pytest.mark.parametrize(
    "words",
    [
        ["--into-database", "x" * 64],
        ["--into-database", "bench_never", "--table", "public.nothing"],
        [*IN_PLACE[:1], "--table", "no table at all"],
    ],
)
def test_names_that_cannot_be(bench: Bench, words: list[str]) -> None:
    bench.fails(2, "invalid_value", "restore", bench.good_job()["id"], *words, "--confirm")


@pytest.mark.slow
def test_a_live_table_that_was_altered(bench: Bench) -> None:
    bench.good_job()
    bench.server.execute(
        "ALTER TABLE orders ADD COLUMN more int NOT NULL DEFAULT 1; ALTER TABLE orders DROP note", bench.shop
    )
    try:
        _refused(bench, "target_mismatch", "note", *IN_PLACE)
    finally:
        bench.server.execute(
            "DROP TABLE orders; CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers,"
            " note text); INSERT INTO orders SELECT g, 1 + g % 100,"
            " (SELECT string_agg(md5(g::text || i), '') FROM generate_series(1, 8) i)"
            f" FROM generate_series(1, {ORDERS}) g",
            bench.shop,
        )


@pytest.mark.slow
def test_a_target_with_sessions(bench: Bench) -> None:
    """A lock that is held ends a restore in place; a swap ends the sessions, as its plan has said."""
    job = bench.good_job()["id"]
    with bench.server.connect(bench.shop) as session:
        session.execute("BEGIN; UPDATE orders SET note = 'open' WHERE id = 1")
        failed = bench.fails(1, "lock_timeout", "restore", job, *IN_PLACE, "--confirm", "--wait")
        log = failed.printed
        assert (log["status"], log["rollback_executed"]) == ("failed", True) and log["rollback_at"]
        assert "orders" in failed.message
        session.execute("ROLLBACK")
        words = ["restore", job, "--into-database", "bench_swapped", "--swap"]
        plan = bench.ok(*words, "--dry-run")
        assert plan["sessions"] == 1
        swapped = bench.ok(*words, "--confirm", "--wait")
        assert session.closed or not _is_alive(session)
    undone = bench.ok("restore-log", "undo", swapped["id"])
    assert undone["undo_state"] == "undone"
    bench.server.drop_database(undone["metadata"]["swap"]["undone"])


def _is_alive(session: Any) -> bool:
    import psycopg

    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


# -- no room ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _disk(folder: Path, size: str) -> Generator[Path]:
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False)
    if made.returncode:
        pytest.skip("no right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_target_that_fills_up(bench: Bench) -> None:
    """The database's tablespace is full in the middle: nothing of the copy stays."""
    owner = bench.server.data_dir.stat()
    with _disk(bench.server.base / "small", "42m") as folder:
        os.chown(folder, owner.st_uid, owner.st_gid)
        bench.server.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        tight = bench.server.create_database("bench_tight", tablespace="small")
        bench.server.execute("CREATE TABLE t AS SELECT g, md5(g::text) AS m FROM generate_series(1, 300000) g", tight)
        source = bench.add_source(dbname=tight)
        job = bench.ok("backup", source, "--wait")["id"]
        failed = bench.fails(
            1, "no_space_for_restore", "restore", job, "--into-database", "bench_never", "--confirm", "--wait"
        )
        assert "Free space" in failed.hint
        assert (failed.printed["status"], failed.printed["rollback_executed"]) == ("failed", True)
        assert bench.server.execute("SELECT count(*) FROM t", tight) == [(300000,)]
        bench.server.drop_database(tight)
        bench.server.execute("DROP TABLESPACE small")


@pytest.mark.slow
def test_a_target_that_lacks_the_room_from_the_start(bench: Bench, tmp_path: Path) -> None:
    binaries = find(bench.server.major)
    assert binaries is not None
    base = bench.server.base.with_name(f"{bench.server.base.name}-small")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        stack.enter_context(_disk(base, "120m"))
        small = TestServer(binaries, base=base)
        stack.callback(small.close)
        small.start()
        small.execute("CREATE ROLE bench LOGIN SUPERUSER PASSWORD 'bench'")
        target = bench.add_source(port=small.port, password="bench", dbname="postgres")
        free = shutil.disk_usage(base).free
        with (base / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, free - 4 * 1024 * 1024)
        words = ["--into-database", "bench_new", "--target-source", target]
        _refused(bench, "no_space_for_restore", "are needed", *words)
        (base / "filler").unlink()
        assert ("bench_new",) not in small.execute("SELECT datname FROM pg_database")


# -- a damaged manifest -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("flipped", "damaged"),
        pytest.param("cut", "damaged", marks=pytest.mark.slow),
        pytest.param("another's", "damaged", marks=pytest.mark.slow),
        pytest.param("missing", "object_missing", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_manifest(bench: Bench, damage: str, code: str) -> None:
    job = bench.good_job()
    path = bench.repository / job["storage_path"]
    good = path.read_bytes()
    path.unlink()
    try:
        if damage == "flipped":
            path.write_bytes(good[:200] + bytes([good[200] ^ 4]) + good[201:])
        elif damage == "cut":
            path.write_bytes(good[: len(good) // 2])
        elif damage == "another's":
            path.write_bytes(_another(bench))
        reads = list(_reads(bench, job["id"]))
        # one of each way to it: planning, the agent, the service
        for words in reads if damage == "flipped" else reads[:2]:
            failed = bench.fails(1, code, *words)
            assert "another" in failed.hint or "verify" in failed.hint
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(good)
        path.chmod(0o600)
    bench.ok("verify", job["id"], "--files")


def _another(bench: Bench) -> bytes:
    """The manifest of another backup of the same tenant."""
    made = bench.ok("backup", "shop", "--table", "public.customers", "--wait")
    return (bench.repository / made["storage_path"]).read_bytes()


# -- wrong words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["source", "add", "../shop", "--dsn", "dbname=x"], "source_name"),
        (["repo", "add", "a b", "/tmp/never"], "repository_name"),
        (["schedule", "add", "a\nb", "--source", "shop", "--preset", "daily"], "schedule_name"),
        (["schedule", "add", "n", "--source", "shop", "--preset", "daily", "--email", "a@b"], "notification_emails"),
    ],
)
def test_words_that_cannot_be(bench: Bench, words: list[str], field: str) -> None:
    assert bench.fails(2, "invalid_value", *words).error["details"]["field"] == field
    assert bench.catalog("SELECT 1 FROM tui_backup.backup_schedules") == []
    assert not Path("/tmp/never").exists()
