"""The comparison finds what differs, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.engine.restore.conftest import Shop
from tests.integration.engine.restore.helpers import Recorder, Repository, back_up, dropped, restore
from tests.servers import TestServer
from tui_backup.engine.logical.archive import Archive
from tui_backup.engine.logical.choose import choose_tables
from tui_backup.engine.logical.compare import CompareReport, compare_database
from tui_backup.engine.logical.load import plan_parts
from tui_backup.engine.logical.target import Target
from tui_backup.engine.tools import find_tools
from tui_backup.model import StopFlag


def _compare(shop: Shop, database: str, *tables: str) -> CompareReport:
    stop = StopFlag()
    tools = find_tools(shop.contents.server.major, needs_tls=False)
    with Archive(shop.contents.schema, shop.repository.reader, tools, stop) as archive:
        return compare_database(
            shop.contents,
            shop.repository.reader,
            Target(shop.server.dsn()),
            database,
            chosen=choose_tables(shop.contents, tables),
            archive=archive,
            progress=Recorder(),
            stop=stop,
        )


def test_the_source_itself_is_identical(shop: Shop) -> None:
    report = _compare(shop, shop.name)
    assert report.identical
    assert report.rows == shop.contents.rows
    assert report.definitions == "texts"


def test_moved_rows_are_the_same_rows(shop: Shop) -> None:
    shop.rows("SET session_replication_role = replica; UPDATE s.orders SET note = note WHERE id < 100")
    report = _compare(shop, shop.name)
    assert report.identical
    assert report.methods["sorted"] == 1


@pytest.mark.parametrize(
    ("change", "kind", "name"),
    [
        ("UPDATE s.orders SET note = 'x' WHERE id = 4999", "table", "s.orders"),
        ("DELETE FROM s.lines WHERE n = 2000", "table", "s.lines"),
        ("INSERT INTO s.log VALUES (900, now())", "table", "s.log_2"),
        ("INSERT INTO s.fired VALUES (NULL)", "table", "s.fired"),
        ("UPDATE s.log SET id = 0 WHERE id = 1", "table", "s.log_1"),
        ("SELECT nextval('s.lines_n_seq')", "sequence", "s.lines_n_seq"),
        ("SELECT lo_put(4711, 599999, 'x')", "large_objects", "large objects"),
        ("SELECT lo_put(4711, 600000, 'x')", "large_objects", "large objects"),
        ("SELECT lo_from_bytea(0, 'x')", "large_objects", "large objects"),
        ("SELECT lo_unlink(4711)", "large_objects", "large objects"),
        ("ALTER TABLE s.orders ALTER amount SET DEFAULT 1", "definition", "TABLE s.orders"),
        ("CREATE INDEX late ON s.orders (note)", "definition", "INDEX s.late"),
        ("DROP VIEW s.totals CASCADE", "definition", "VIEW s.totals"),
        ("GRANT SELECT ON s.people TO PUBLIC", "definition", "ACL s.TABLE people"),
        ("ALTER TABLE s.orders ENABLE TRIGGER off", "definition", "TRIGGER s.orders off"),
    ],
)
def test_differences_are_named(shop: Shop, change: str, kind: str, name: str) -> None:
    shop.rows(f"SET session_replication_role = replica; {change}")
    report = _compare(shop, shop.name)
    assert not report.identical
    assert (kind, name) in [(difference.kind, difference.name) for difference in report.differences]
    assert name in report.summary()
    others = {d.name for d in report.differences} - {name}
    assert others <= {"MATERIALIZED VIEW s.sums"}


def test_the_first_differing_chunk_is_named(shop: Shop) -> None:
    shop.rows("SET session_replication_role = replica; UPDATE s.orders SET note = 'x' WHERE id = 4999")
    (difference,) = _compare(shop, shop.name).differences
    table = next(table for table in shop.contents.tables if table.name == "orders")
    assert len(table.chunks) > 3
    assert difference.chunk == len(table.chunks) - 1


def test_a_table_loaded_by_several_connections(pg: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are told apart by their loader, or sorted."""
    monkeypatch.setattr("tui_backup.engine.logical.load._SPLIT_BYTES", 1 << 16)
    with dropped(pg, "split", "split_restored"):
        pg.create_database("split")
        pg.execute("CREATE TABLE t AS SELECT g AS id, md5(g::text) AS m FROM generate_series(1, 60000) g", "split")
        repository = Repository(tmp_path / "repository")
        contents = back_up(pg, "split", repository, chunk_blocks=32)
        parts = plan_parts(contents.tables, 4)
        assert len(parts) == 4
        assert not any(part.whole for part in parts)
        result = restore(pg, contents, repository, "split_restored", jobs=4)
        assert result.compare is not None
        assert result.compare.identical
        assert result.compare.methods.keys() <= {"loaders", "sorted"}
        assert pg.execute(
            "SELECT count(DISTINCT id), count(*), count(DISTINCT xmin::text) FROM t", "split_restored"
        ) == [(60000, 60000, 4)]


def test_hash_partitions_that_move(pg: TestServer, tmp_path: Path) -> None:
    """Rows hashed by an enum may fall into another partition of the copy; the root's rows are the same."""
    with dropped(pg, "hashed", "hashed_restored"):
        pg.create_database("hashed")
        pg.execute(
            "CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f');"
            "CREATE TABLE h (m mood, n int) PARTITION BY HASH (m);"
            "CREATE TABLE h0 PARTITION OF h FOR VALUES WITH (MODULUS 3, REMAINDER 0);"
            "CREATE TABLE h1 PARTITION OF h FOR VALUES WITH (MODULUS 3, REMAINDER 1);"
            "CREATE TABLE h2 PARTITION OF h FOR VALUES WITH (MODULUS 3, REMAINDER 2);"
            "INSERT INTO h SELECT ('{a,b,c,d,e,f}'::mood[])[g % 6 + 1], g FROM generate_series(1, 600) g",
            "hashed",
        )
        repository = Repository(tmp_path / "repository")
        contents = back_up(pg, "hashed", repository)
        assert all(table.load_via == ("public", "h") for table in contents.tables if re.match("h[0-9]", table.name))
        result = restore(pg, contents, repository, "hashed_restored")
        assert result.compare is not None
        assert result.compare.identical
        total = "SELECT m::text, count(*), sum(n) FROM h GROUP BY 1 ORDER BY 1"
        assert pg.execute(total, "hashed") == pg.execute(total, "hashed_restored")
