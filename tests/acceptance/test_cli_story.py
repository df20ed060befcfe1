"""A sysadmin's whole story by commands alone: set up, back up, look, lose, restore, undo, verify, delete."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.integration.cli.console import Console
from tests.servers import TestServer

SHOP = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, total numeric(10, 2));
CREATE TABLE "Odd.name %" (x text);
CREATE INDEX ON orders (customer_id);
INSERT INTO customers SELECT g, 'customer ' || g FROM generate_series(1, 100) g;
INSERT INTO orders SELECT g, 1 + g % 100, g * 1.5 FROM generate_series(1, 5000) g;
INSERT INTO "Odd.name %" VALUES (E'tab\\tnewline\\nbackslash\\\\'), (NULL), ('\\.');
"""
ROWS = 100 + 5000 + 3


@pytest.fixture(scope="module")
def shop(pg: TestServer) -> Iterator[str]:
    """The database to lose."""
    name = pg.create_database("cli_shop")
    pg.execute(SHOP, name)
    yield name
    with psycopg.connect(pg.dsn(), autocommit=True) as conn:
        found = conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'cli_shop%'").fetchall()
    for (database,) in found:
        with contextlib.suppress(psycopg.errors.InvalidCatalogName):
            pg.drop_database(database)


@pytest.fixture(scope="module")
def console(pg: TestServer, shop: str) -> Iterator[Console]:
    """An installation with an embedded catalog and the source ``shop``."""
    made = Console()
    try:
        made.env["TUI_BACKUP_TOOLS_BIN_DIR"] = str(pg.bin_dir)
        made.ok("init")
        dsn = make_conninfo(host=pg.host, port=pg.port, user=pg.superuser, password=pg.password, dbname=shop)
        made.ok("source", "add", "shop", "--dsn", "-", stdin=dsn + "\n")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def job(console: Console) -> dict[str, Any]:
    """One completed backup."""
    return console.json("backup", "shop", "--type", "full", "--name", "first", "--tag", "a", "--tag", "b", "--wait")


def _count(server: TestServer, database: str, table: str = "orders") -> int:
    return int(server.execute(f"SELECT count(*) FROM {table}", database)[0][0])


def _content(server: TestServer, database: str) -> dict[str, list[Any]]:
    tables = ("customers", "orders", '"Odd.name %"')
    return {table: server.execute(f"SELECT * FROM {table} ORDER BY 1", database) for table in tables}


def test_init_is_safe_to_run_twice(console: Console) -> None:
    again = console.json("init")
    assert again["repository"] and Path(again["config_file"]).is_file()
    assert console.json("upgrade") == []


def test_the_password_is_nowhere_but_in_the_passfile(console: Console, pg: TestServer) -> None:
    (source,) = console.json("source", "list")
    assert source["source_name"] == "shop" and "password" not in source["conninfo"]
    assert pg.password not in console.ok("source", "list")
    assert pg.password not in Path(console.env["XDG_CONFIG_HOME"], "tui-backup", "config.toml").read_text()
    passfile = console.state_dir / "pgpass"
    assert passfile.stat().st_mode & 0o777 == 0o600


def test_source_and_repository_are_looked_at(console: Console, shop: str) -> None:
    tried = console.json("source", "test", "shop")
    assert tried["database"] == shop and tried["tables"] == 3
    names = [table["quoted_name"] for table in console.json("source", "tables", "shop")]
    assert sorted(names) == ['public."Odd.name %"', "public.customers", "public.orders"]
    (repository,) = console.json("repo", "list")
    assert repository["is_default"] is True
    assert console.json("repo", "check")["free_bytes"] > 0


def test_doctor_finds_nothing_wrong(console: Console, job: dict[str, Any]) -> None:
    checks = console.json("doctor")
    assert checks and not [check for check in checks if check["level"] == "refused"]


def test_the_backup_is_true(job: dict[str, Any], console: Console) -> None:
    assert (job["status"], job["job_type"], job["backup_name"]) == ("completed", "full", "first")
    assert (job["tables_count"], job["rows_count"], job["tags"]) == (3, ROWS, ["a", "b"])
    assert job["compressed_size_bytes"] > 0 and job["error_message"] is None
    started, completed = (datetime.fromisoformat(job[name]) for name in ("started_at", "completed_at"))
    assert started.tzinfo is not None and started <= completed
    shown = console.json("job", "show", job["id"][:8], "--tables")
    assert shown["id"] == job["id"]
    assert sum(table["rows"] for table in shown["tables"]) == ROWS
    assert job["id"] in [listed["id"] for listed in console.json("job", "list", "--source", "shop")]
    assert "completed" in console.ok("job", "list") and job["id"] in console.ok("job", "show", job["id"])


def test_the_agent_was_started_and_says_so(console: Console, job: dict[str, Any]) -> None:
    status = console.json("agent", "status")
    assert status["running"] is True and [agent["is_alive"] for agent in status["agents"]] == [True]
    assert str(status["pid"]) in console.ok("agent", "status")
    assert console.refused(2, "agent", "start")["error"] == "already_exists"


def test_stats(console: Console, job: dict[str, Any]) -> None:
    figures = console.json("stats")
    assert figures["successful_backups"] >= 1 and figures["safety"]["safety"] == "SAFE"
    shown = console.ok("stats")
    assert shown.splitlines()[0].split(" ", 1)[1].startswith("SAFE  shop: last good")


def test_a_download_is_what_stock_psql_loads(
    console: Console, job: dict[str, Any], pg: TestServer, shop: str, tmp_path: Path
) -> None:
    output = tmp_path / "shop.sql"
    written = console.json("job", "download", job["id"], "--output", str(output))
    assert written["bytes"] == output.stat().st_size and output.stat().st_mode & 0o777 == 0o600
    assert console.refused(2, "job", "download", job["id"], "--output", str(output))["error"] == "already_exists"
    target = pg.create_database("cli_shop_loaded")
    subprocess.run(
        [pg.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", pg.dsn(target), "-f", str(output)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert _content(pg, target) == _content(pg, shop)


def test_restore_needs_the_confirmation_and_shows_the_plan(console: Console, job: dict[str, Any]) -> None:
    done = console.run("restore", job["id"], "--into-database", "cli_shop_new", "--json")
    assert done.returncode == 3 and json.loads(done.stderr)["error"] == "confirmation_required"
    plan = json.loads(done.stdout)
    assert {table["name"]: table["rows_in_backup"] for table in plan["tables"]}["public.orders"] == 5000
    assert console.json("restore", job["id"], "--into-database", "cli_shop_new", "--dry-run")["database"]
    assert console.json("restore-log", "list") == []


def test_restore_into_a_new_database(console: Console, job: dict[str, Any], pg: TestServer, shop: str) -> None:
    log = console.json("restore", job["id"], "--into-database", "cli_shop_new", "--confirm", "--wait")
    assert (log["status"], log["tables_restored"], log["rows_restored"]) == ("completed", 3, ROWS)
    assert log["metadata"]["compare"]["identical"] is True
    assert _content(pg, "cli_shop_new") == _content(pg, shop)
    # the name is taken now
    assert console.refused(3, "restore", job["id"], "--into-database", "cli_shop_new", "--confirm", "--wait")


def test_a_table_is_lost_and_brought_back_in_place(
    console: Console, job: dict[str, Any], pg: TestServer, shop: str
) -> None:
    before = _content(pg, shop)
    pg.execute("DELETE FROM orders WHERE id > 10", shop)
    words = ["restore", job["id"], "--in-place", "--table", "public.orders", "--no-safety-backup"]
    log = console.json(*words, "--confirm", "--wait")
    assert log["restore_type"] == "partial" and log["rows_restored"] == 5000
    assert _content(pg, shop) == before


def test_chosen_tables_into_a_side_schema(console: Console, job: dict[str, Any], pg: TestServer, shop: str) -> None:
    words = ["restore", job["id"], "--into-schema", "look", "--table", "public.customers", "--confirm", "--wait"]
    assert console.json(*words)["status"] == "completed"
    assert _count(pg, shop, "look.customers") == 100
    pg.execute("DROP SCHEMA look CASCADE", shop)


@pytest.mark.slow
def test_swap_undo_swap_finish(console: Console, job: dict[str, Any], pg: TestServer, shop: str) -> None:
    pg.execute("DELETE FROM orders", shop)
    words = ["restore", job["id"], "--into-database", "cli_shop_swap", "--swap", "--confirm", "--wait"]
    log = console.json(*words)
    assert _count(pg, shop) == 5000
    undone = console.json("restore-log", "undo", log["id"][:8])
    assert undone["undo_state"] == "undone" and _count(pg, shop) == 0
    assert console.refused(2, "restore-log", "undo", log["id"])

    words[3] = "cli_shop_swap2"
    log = console.json(*words)
    kept = log["metadata"]["swap"]["kept"]
    assert console.refused(3, "restore-log", "finish", log["id"])["error"] == "confirmation_required"
    console.json("restore-log", "finish", log["id"], "--confirm")
    assert not pg.execute(f"SELECT 1 FROM pg_database WHERE datname = '{kept}'")
    assert _count(pg, shop) == 5000
    listed = console.json("restore-log", "list")
    assert listed[0]["id"] == log["id"] and str(log["id"])[:8] in console.ok("restore-log", "list")
    assert "identical" in console.ok("restore-log", "show", log["id"])


@pytest.mark.slow
def test_verify_names_damage_and_delete_removes_it(console: Console, job: dict[str, Any]) -> None:
    damaged = console.json("backup", "shop", "--name", "to damage", "--table", "public.customers", "--wait")
    console.ok("verify", damaged["id"], "--files")
    assert console.json("job", "show", damaged["id"])["proof"] == "files"
    root = Path(console.json("repo", "list")[0]["location"])
    packs = sorted(path for path in root.rglob("packs/*/*") if path.is_file())
    kept = {pack: pack.read_bytes() for pack in packs}
    for pack, content in kept.items():
        pack.chmod(0o600)
        pack.write_bytes(bytes(byte ^ 1 for byte in content))
    done = console.run("verify", damaged["id"], "--files", "--json")
    problems = json.loads(done.stdout)["problems"]
    assert done.returncode == 1 and json.loads(done.stderr)["error"] == "damaged"
    assert any("customers" in str(problem) for problem in problems)
    assert "customers" in console.run("verify", damaged["id"], "--files").stdout
    for pack, content in kept.items():
        pack.write_bytes(content)
    assert console.refused(3, "job", "delete", damaged["id"])["error"] == "confirmation_required"
    assert console.json("job", "delete", damaged["id"], "--confirm") == {"id": damaged["id"], "deleted": True}
    assert console.refused(2, "job", "download", damaged["id"], "--output", str(console.folder / "x.sql"))
    # the other backup, which shares chunks with it, is whole
    console.ok("verify", job["id"], "--files")


def test_schedules(console: Console) -> None:
    words = ["schedule", "add", "nightly", "--source", "shop", "--type", "full", "--preset", "daily"]
    made = console.json(*words, "--timezone", "Asia/Riyadh", "--email", "ops@example.com")
    assert (made["cron_expression"], made["timezone"]) == ("0 2 * * *", "Asia/Riyadh")
    assert datetime.fromisoformat(made["next_run_at"]).astimezone().timestamp() > time.time()
    assert console.refused(2, *words)["error"] == "already_exists"
    edited = console.json("schedule", "edit", "nightly", "--cron", "30 3 * * 1", "--retention-days", "none")
    assert (edited["cron_expression"], edited["retention_days"]) == ("30 3 * * 1", None)
    assert console.json("schedule", "disable", "nightly")["is_enabled"] is False
    assert console.json("schedule", "enable", "nightly")["is_enabled"] is True
    assert len(console.json("schedule", "show", "nightly")["next_runs"]) == 5
    assert "nightly" in console.ok("schedule", "list")
    assert console.json("schedule", "delete", "nightly", "--confirm")["deleted"] is True
    assert console.json("schedule", "list") == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (2, ["job", "show", "ffffffff"]),
        (2, ["job", "show", "6f1f7a3e-1111-4000-8000-000000000001"]),
        (2, ["job", "show", "not an id"]),
        (2, ["backup", "no-such-source"]),
        (2, ["source", "test", "no-such-source"]),
        (2, ["source", "add", "shop", "--dsn", "dbname=x"]),
        (2, ["source", "add", "bad", "--dsn", "this is no dsn"]),
        (2, ["repo", "add", "other", "ftp://host/x"]),
        (2, ["schedule", "add", "x", "--source", "shop", "--cron", "61 * * * *"]),
        (2, ["schedule", "add", "x", "--source", "shop", "--cron", "0 2 31 2 *"]),
        (2, ["schedule", "add", "x", "--source", "shop", "--preset", "daily", "--timezone", "Mars/Olympus"]),
        (2, ["schedule", "add", "x", "--source", "shop", "--preset", "daily", "--email", "nobody"]),
        (2, ["restore-log", "show", "ffffffff"]),
        (2, ["restore", "ffffffff", "--in-place", "--confirm"]),
    ],
)
def test_bad_input_is_a_clear_error(status: int, words: list[str], console: Console, job: dict[str, Any]) -> None:
    error = console.refused(status, *words)
    assert "Traceback" not in error["message"] and "defect" not in error["message"]


def test_a_source_that_does_not_answer_fails_the_job(console: Console, pg: TestServer, shop: str) -> None:
    dsn = make_conninfo(host=pg.host, port=1, user="x", password="not-this-one", dbname=shop)
    console.ok("source", "add", "gone", "--dsn", "-", stdin=dsn)
    tried = console.run("source", "test", "gone", "--json")
    assert tried.returncode == 1 and json.loads(tried.stderr)["error"] == "connection_failed"
    assert "not-this-one" not in tried.stdout + tried.stderr
    console.ok("source", "remove", "gone", "--confirm")


def test_a_failed_backup_says_why(console: Console, job: dict[str, Any]) -> None:
    done = console.run("backup", "shop", "--table", "public.no_such_table", "--wait", "--json")
    failed, error = json.loads(done.stdout), json.loads(done.stderr)
    assert done.returncode == 1 and failed["status"] == "failed"
    assert failed["error_message"] == error["message"] and "no_such_table" in error["message"]
    assert "no_such_table" in console.ok("job", "show", failed["id"])


def test_ctrl_c_while_waiting_leaves_the_backup_running(console: Console, pg: TestServer, shop: str) -> None:
    with psycopg.connect(pg.dsn(shop)) as blocker:
        blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = console.start("backup", "shop", "--wait")
        signal.signal(signal.SIGINT, before)
        try:
            deadline = time.monotonic() + 30
            while not (running := console.json("job", "list", "--status", "running")) and time.monotonic() < deadline:
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
        short = running[0]["id"][:8]
        assert process.returncode == 130
        assert f"The backup {short} goes on." in stderr and f"tui-backup job cancel {short}" in stderr
        assert console.json("job", "show", short)["status"] == "running"
        console.ok("job", "cancel", short)
        deadline = time.monotonic() + 10
        while (status := console.json("job", "show", short)["status"]) == "running" and time.monotonic() < deadline:
            time.sleep(0.2)
        assert status == "cancelled"
        blocker.rollback()


def test_the_agent_stops(console: Console, job: dict[str, Any]) -> None:
    assert console.json("agent", "stop") == {"stopped": True}
    assert console.json("agent", "stop") == {"stopped": False}
    assert console.run("agent", "status").returncode == 1
