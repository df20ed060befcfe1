"""What is in a backup: exactly the rows of the snapshot, and everything a restore needs besides."""

from __future__ import annotations

import threading
import time

import pytest

from tests.integration.engine.backup.conftest import Backup, back_up, psql_copies, psql_copy
from tests.servers import TestServer
from tests.unit.engine.fakes import MemorySink
from tui_backup.engine.logical.cut import select_rows

ODD_NAME = 'a."b" %s\n\\t' + "ك" * 20

DATABASE = f"""
CREATE SCHEMA "Odd ""schema"".%";
CREATE TYPE mood AS ENUM ('sad', 'it''s fine');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TYPE pair AS (a text, b positive);
CREATE TABLE everything (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Text" text, f float8, n numeric, ts timestamptz, d date,
    i interval, b bytea, j jsonb, a text[], m mood, p pair, mo money, r int4range, mr int4multirange, gone int,
    twice bigint GENERATED ALWAYS AS (n::bigint * 2) STORED);
ALTER TABLE everything DROP COLUMN gone;
INSERT INTO everything ("Text", f, n, ts, d, i, b, j, a, m, p, mo, r, mr) VALUES
    (E'tab\\t cr\\r lf\\n back\\\\ \\\\.', 'NaN', 1e20::numeric / 1e10, 'infinity', '4713-01-01 BC',
     '-1 mon 3 days 1 us', '\\x00ff', '{{"k": [1, null]}}', '{{"a b", NULL, "{{}}"}}', 'it''s fine',
     ('x', 2), 12.34, '[1,5)', '{{[1,2),[4,9)}}'),
    (E'\\\\.', '-Infinity', 1, '-infinity', 'infinity', NULL, '', 'null', '{{}}', 'sad',
     NULL, -0.01, 'empty', '{{}}'),
    (NULL, 0.1::float8 + 0.2, 3, '0044-03-15 12:00 BC', 'epoch', '178000000 years', NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL);
INSERT INTO everything ("Text", n) SELECT repeat(md5(i::text), 20), i FROM generate_series(1, 30000) i;
CREATE TABLE "Odd ""schema"".%"."{ODD_NAME.replace('"', '""')}" ("co""l.umn" text, "%" int);
INSERT INTO "Odd ""schema"".%"."{ODD_NAME.replace('"', '""')}" VALUES ('x', 1);
CREATE TABLE no_rows (a int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE parent (a int);
CREATE TABLE child (b text) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 'two');
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE part_1 (v text, dropped int, k int);
ALTER TABLE part_1 DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION part_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE part_rest PARTITION OF parted DEFAULT;
INSERT INTO parted VALUES (1, 'one'), (100, 'hundred');
CREATE UNLOGGED TABLE unlogged (a int);
INSERT INTO unlogged VALUES (7);
"""


def _assert_chunks_are_psql_copies(server: TestServer, dbname: str, backup: Backup, encoding: str) -> None:
    chunks = [(table, chunk) for table in backup.contents.tables for chunk in table.chunks]
    assert len(chunks) >= 2
    queries = [
        select_rows((table.schema, table.name), table.data_columns, (chunk.first_block, chunk.end_block))
        for table, chunk in chunks
    ]
    for (table, chunk), expected in zip(chunks, psql_copies(server, dbname, queries, encoding), strict=True):
        assert backup.sink.read(chunk) == expected, table.name
        assert chunk.raw_bytes == len(expected)
        assert chunk.rows == expected.count(b"\n"), table.name


def test_every_chunk_is_what_psql_copies(pg_any: TestServer, any_database: str) -> None:
    pg_any.execute(DATABASE, any_database)
    backup = back_up(pg_any, any_database, chunk_blocks=64)
    assert len(backup.table("everything").chunks) > 5
    assert backup.table("everything").rows == 30003
    assert backup.table("everything").data_columns[-1] == "mr"
    assert backup.rows("no_columns") == b"\n\n"
    assert backup.table("no_rows").chunks == []
    assert backup.rows("parent") == b"1\n"
    assert backup.rows("child") == b"2\ttwo\n"
    assert backup.rows("part_1") == b"one\t1\n"
    assert backup.table("part_1").parent == ("public", "parted")
    assert backup.rows("part_rest") == b"100\thundred\n"
    assert backup.rows("unlogged") == b"7\n"
    assert backup.rows(ODD_NAME.encode()[:63].decode("utf-8", "ignore"), 'Odd "schema".%') == b"x\t1\n"
    _assert_chunks_are_psql_copies(pg_any, any_database, backup, "UTF8")
    assert backup.counts.rows == backup.contents.rows == 30003 + 1 + 2 + 1 + 1 + 2 + 1
    assert backup.counts.tables_done == backup.counts.tables_total == len(backup.contents.tables)
    assert backup.counts.bytes_ == backup.counts.bytes_total == sum(t.raw_bytes for t in backup.contents.tables)


def test_bytes_that_are_no_text_survive_in_sql_ascii(pg: TestServer) -> None:
    dbname = pg.create_database(encoding="SQL_ASCII", locale="C", template="template0")
    try:
        with pg.connect(dbname) as conn:
            conn.execute("SET client_encoding = 'SQL_ASCII'")
            conn.execute(b"CREATE TABLE t (a text, b text DEFAULT E'\\xfe'); CREATE TABLE \"\xd9\x83\" (a text)")
            conn.execute(b"INSERT INTO t VALUES ('\xff\xc3('), ('\xd9\x83')")
            conn.execute(b"INSERT INTO \"\xd9\x83\" VALUES ('\x80')")
            conn.execute(b"ALTER TABLE t ADD late text DEFAULT '\xe9'")
            conn.execute(f"COMMENT ON DATABASE {dbname} IS ".encode() + b"'\xe9t\xe9'")
        backup = back_up(pg, dbname)
        assert backup.rows("t") == b"\xff\xc3(\t\xfe\t\xe9\n\xd9\x83\t\xfe\t\xe9\n"
        assert backup.rows("ك") == b"\x80\n"
        assert backup.contents.database.encoding == "SQL_ASCII"
        assert backup.contents.database.comment == r"\xe9t\xe9"
        _assert_chunks_are_psql_copies(pg, dbname, backup, "SQL_ASCII")
    finally:
        pg.drop_database(dbname)


def test_latin1_stays_latin1_also_in_names(pg_any: TestServer) -> None:
    dbname = pg_any.create_database(encoding="LATIN1", locale="C", template="template0")
    try:
        pg_any.execute('CREATE TABLE "été" ("naïve" text); INSERT INTO "été" VALUES (\'çà\')', dbname)
        backup = back_up(pg_any, dbname)
        assert backup.rows("été") == b"\xe7\xe0\n"
        assert backup.contents.database.encoding == "LATIN1"
        assert [column.name for column in backup.table("été").columns] == ["naïve"]
    finally:
        pg_any.drop_database(dbname)


def test_writes_during_the_backup_do_not_show(pg: TestServer, database: str) -> None:
    pg.execute(
        """
        CREATE TABLE account_a (id int PRIMARY KEY, amount int, pad text);
        CREATE TABLE account_b (id int PRIMARY KEY, amount int, pad text);
        INSERT INTO account_a SELECT i, 1000, repeat('x', 500) FROM generate_series(1, 2000) i;
        INSERT INTO account_b SELECT * FROM account_a;
        """,
        database,
    )
    stop_writing = threading.Event()
    moved = 0

    def move() -> None:
        nonlocal moved
        with pg.connect(database) as conn:
            while not stop_writing.is_set():
                number = moved % 2000 + 1
                with conn.transaction():
                    conn.execute("UPDATE account_a SET amount = amount - 7 WHERE id = %s", [number])
                    conn.execute("UPDATE account_b SET amount = amount + 7 WHERE id = %s", [number])
                moved += 1

    writer = threading.Thread(target=move)
    writer.start()
    try:
        while moved < 20:
            time.sleep(0.01)
        before = moved
        backup = back_up(pg, database, sink=MemorySink(lambda _: time.sleep(0.01)), chunk_blocks=8)
        assert moved > before + 20, "the writer did not write during the backup"
    finally:
        stop_writing.set()
        writer.join()
    amounts = {
        name: {int(row[0]): int(row[1]) for row in (line.split(b"\t") for line in backup.rows(name).splitlines())}
        for name in ("account_a", "account_b")
    }
    assert len(amounts["account_a"]) == len(amounts["account_b"]) == 2000
    assert all(amounts["account_a"][key] + amounts["account_b"][key] == 2000 for key in range(1, 2001))


def test_money_is_read_under_the_databases_lc_monetary(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE m (a money); INSERT INTO m VALUES (1.5)", database)
    backup = back_up(pg, database)
    setting = pg.execute("SHOW lc_monetary", database)[0][0]
    assert backup.contents.server.lc_monetary == setting
    assert backup.rows("m") == b"$1.50\n"


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_does_not_show(pg: TestServer, database: str, workers: int) -> None:
    pg.execute("CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 20000) i", database)
    backup = back_up(pg, database, workers=workers, chunk_blocks=16)
    assert backup.rows("t") == psql_copy(pg, database, "SELECT * FROM public.t", "UTF8")
    assert backup.table("t").blocks == sum(1 for _ in range(backup.table("t").blocks))


def test_the_slow_line_gives_the_same_bytes(pg: TestServer, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pg.execute("CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 5000) i", database)
    fast = back_up(pg, database)
    monkeypatch.setattr("tui_backup.engine.logical.lines._asyncpg_can", lambda parameters: False)
    slow = back_up(pg, database)
    assert slow.rows("t") == fast.rows("t")
    assert slow.table("t").rows == fast.table("t").rows == 5000


def test_over_a_unix_socket(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE t AS SELECT 1 AS a", database)
    assert back_up(pg, database, conninfo=pg.socket_dsn(database)).rows("t") == b"1\n"
