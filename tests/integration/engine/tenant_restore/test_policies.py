"""The source's own row-level security picks the rows: of the backup, and of what a restore may touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.engine.tenant_restore.by_hand import Backup, back_up_really, picture, restore, settings_of
from tests.servers import TestServer
from tui_backup.errors import NotIdenticalError, TuiBackupError

SCHEMA = """
CREATE TABLE docs (id int PRIMARY KEY, owner text, hidden bool NOT NULL DEFAULT false, v int);
CREATE TABLE parts (id int PRIMARY KEY, doc int NOT NULL REFERENCES docs, tenant_id text, v int);
INSERT INTO docs SELECT g, CASE g % 2 WHEN 0 THEN 'acme' ELSE 'beta' END, g % 10 = 0, 0 FROM generate_series(1, 40) g;
INSERT INTO parts SELECT g, g, CASE g % 2 WHEN 0 THEN 'acme' ELSE 'beta' END, 0 FROM generate_series(1, 40) g;
ALTER TABLE docs ENABLE ROW LEVEL SECURITY; ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
CREATE ROLE {app} NOLOGIN; GRANT SELECT ON docs, parts TO {app};
CREATE POLICY mine ON docs TO {app} USING (owner = current_setting('app.tenant') AND NOT hidden);
CREATE POLICY mine ON parts TO {app} USING (doc IN (SELECT id FROM docs));
"""


@pytest.fixture
def guarded(pg: TestServer, database: str) -> Iterator[tuple[str, Backup]]:
    app = f"app_{database}"
    pg.execute(SCHEMA.format(app=app), database)
    settings = settings_of(rows_by="policies", role=app, setting="app.tenant")
    yield database, back_up_really(pg, database, "acme", settings)
    pg.execute(f"DROP OWNED BY {app} CASCADE; DROP ROLE {app}", database)


def _others(pg: TestServer, name: str) -> dict[str, Any]:
    """Rows that the policies do not show to acme: beta's, and those that are hidden."""
    found = picture(pg, name)
    return {
        table: {place: text for place, text in rows.items() if int(text[1:].split(",")[0]) % 10 in (0, 1, 3, 5, 7, 9)}
        for table, rows in found.items()
    }


def test_only_what_the_policies_show_is_touched(pg: TestServer, guarded: tuple[str, Backup]) -> None:
    name, backup = guarded
    assert backup.contents.rows == 32
    good = pg.execute("SELECT * FROM docs ORDER BY id", name), pg.execute("SELECT * FROM parts ORDER BY id", name)
    pg.execute(
        "UPDATE parts SET v = 1 WHERE id IN (2, 4); DELETE FROM parts WHERE id IN (6, 8);"
        "DELETE FROM docs WHERE id = 6;"
        "UPDATE docs SET v = 2 WHERE id = 12; INSERT INTO docs VALUES (102, 'acme', false, 0)",
        name,
    )
    before = _others(pg, name)
    result = restore(pg, name, backup)
    assert {row.table: row.changes for row in result.plan.tables} == {"public.docs": 3, "public.parts": 4}
    assert (
        pg.execute("SELECT * FROM docs ORDER BY id", name),
        pg.execute("SELECT * FROM parts ORDER BY id", name),
    ) == good
    assert _others(pg, name) == before


def test_a_row_that_the_policies_would_not_show_is_found_before_the_commit(
    pg: TestServer, guarded: tuple[str, Backup]
) -> None:
    name, backup = guarded
    before = picture(pg, name)
    with pytest.raises((NotIdenticalError, TuiBackupError)):
        restore(pg, name, backup.with_rows("docs", lambda rows: rows + b"901\tbeta\tf\t0\n"))
    assert picture(pg, name) == before
