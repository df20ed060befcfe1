"""What a look at a source's server shows; blocking, for worker threads. PostgreSQL 14 to 18."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tui_backup.engine.connection import connect, map_error
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.relations import check_readable, list_relations, select_relations
from tui_backup.engine.logical.session import SourceSession
from tui_backup.engine.tools import find_tools
from tui_backup.errors import ClientToolsError, SourcePermissionError, TlsRequiredError
from tui_backup.model import PlanCheck, StopFlag

_TIMEOUT_MS = 15_000

# A partitioned table stands for its partitions; an extension's own tables are no data of the user.
_TABLES_SQL = """
SELECT n.nspname::text, c.relname::text,
       CASE WHEN c.relkind = 'p' THEN p.rows ELSE greatest(c.reltuples, 0)::bigint END,
       CASE WHEN c.relkind = 'p' THEN p.bytes ELSE pg_table_size(c.oid) END
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
       SELECT coalesce(sum(greatest(l.reltuples, 0)), 0)::bigint AS rows,
              coalesce(sum(pg_table_size(l.oid)), 0)::bigint AS bytes
         FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid
        WHERE t.isleaf AND l.relkind = 'r'
  ) p ON c.relkind = 'p'
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (
       SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
          AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
          AND NOT c.oid = ANY (coalesce(e.extconfig, '{}')))
 ORDER BY 1, 2
"""
_DATABASE_SQL = """
SELECT current_database()::text, session_user::text, pg_is_in_recovery(), current_setting('server_version'),
       pg_database_size(current_database())
"""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """Sizes are bytes of the heap with TOAST, without indexes; rows are the server's estimate."""

    schema: str
    name: str
    rows_estimate: int
    bytes: int

    @property
    def quoted_name(self) -> str:
        """As a backup's list of tables takes it."""
        return shown((self.schema, self.name))


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Who and what answered, and what would stand in a backup's way."""

    server_version: str
    database: str
    user: str
    size_bytes: int
    tables: int
    is_standby: bool
    tls: bool
    tools: str
    problems: list[PlanCheck]
    grants: list[str]


def list_tables(conninfo: str, passfile: Path | None) -> list[TableFacts]:
    """The tables that a backup can take, by name; partitions count with their root.

    Raises:
        TuiBackupError: no connection, or the server refused.
    """
    with closing(connect(conninfo, application_name="tui-backup tables", passfile=passfile)) as connection:
        try:
            connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(_TIMEOUT_MS),))
            found = connection.execute(_TABLES_SQL).fetchall()
        except psycopg.Error as exc:
            raise map_error(exc, "listing the tables") from exc
    return [TableFacts(*row) for row in found]


def look(conninfo: str, passfile: Path | None, tools_dir: Path | None) -> SourceFacts:
    """Connect and find out whether a backup would work, reading no data.

    Args:
        conninfo: the source's.
        passfile: where its password is, None for libpq's own places.
        tools_dir: configured folder of the client tools.

    Raises:
        TuiBackupError: no connection.
    """
    problems: list[PlanCheck] = []
    grants: list[str] = []
    with SourceSession(conninfo, application_name="tui-backup test", stop=StopFlag(), passfile=passfile) as session:
        ((database, user, is_standby, version, size_bytes),) = session.query(
            _DATABASE_SQL, what="looking at the database"
        )
        problems.append(PlanCheck("connection", "ok", f"PostgreSQL {version}, database {database}, user {user}."))
        tools = _check_tools(session, tools_dir, problems)
        relations = list_relations(session)
        selection = select_relations(session, relations, (), is_standby=is_standby)
        try:
            check_readable(session, selection)
            problems.append(PlanCheck("rights", "ok", "Every table and sequence can be read."))
        except SourcePermissionError as exc:
            problems.append(PlanCheck("rights", "refused", exc.message))
            grants = [str(grant) for grant in exc.details.get("grants", [])]
        if is_standby:
            problems.append(
                PlanCheck("standby", "warning", "It is a standby: unlogged tables are left out of its backups.")
            )
        if not session.parameters.tls and not session.parameters.is_local:
            problems.append(
                PlanCheck("encryption", "warning", "The connection is not encrypted; set sslmode=require or better.")
            )
        return SourceFacts(
            server_version=version,
            database=database,
            user=user,
            size_bytes=size_bytes,
            tables=len(selection.tables),
            is_standby=is_standby,
            tls=session.parameters.tls,
            tools=tools,
            problems=problems,
            grants=grants,
        )


def _check_tools(session: SourceSession, tools_dir: Path | None, problems: list[PlanCheck]) -> str:
    try:
        found = find_tools(session.major, needs_tls=session.parameters.needs_tls, bin_dir=tools_dir)
    except (ClientToolsError, TlsRequiredError) as exc:
        problems.append(PlanCheck("client tools", "refused", f"{exc.message} {exc.hint}"))
        return ""
    problems.append(PlanCheck("client tools", "ok", f"pg_dump {found.version} in {found.bin_dir}."))
    return f"{found.version} ({found.bin_dir})"
