"""Incrementals by commands alone: little is read, each is complete, and nothing that happens to a parent harms one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from tests.integration.cli.console import Console
from tests.servers import TestServer

ROWS = 60_000


@pytest.fixture
def shop(pg: TestServer) -> Iterator[str]:
    name = pg.create_database()
    pg.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, note text);"
        f"INSERT INTO orders SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, {ROWS}) g",
        name,
    )
    yield name
    for (database,) in pg.execute(f"SELECT datname FROM pg_database WHERE datname LIKE '{name}%'"):
        pg.drop_database(str(database))


@pytest.fixture
def console(pg: TestServer, shop: str) -> Iterator[Console]:
    made = Console()
    try:
        made.env["TUI_BACKUP_TOOLS_BIN_DIR"] = str(pg.bin_dir)
        made.ok("init")
        dsn = make_conninfo(host=pg.host, port=pg.port, user=pg.superuser, password=pg.password, dbname=shop)
        made.ok("source", "add", "shop", "--dsn", "-", stdin=dsn + "\n")
        yield made
    finally:
        made.close()


def _back_up(console: Console, kind: str = "incremental") -> dict[str, Any]:
    job: dict[str, Any] = console.json("backup", "shop", "--type", kind, "--wait")
    assert job["status"] == "completed"
    return job


def _came_back(console: Console, pg: TestServer, job: dict[str, Any], shop: str) -> None:
    copy = f"{shop}_copy"
    log = console.json("restore", job["id"], "--into-database", copy, "--confirm", "--wait")
    assert log["metadata"]["compare"]["identical"] is True
    statement = "SELECT count(*), md5(string_agg(id || note, ',' ORDER BY id)) FROM orders"
    assert pg.execute(statement, copy) == pg.execute(statement, shop)
    pg.drop_database(copy)


def _packs(console: Console) -> list[Path]:
    folder = Path(console.json("repo", "list")[0]["location"])
    return sorted(folder.glob("*/packs/*/*"), key=lambda path: path.stat().st_mtime)


def _stored_as_it_is(console: Console) -> dict[str, Any]:
    """What `stats` says of the source, which is what lies in the repository."""
    figures = console.json("stats")
    (row,) = figures["sources"]
    folder = Path(console.json("repo", "list")[0]["location"])
    real = sum(path.stat().st_size for path in (*_packs(console), *folder.glob("*/manifests/*")))
    assert row["stored_bytes"] == figures["total"]["stored_bytes"] == figures["safety"]["stored_bytes"] == real
    return row


@pytest.mark.slow
def test_the_life_of_incrementals(console: Console, pg: TestServer, shop: str) -> None:
    first = _back_up(console)
    assert "no earlier backup" in first["metadata"]["read_everything_because"]
    assert first["parent_job_id"] is None
    pg.execute("INSERT INTO orders SELECT g, 'new' FROM generate_series(1000000, 1000100) g", shop)
    second = _back_up(console)
    facts = second["metadata"]
    assert second["parent_job_id"] == first["id"]
    assert facts["read_everything_because"] is None
    assert 1 <= facts["chunks_read"] <= 2 <= facts["chunks_reused"]
    assert facts["bytes_read"] < first["backup_size"] / 2
    assert facts["bytes_stored"] < first["metadata"]["bytes_stored"] / 2
    assert (second["rows_count"], second["tables_count"]) == (ROWS + 101, 1)
    shown = console.ok("job", "show", second["id"])
    assert f"Took over {facts['chunks_reused']} of" in shown

    row = _stored_as_it_is(console)
    assert (row["good_backups"], row["newest_bytes"]) == (2, second["backup_size"])
    assert row["logical_bytes"] == first["backup_size"] + second["backup_size"]
    assert row["ratio"] > first["backup_size"] / first["metadata"]["bytes_stored"], "shared packs count once"

    # the parent goes: the child is a backup of its own
    console.ok("job", "delete", first["id"], "--confirm")
    assert _stored_as_it_is(console)["good_backups"] == 1
    assert console.json("verify", second["id"], "--files")["problems"] == []
    _came_back(console, pg, second, shop)
    third = _back_up(console)
    assert third["parent_job_id"] == second["id"]
    assert third["metadata"]["chunks_read"] == 0


@pytest.mark.slow
def test_damage_is_not_inherited(console: Console, pg: TestServer, shop: str) -> None:
    first = _back_up(console, "full")
    pack = max(_packs(console), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.write_bytes(data)
    assert console.run("verify", first["id"], "--files").returncode == 1
    second = _back_up(console)
    assert second["metadata"]["chunks_read"] > 0, "what was found damaged is read again"
    assert console.json("verify", second["id"], "--files")["problems"] == []
    _came_back(console, pg, second, shop)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["manifest", "pack"])
def test_what_the_parent_names_and_the_repository_lacks(console: Console, pg: TestServer, shop: str, what: str) -> None:
    first = _back_up(console, "full")
    folder = Path(console.json("repo", "list")[0]["location"])
    if what == "manifest":
        (folder / first["storage_path"]).unlink()
    else:
        max(_packs(console), key=lambda path: path.stat().st_size).unlink()
    second = _back_up(console)
    assert second["metadata"]["chunks_reused"] == 0 or what == "pack"
    if what == "manifest":
        assert "cannot be read" in second["metadata"]["read_everything_because"]
        assert second["parent_job_id"] is None
    assert console.json("verify", second["id"], "--files")["problems"] == []
    _came_back(console, pg, second, shop)


@pytest.mark.slow
def test_a_schedule_of_incrementals_and_chosen_tables_have_parents_of_their_own(
    console: Console, pg: TestServer, shop: str
) -> None:
    _back_up(console, "full")
    part = console.json("backup", "shop", "--type", "incremental", "--table", "orders", "--wait")
    assert "no earlier backup of this source and scope" in part["metadata"]["read_everything_because"]
    again = console.json("backup", "shop", "--type", "incremental", "--table", "orders", "--wait")
    assert (again["parent_job_id"], again["metadata"]["chunks_read"]) == (part["id"], 0)
    made = console.json("schedule", "add", "nightly", "--source", "shop", "--type", "incremental", "--preset", "daily")
    assert made["job_type"] == "incremental"
