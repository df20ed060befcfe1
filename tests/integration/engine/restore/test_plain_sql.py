"""The plain SQL file: stock psql loads it, and then everything is there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance import fidelity
from tests.integration.engine.restore.conftest import Shop
from tests.integration.engine.restore.helpers import Recorder, Repository, back_up, dropped
from tests.servers import TestServer
from tui_backup.engine.logical.plain_sql import write_plain_sql
from tui_backup.errors import CancelledError
from tui_backup.manifest import Contents
from tui_backup.model import StopFlag


def _write(contents: Contents, repository: Repository, path: Path, *tables: str) -> None:
    with path.open("wb") as out:
        write_plain_sql(contents, repository.reader, out, tables=tables, progress=Recorder(), stop=StopFlag())


def _psql(server: TestServer, database: str, path: Path) -> None:
    answer = subprocess.run(
        [server.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", str(path)],
        env={
            "PATH": os.environ["PATH"],
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.superuser,
            "PGPASSWORD": server.password,
            "PGDATABASE": database,
            # a user's terminal may be in another encoding than the database
            "PGCLIENTENCODING": "UTF8",
        },
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr.decode(errors="replace")[-2000:]


@pytest.mark.slow
def test_psql_loads_the_fidelity_database_on_every_version(pg_any: TestServer, tmp_path: Path) -> None:
    _loads(pg_any, "utf8", tmp_path)


@pytest.mark.parametrize("kind", ["utf8", "latin1", "sql_ascii"])
def test_psql_loads_the_fidelity_database(pg: TestServer, kind: str, tmp_path: Path) -> None:
    _loads(pg, kind, tmp_path)


def _loads(server: TestServer, kind: str, tmp_path: Path) -> None:
    source, copy = f"plain_{kind}", f"plain_{kind}_loaded"
    load = {"utf8": fidelity.load, "latin1": fidelity.load_latin1, "sql_ascii": fidelity.load_sql_ascii}[kind]
    repository = Repository(tmp_path / "repository")
    with dropped(server, source, copy):
        load(server, source)
        contents = back_up(server, source, repository)
        _write(contents, repository, tmp_path / "plain.sql")
        database = contents.database
        provider = {"locale_provider": "libc"} if server.major >= 15 else {}
        server.create_database(
            copy, encoding=database.encoding, lc_collate=database.lc_collate, lc_ctype=database.lc_ctype, **provider
        )
        _psql(server, copy, tmp_path / "plain.sql")
        before, after = fidelity.fingerprint(server, source), fidelity.fingerprint(server, copy)
        assert after["tables"] == before["tables"]
        assert after["sequences"] == before["sequences"]
        assert after["large_objects"] == before["large_objects"]
        assert after["schema"] == before["schema"]


def test_chosen_tables(shop: Shop, tmp_path: Path) -> None:
    _write(shop.contents, shop.repository, tmp_path / "plain.sql", "s.orders")
    shop.server.create_database("shop_restored")
    _psql(shop.server, "shop_restored", tmp_path / "plain.sql")
    rows = shop.server.execute("SELECT (SELECT count(*) FROM s.orders), (SELECT count(*) FROM s.sums)", "shop_restored")
    assert rows == [(5000, 200)]
    assert shop.server.execute("SELECT to_regclass('s.people')", "shop_restored") == [(None,)]


def test_a_line_that_is_only_the_end_mark(shop: Shop, tmp_path: Path) -> None:
    """COPY text doubles backslashes, so a row of data can never end the block."""
    shop.rows(
        "CREATE TABLE s.marks (t text);INSERT INTO s.marks VALUES (E'\\\\.'), (E'a\\n\\\\.\\nb'), ('\\.'), (''), (NULL)"
    )
    repository = Repository(tmp_path / "repository")
    contents = back_up(shop.server, shop.name, repository, tables=["s.marks"])
    _write(contents, repository, tmp_path / "plain.sql")
    shop.server.create_database("shop_restored")
    _psql(shop.server, "shop_restored", tmp_path / "plain.sql")
    query = "SELECT t FROM s.marks ORDER BY t"
    assert shop.server.execute(query, "shop_restored") == shop.rows(query)


def test_a_stop(shop: Shop, tmp_path: Path) -> None:
    stop = StopFlag()
    stop.set(CancelledError("stopped by the test"))
    with (tmp_path / "plain.sql").open("wb") as out, pytest.raises(CancelledError):
        write_plain_sql(shop.contents, shop.repository.reader, out, progress=Recorder(), stop=stop)
