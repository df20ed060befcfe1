"""A description of a database's contents by stock tools, for comparing a source with what was restored."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any, TypedDict

from psycopg import sql

if TYPE_CHECKING:
    import psycopg

    from tests.servers import TestServer

_DUMP_TIMEOUT_S = 180
# what the database's own settings could change in the text that is compared
_SETTINGS = {
    "search_path": "",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_isolation": "repeatable read",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "lc_monetary": "C",
}
# pg_dump sets the others itself
_DUMP_SETTINGS = ("quote_all_identifiers=off", "standard_conforming_strings=on", "search_path=", "timezone=UTC")

# pg_dump cannot keep the order of columns in a table that was made first and told to inherit later: the columns of
# its parents come first in the copy
_INHERITING = re.compile(
    r"(?P<head>^CREATE [A-Z ]*TABLE [^\n]+ \(\n)(?P<columns>(?:    [^\n]*\n)+?)(?P<tail>\)\nINHERITS )", re.M
)

# leaves of a table that is hashed by an enum: rows may change their leaf on a restore, the root's rows may not
_TABLES = """
WITH RECURSIVE by_enum AS (
  SELECT p.partrelid AS oid
  FROM pg_partitioned_table AS p
  WHERE p.partstrat = 'h' AND EXISTS (
    SELECT FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs) AND t.typtype = 'e')
  UNION
  SELECT i.inhrelid FROM pg_inherits AS i JOIN by_enum AS b ON b.oid = i.inhparent
)
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relispopulated
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND (c.relkind <> 'p' OR c.oid IN (SELECT oid FROM by_enum))
  AND (c.relkind = 'p' OR c.oid NOT IN (SELECT oid FROM by_enum))
ORDER BY 2, 3
"""
_COLUMNS = """
SELECT a.attname FROM pg_attribute AS a
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname
"""
_SEQUENCES = """
SELECT n.nspname, c.relname, c.relpersistence::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' ORDER BY 1, 2
"""
_LARGE_OBJECTS = """
SELECT m.oid::bigint, r.rolname, md5(lo_get(m.oid)), obj_description(m.oid, 'pg_largeobject'),
  (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(m.lomacl) AS a)
FROM pg_largeobject_metadata AS m JOIN pg_roles AS r ON r.oid = m.lomowner ORDER BY 1
"""
_DATABASE = """
SELECT pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, r.rolname, d.datconnlimit,
  shobj_description(d.oid, 'pg_database'),
  (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(d.datacl) AS a),
  (SELECT array_agg(concat_ws(': ', coalesce(s.setrole::regrole::text, ''), c) ORDER BY s.setrole::regrole::text, c)
   FROM pg_db_role_setting AS s, unnest(s.setconfig) AS c WHERE s.setdatabase = d.oid)
FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba WHERE d.datname = current_database()
"""


class Fingerprint(TypedDict):
    """Two databases with equal fingerprints hold the same."""

    schema: str
    tables: dict[str, tuple[str, int, str]]
    sequences: dict[str, tuple[str, int, bool]]
    large_objects: dict[int, tuple[Any, ...]]
    database: tuple[Any, ...]


def fingerprint(server: TestServer, dbname: str, *, tools: TestServer | None = None) -> Fingerprint:
    """Describe a database.

    Args:
        server: where it is.
        dbname: its name; not part of the description.
        tools: whose pg_dump describes the schema; must be the same for two databases that are compared.

    Returns:
        Schema by pg_dump; per table and populated materialised view its kind, row count and a hash over its sorted
        rows; sequences' values; large objects with owner, grants, comment and a hash; the database's own facts.
    """
    with server.connect(dbname) as conn:
        encoding = conn.execute("SHOW server_encoding").fetchone()
        assert encoding is not None
        for name, value in _SETTINGS.items():
            conn.execute("SELECT set_config(%s, %s, false)", (name, value))
        database = conn.execute(_DATABASE).fetchone()
        assert database is not None
        return Fingerprint(
            schema=schema_text(tools or server, server, dbname, encoding[0]),
            tables=_tables(conn, encoding[0]),
            sequences=_sequences(conn),
            large_objects={row[0]: tuple(row[1:]) for row in conn.execute(_LARGE_OBJECTS)},
            database=tuple(database),
        )


def schema_text(tools: TestServer, server: TestServer, dbname: str, encoding: str) -> str:
    """pg_dump's plain schema in the database's own encoding, without the lines that differ from run to run."""
    command = [tools.program("pg_dump"), "--schema-only", "--no-password"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    answer = subprocess.run(
        command,
        env={
            **environment,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.superuser,
            "PGPASSWORD": server.password,
            "PGDATABASE": dbname,
            "PGCLIENTENCODING": encoding,
            "PGOPTIONS": " ".join(f"-c {setting}" for setting in _DUMP_SETTINGS),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_DUMP_TIMEOUT_S,
    )
    assert answer.returncode == 0, answer.stderr.decode(errors="replace")
    lines = answer.stdout.decode(errors="surrogateescape").split("\n")
    left_out = ("-- Dumped ", "\\restrict ", "\\unrestrict ")
    text = "\n".join(line for line in lines if not line.startswith(left_out))
    return _INHERITING.sub(_sorted_columns, text)


def _sorted_columns(found: re.Match[str]) -> str:
    lines = sorted(line.rstrip(",") for line in found["columns"].split("\n"))
    return found["head"] + "\n".join(lines) + found["tail"]


def differences(one: Fingerprint, other: Fingerprint) -> list[str]:
    """What differs, for people; empty when the two are equal."""
    found: list[str] = []
    for part in ("tables", "sequences", "large_objects"):
        for key in sorted({*one[part], *other[part]}, key=str):
            if one[part].get(key) != other[part].get(key):
                found.append(f"{part} {key!r}: {one[part].get(key)} / {other[part].get(key)}")
    if one["database"] != other["database"]:
        pairs = zip(one["database"], other["database"], strict=True)
        found += [f"database: {a!r} / {b!r}" for a, b in pairs if a != b]
    if one["schema"] != other["schema"]:
        here, there = one["schema"].split("\n"), other["schema"].split("\n")
        found += [f"schema only in the first: {line}" for line in here if line not in set(there)][:40]
        found += [f"schema only in the second: {line}" for line in there if line not in set(here)][:40]
        found.append("schema: the texts differ")
    return found


def _tables(conn: psycopg.Connection[Any], encoding: str) -> dict[str, tuple[str, int, str]]:
    found: dict[str, tuple[str, int, str]] = {}
    for oid, schema, name, kind, is_populated in conn.execute(_TABLES).fetchall():
        if not is_populated:
            found[f"{schema}.{name}"] = (kind, -1, "not populated")
            continue
        columns = [sql.Identifier(row[0]) for row in conn.execute(_COLUMNS, (oid,)).fetchall()]
        only = sql.SQL("" if kind == "p" else "ONLY ")
        statement = sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT").format(
            sql.SQL(", ").join(columns), only, sql.Identifier(schema, name)
        )
        # names are read as text, rows as the bytes they are
        conn.execute(sql.SQL("SET client_encoding = {}").format(encoding))
        with conn.cursor().copy(statement) as copy:
            # COPY escapes line ends inside values, so a line is a row
            rows = b"".join(bytes(block) for block in copy).split(b"\n")[:-1]
        conn.execute("SET client_encoding = UTF8")
        digest = hashlib.md5(b"\n".join(sorted(rows)), usedforsecurity=False).hexdigest()
        found[f"{schema}.{name}"] = (kind, len(rows), digest)
    return found


def _sequences(conn: psycopg.Connection[Any]) -> dict[str, tuple[str, int, bool]]:
    found: dict[str, tuple[str, int, bool]] = {}
    for schema, name, persistence in conn.execute(_SEQUENCES).fetchall():
        statement = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
        row = conn.execute(statement).fetchone()
        assert row is not None
        found[f"{schema}.{name}"] = (persistence, row[0], row[1])
    return found
