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


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS.keys())
def test_loads_and_stock_tools_bring_it_back(
    pg_any: TestServer, load: Callable[[TestServer, str], None], tmp_path: Path
) -> None:
    source, target = f"fidelity source {pg_any.major}", f"fidelity target {pg_any.major}"
    try:
        load(pg_any, source)
        before = fidelity.fingerprint(pg_any, source)
        encoding, collate, ctype = before["database"][:3]
        provider = {"locale_provider": "libc"} if pg_any.major >= 15 else {}
        pg_any.create_database(target, encoding=encoding, lc_collate=collate, lc_ctype=ctype, **provider)
        by_stock_tools(pg_any, source, target, tmp_path / "dump", encoding)
        after = fidelity.fingerprint(pg_any, target)
        # these belong to the database, which pg_restore did not make
        after["database"] = before["database"]
        assert fidelity.differences(before, after) == []
        assert before["tables"]
    finally:
        pg_any.drop_database(source)
        pg_any.drop_database(target)


CHANGES = {
    "one value": "UPDATE types.numbers SET i2 = 2 WHERE id = 4",
    "one byte of a tab": "UPDATE texts.beside SET t = replace(t, E'\\t', ' ') WHERE t = E'\\t'",
    "null for empty": "UPDATE texts.lone_column SET t = NULL WHERE t = ''",
    "a row twice": "INSERT INTO shapes.no_columns DEFAULT VALUES",
    "a row in another leaf": "UPDATE parts.by_range SET day = '2021-06-01' WHERE id = 1",
    "a sequence": "SELECT setval('shapes.set_not_called', 4711, true)",
    "a large object": "SELECT lo_put(470003, 0, 'x')",
    "a large object's grant": "GRANT SELECT ON LARGE OBJECT 470003 TO PUBLIC",
    "a large object's comment": "COMMENT ON LARGE OBJECT 470002 IS 'other'",
    "a materialised view": "REFRESH MATERIALIZED VIEW seen.empty_until_asked",
    "an index": "DROP INDEX rules_of.indexed_brin",
    "a grant": "REVOKE SELECT ON rights.granted FROM fidelity_writer",
    "an owner": "ALTER TABLE shapes.typed OWNER TO fidelity_writer",
    "a trigger's state": "ALTER TABLE code.acted ENABLE TRIGGER b_disabled",
    "a database's grant": "DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM fidelity_reader', current_database()); END $$",
    "a database's setting": "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = off', current_database()); END $$",
}


def test_the_fingerprint_sees_each_change(pg: TestServer) -> None:
    name = "fidelity changes"
    try:
        fidelity.load(pg, name)
        before = fidelity.fingerprint(pg, name)
        assert fidelity.differences(before, fidelity.fingerprint(pg, name)) == []
        for what, statement in CHANGES.items():
            pg.execute(statement, name)
            after = fidelity.fingerprint(pg, name)
            assert fidelity.differences(before, after) != [], what
            before = after
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
