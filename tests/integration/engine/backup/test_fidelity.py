"""The fidelity database, read: every row of every table, byte for byte what stock psql copies."""

from __future__ import annotations

import msgspec
import pytest

from tests.acceptance import fidelity
from tests.integration.engine.backup.conftest import Backup, back_up, psql_copies
from tests.servers import TestServer
from tui_backup.engine.logical.cut import select_rows
from tui_backup.engine.logical.names import literal, qualified
from tui_backup.manifest import Contents

LOADERS = {
    "utf8": fidelity.load,
    "latin1": fidelity.load_latin1,
    "sql_ascii": fidelity.load_sql_ascii,
}
_OWN_TABLES = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema)'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""


@pytest.mark.parametrize("kind", LOADERS)
def test_every_row_is_read(pg_any: TestServer, kind: str) -> None:
    dbname = f"fidelity_read_{kind}"
    pg_any.drop_database(dbname)
    LOADERS[kind](pg_any, dbname)
    try:
        backup = back_up(pg_any, dbname, chunk_blocks=4)
        contents = backup.contents
        assert msgspec.json.decode(msgspec.json.encode(contents), type=Contents) == contents
        own = set(pg_any.execute(_OWN_TABLES, dbname))
        assert own == {(table.schema, table.name) for table in contents.tables if table.extension is None}
        assert own
        _assert_rows_are_psqls(pg_any, dbname, backup)
        _assert_counts(pg_any, dbname, contents)
        sequences = pg_any.execute(
            "SELECT schemaname::text, sequencename::text, last_value FROM pg_sequences ORDER BY 1, 2", dbname
        )
        found = {(item.schema, item.name): item for item in contents.sequences}
        for schema, name, last_value in sequences:
            if (schema, name) in found:
                item = found[schema, name]
                assert (item.last_value if item.is_called else None) == last_value
        populated = pg_any.execute("SELECT count(*) FROM pg_matviews WHERE ispopulated", dbname)[0][0]
        assert sum(view.populated for view in contents.materialized_views) == populated
        for item in contents.large_objects.objects:
            size = pg_any.execute(f"SELECT length(lo_get({literal(str(item.oid))}::oid))", dbname)
            assert size == [(item.size_bytes,)]
    finally:
        pg_any.drop_database(dbname)


def _assert_rows_are_psqls(server: TestServer, dbname: str, backup: Backup) -> None:
    tables = [table for table in backup.contents.tables if table.chunks]
    queries = [
        select_rows((table.schema, table.name), table.data_columns, (0, None), table.condition) for table in tables
    ]
    expected = psql_copies(server, dbname, queries, backup.contents.database.encoding)
    for table, rows in zip(tables, expected, strict=True):
        assert b"".join(backup.sink.read(chunk) for chunk in table.chunks) == rows, table.name


def _assert_counts(server: TestServer, dbname: str, contents: Contents) -> None:
    tables = [table for table in contents.tables if table.condition is None]
    counts = " UNION ALL ".join(
        f"SELECT {number}, count(*) FROM ONLY {qualified(table.schema, table.name)}"
        for number, table in enumerate(tables)
    )
    assert sorted(server.execute(counts, dbname)) == [(number, table.rows) for number, table in enumerate(tables)]
