"""The fidelity database itself: it loads everywhere, and its fingerprint tells equal from different."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.acceptance import fidelity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers import TestServer

LOADERS = {"utf8": fidelity.load, "latin1": fidelity.load_latin1, "sql_ascii": fidelity.load_sql_ascii}


def by_stock_tools(server: TestServer, source: str, target: str, file: Path, encoding: str) -> None:
    """Dump and restore with pg_dump and pg_restore as a reader of PostgreSQL's manual would."""
    dump = [server.program("pg_dump"), "-Fc", "-E", encoding, "-f", str(file), "-d", server.dsn(source)]
    subprocess.run(dump, check=True, timeout=120)
    restore = [server.program("pg_restore"), "--exit-on-error", "-d", server.dsn(target), str(file)]
    subprocess.run(restore, check=True, timeout=120)


each_encoding = pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS.keys())


@each_encoding
def test_loads_on_every_version(pg_any: TestServer, load: Callable[[TestServer, str], None]) -> None:
    name = f"fidelity load {pg_any.major}"
    try:
        load(pg_any, name)
        assert pg_any.execute("SELECT count(*) > 0 FROM pg_class WHERE relkind = 'r' AND oid > 16383", name) == [
            (True,)
        ]
    finally:
        pg_any.drop_database(name)


def comes_back(server: TestServer, load: Callable[[TestServer, str], None], file: Path) -> None:
    """Load, dump and restore by stock tools, and compare."""
    source, target = f"fidelity source {server.major}", f"fidelity target {server.major}"
    try:
        load(server, source)
        before = fidelity.fingerprint(server, source)
        encoding, collate, ctype = before["database"][:3]
        provider = {"locale_provider": "libc"} if server.major >= 15 else {}
        server.create_database(target, encoding=encoding, lc_collate=collate, lc_ctype=ctype, **provider)
        by_stock_tools(server, source, target, file, encoding)
        after = fidelity.fingerprint(server, target)
        # these belong to the database, which pg_restore did not make
        after["database"] = before["database"]
        assert fidelity.differences(before, after) == []
        assert before["tables"]
    finally:
        server.drop_database(source)
        server.drop_database(target)


@each_encoding
def test_stock_tools_bring_it_back(pg: TestServer, load: Callable[[TestServer, str], None], tmp_path: Path) -> None:
    comes_back(pg, load, tmp_path / "dump")


@pytest.mark.slow
@each_encoding
def test_stock_tools_bring_it_back_on_every_version(
    pg_any: TestServer, load: Callable[[TestServer, str], None], tmp_path: Path
) -> None:
    comes_back(pg_any, load, tmp_path / "dump")


def on_database(clause: str) -> str:
    return f"DO $$ BEGIN EXECUTE format('{clause}', current_database()); END $$"


# a change, and what the list of differences must say about it
CHANGES = {
    "UPDATE types.numbers SET i2 = 2 WHERE id = 4": "tables 'types.numbers'",
    "UPDATE texts.beside SET t = ' ' WHERE t = E'\\t'": "tables 'texts.beside'",
    "UPDATE texts.lone_column SET t = NULL WHERE t = ''": "tables 'texts.lone_column'",
    "INSERT INTO shapes.no_columns DEFAULT VALUES": "tables 'shapes.no_columns'",
    "UPDATE parts.by_range SET day = '2021-06-01' WHERE id = 1": "tables 'parts.by_range_2021'",
    "SELECT setval('shapes.set_not_called', 4711, true)": "sequences 'shapes.set_not_called'",
    "SELECT lo_put(470003, 0, 'x')": "large_objects 470003",
    "GRANT SELECT ON LARGE OBJECT 470001 TO PUBLIC": "large_objects 470001",
    "COMMENT ON LARGE OBJECT 470002 IS 'other'": "large_objects 470002",
    "REFRESH MATERIALIZED VIEW seen.empty_until_asked": "tables 'seen.empty_until_asked'",
    "DROP INDEX rules_of.indexed_brin": "first: CREATE INDEX indexed_brin",
    "REVOKE SELECT ON rights.granted FROM fidelity_writer": "second: GRANT INSERT,REFERENCES,DELETE,",
    "ALTER TABLE shapes.typed OWNER TO fidelity_writer": "second: ALTER TABLE shapes.typed OWNER TO fidelity_writer",
    "ALTER TABLE code.acted ENABLE TRIGGER b_disabled": "first: ALTER TABLE code.acted DISABLE TRIGGER b_disabled",
    on_database("REVOKE CONNECT ON DATABASE %I FROM fidelity_reader"): "database: [",
    on_database("ALTER DATABASE %I SET jit = off"): "jit=off",
}


def test_the_fingerprint_sees_each_change(pg: TestServer) -> None:
    name = "fidelity changes"
    try:
        fidelity.load(pg, name)
        before = fidelity.fingerprint(pg, name)
        assert fidelity.differences(before, fidelity.fingerprint(pg, name)) == []
        for statement in CHANGES:
            pg.execute(statement, name)
        found = fidelity.differences(before, fidelity.fingerprint(pg, name))
        for statement, expected in CHANGES.items():
            assert any(expected in line for line in found), statement
    finally:
        pg.drop_database(name)


def test_the_databases_settings_are_hostile(pg: TestServer) -> None:
    name = "fidelity settings"
    try:
        fidelity.load(pg, name)
        with psycopg.connect(pg.dsn(name), autocommit=True) as conn:
            for setting, value in (("array_nulls", "off"), ("client_encoding", "LATIN1"), ("DateStyle", "German, DMY")):
                assert conn.execute(f"SHOW {setting}".encode()).fetchone() == (value,)
        fidelity.make_read_only(pg, name)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            pg.execute("CREATE TABLE public.x ()", name)
    finally:
        pg.drop_database(name)
