"""Facts about the server and the database as a whole."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from tui_backup import manifest
from tui_backup.engine.logical.session import SourceSession
from tui_backup.errors import SourcePermissionError, SqlFailedError

_SERVER_SQL = """
SELECT current_setting('server_version_num')::int, current_setting('server_version'),
       current_setting('block_size')::int, pg_is_in_recovery(), current_setting('lc_monetary')
"""
_TIMELINE_SQL = """
SELECT CASE WHEN pg_is_in_recovery()
            THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
                          (SELECT timeline_id FROM pg_control_checkpoint()))
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END
"""


def read_server(session: SourceSession) -> manifest.Server:
    """What tells this server, and this history of it, from any other.

    The system identifier is '' and the timeline 0 where the login may not see them; an incremental upon such a backup
    reads everything.
    """
    ((version_num, version, block_size, is_standby, lc_monetary),) = session.query(
        _SERVER_SQL, what="reading the server's version"
    )
    identifier = _optional(session, "SELECT system_identifier::text FROM pg_control_system()", "")
    # the control file's timeline lags behind a promotion until the first checkpoint; the name of the current WAL
    # file does not
    timeline = _optional(session, _TIMELINE_SQL, 0)
    return manifest.Server(
        version_num=version_num,
        version=version,
        system_identifier=str(identifier),
        timeline=int(timeline),
        block_size=block_size,
        is_standby=is_standby,
        lc_monetary=lc_monetary,
    )


def _optional(session: SourceSession, statement: str, instead: Any) -> Any:
    """One value outside a transaction, or something else where a managed server forbids the function."""
    try:
        return session.query(statement, what="reading the server's identity")[0][0]
    except (SourcePermissionError, SqlFailedError):
        return instead


_DATABASE_SQL = """
SELECT to_jsonb(d) - 'datacl' - 'dattablespace', d.datacl::text[], pg_encoding_to_char(d.encoding)::text,
       pg_get_userbyid(d.datdba)::text, t.spcname::text, shobj_description(d.oid, 'pg_database'),
       pg_database_size(d.oid)
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = current_database()
"""
_SETTINGS_SQL = """
SELECT r.rolname::text, s.setconfig
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY r.rolname NULLS FIRST
"""


def read_database(session: SourceSession) -> manifest.Database:
    """What hangs on the database itself; pg_dump of a database's contents does not keep it."""
    ((row, acl, encoding, owner, tablespace, comment, size_bytes),) = session.query(
        _DATABASE_SQL, what="reading the database's properties"
    )
    settings = session.query(_SETTINGS_SQL, what="reading the database's settings")
    return manifest.Database(
        name=row["datname"],
        oid=int(row["oid"]),
        encoding=encoding,
        lc_collate=row["datcollate"],
        lc_ctype=row["datctype"],
        locale_provider=row.get("datlocprovider", "c"),
        # daticulocale in 15 and 16, datlocale from 17 on
        locale=row.get("datlocale", row.get("daticulocale")),
        icu_rules=row.get("daticurules"),
        collation_version=row.get("datcollversion"),
        owner=owner,
        acl=acl,
        comment=comment,
        connection_limit=row["datconnlimit"],
        tablespace=tablespace,
        settings=[manifest.Setting(role=role, assignments=list(config)) for role, config in settings],
        size_bytes=size_bytes,
    )


_SNAPSHOT_SQL = """
SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, clock_timestamp(),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
       pg_export_snapshot()
FROM pg_current_snapshot() AS s
"""


def read_snapshot(session: SourceSession) -> tuple[str, manifest.Snapshot]:
    """Export the transaction's snapshot: its name for other sessions, and its facts."""
    ((xmin, xmax, taken_at, lsn, name),) = session.query(_SNAPSHOT_SQL, what="exporting the snapshot")
    return name, manifest.Snapshot(taken_at=taken_at.astimezone(UTC), xmin=xmin, xmax=xmax, lsn=lsn)


_ROLES_SQL = """
SELECT r.rolname::text FROM pg_roles r
WHERE r.oid IN (SELECT d.refobjid FROM pg_shdepend d, here
                WHERE d.refclassid = 'pg_authid'::regclass
                  AND (d.dbid = here.oid OR d.dbid = 0 AND d.classid = 'pg_database'::regclass AND d.objid = here.oid))
   OR r.oid IN (SELECT datdba FROM pg_database WHERE oid = (SELECT oid FROM here))
   -- the bootstrap superuser is pinned, so pg_shdepend does not know it
   OR r.oid IN (SELECT relowner FROM pg_class WHERE oid >= 16384)
   OR r.oid IN (SELECT nspowner FROM pg_namespace WHERE oid >= 16384)
   OR r.oid IN (SELECT proowner FROM pg_proc WHERE oid >= 16384)
ORDER BY 1
"""


def read_roles(session: SourceSession) -> list[str]:
    """The roles that own something in the database or are granted something on it."""
    here = "WITH here AS (SELECT oid FROM pg_database WHERE datname = current_database())"
    return [row[0] for row in session.query(here + _ROLES_SQL, what="listing the roles")]


def read_extensions(session: SourceSession) -> list[str]:
    """Names of the installed extensions."""
    rows = session.query("SELECT extname::text FROM pg_extension ORDER BY 1", what="listing the extensions")
    return [row[0] for row in rows]
