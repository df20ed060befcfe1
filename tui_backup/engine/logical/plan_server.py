"""Checks of a restore's target server: version, rights, roles, extensions, what a swap cannot carry over."""

from __future__ import annotations

from collections.abc import Sequence

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.choose import Chosen
from tui_backup.engine.logical.target import one, server_major
from tui_backup.errors import PermissionRefusedError, TargetVersionError
from tui_backup.manifest import Contents
from tui_backup.model import PlanCheck, RestoreRequest, RestoreTarget

_ME = """
SELECT rolsuper, rolcreatedb, rolname::text FROM pg_catalog.pg_roles WHERE rolname = current_user
"""
_OWN = (RestoreTarget.NEW_DATABASE, RestoreTarget.SWAP)


def check_server(conn: Connection, request: RestoreRequest, contents: Contents, chosen: Chosen) -> list[PlanCheck]:
    """What holds for every kind of restore, and what making a database needs."""
    checks = [_version(conn, contents)]
    if request.target in _OWN:
        checks += _rights(conn, contents)
        checks += _roles(conn, request, contents)
        checks += _extensions(conn, contents, chosen)
        checks += _places(conn, contents)
    return checks


def _version(conn: Connection, contents: Contents) -> PlanCheck:
    here, there = contents.server.major, server_major(conn)
    if there < here:
        message = (
            f"the backup is of PostgreSQL {here}, the target runs {there}: an older server does not understand "
            "everything a newer one writes"
        )
        return PlanCheck("version", "refused", message, TargetVersionError.code)
    if there > here:
        return PlanCheck("version", "ok", f"PostgreSQL {here} onto {there}; definitions are compared by name only")
    return PlanCheck("version", "ok", f"PostgreSQL {here}, as the source")


def _rights(conn: Connection, contents: Contents) -> list[PlanCheck]:
    row = conn.execute(_ME).fetchone()
    superuser, createdb, login = row or (False, False, "?")
    if superuser:
        return [PlanCheck("rights", "ok", f"{login} is a superuser")]
    checks: list[PlanCheck] = []
    if not createdb:
        message = f"{login} may not create databases: give it CREATEDB"
        checks.append(PlanCheck("rights", "refused", message, PermissionRefusedError.code))
    message = (
        f"{login} is no superuser: event triggers, subscriptions, publications for all tables, untrusted extensions "
        "and languages, and objects of roles that it is not a member of make the restore fail"
    )
    checks.append(PlanCheck("rights", "warning", message))
    owner = contents.database.owner
    if owner and owner != login:
        member = one(
            conn,
            "SELECT pg_catalog.pg_has_role(r.oid, 'MEMBER') FROM pg_catalog.pg_roles r WHERE r.rolname = %s",
            (owner,),
        )
        if not member:
            checks.append(PlanCheck("owner", "warning", f"{login} cannot give the database to {owner}"))
    return checks


def _roles(conn: Connection, request: RestoreRequest, contents: Contents) -> list[PlanCheck]:
    there = {str(row[0]) for row in conn.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    missing = sorted(set(contents.roles) - there)
    if not missing:
        return [PlanCheck("roles", "ok", f"all {len(contents.roles)} roles are there")]
    names = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
    if request.no_owner:
        return [PlanCheck("roles", "warning", f"roles are missing, owners and grants are left out: {names}")]
    message = f"roles are missing: {names}; create them from the backup's globals, or restore with --no-owner"
    return [PlanCheck("roles", "refused", message)]


def _extensions(conn: Connection, contents: Contents, chosen: Chosen) -> list[PlanCheck]:
    there = {str(row[0]) for row in conn.execute("SELECT name FROM pg_catalog.pg_available_extensions")}
    wanted = {name.partition(" ")[0] for name in contents.extensions}
    missing = sorted(wanted - there)
    if not missing:
        return [PlanCheck("extensions", "ok", f"all {len(wanted)} extensions can be had")] if wanted else []
    return [PlanCheck("extensions", "refused", f"not installed on the target server: {', '.join(missing)}")]


def _places(conn: Connection, contents: Contents) -> list[PlanCheck]:
    """Tablespace and locale."""
    checks: list[PlanCheck] = []
    database = contents.database
    tablespace = database.tablespace
    if not one(conn, "SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = %s", (tablespace,)):
        message = f"tablespace {tablespace} is not on this server: the default is used"
        checks.append(PlanCheck("tablespace", "warning", message))
    if database.locale_provider != "c":
        return checks
    unknown = [
        name
        for name in sorted({database.lc_collate, database.lc_ctype} - {"C", "POSIX"})
        if not one(
            conn,
            # the server spells a locale's encoding in its own way
            "SELECT 1 FROM pg_catalog.pg_collation WHERE collprovider = 'c' AND"
            " pg_catalog.lower(pg_catalog.replace(collcollate, '-', '')) ="
            " pg_catalog.lower(pg_catalog.replace(%s, '-', ''))",
            (name,),
        )
    ]
    if unknown:
        message = f"the server may lack the locale {', '.join(unknown)}; the restore would then stop at its start"
        checks.append(PlanCheck("locale", "warning", message))
    return checks


def check_swap(conn: Connection, live: str, *, live_is_there: bool) -> list[PlanCheck]:
    """What taking a live database's name needs, and what does not come along."""
    if not live_is_there:
        return [
            PlanCheck("database", "refused", f"there is no database {live}: restore into a new database of that name")
        ]
    checks: list[PlanCheck] = []
    row = conn.execute(
        "SELECT pg_catalog.pg_has_role(datdba, 'USAGE'), pg_catalog.pg_get_userbyid(datdba)::text, datistemplate, oid"
        " FROM pg_catalog.pg_database WHERE datname = %s",
        (live,),
    ).fetchone()
    owns, owner, is_template, oid = row or (False, "?", False, 0)
    if not owns:
        checks.append(PlanCheck("owner", "refused", f"only its owner {owner} or a superuser can rename {live}"))
    if is_template or live in ("postgres", "template0", "template1"):
        checks.append(PlanCheck("database", "refused", f"{live} is a template or a maintenance database"))
    prepared = one(conn, "SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = %s", (live,))
    if prepared:
        message = f"{prepared} prepared transactions keep {live} from being renamed: commit or roll them back"
        checks.append(PlanCheck("prepared transactions", "refused", message))
    checks += _sessions(conn, live)
    slots = _names(conn, "SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE database = %s", live)
    if slots:
        message = f"logical replication slots stay with the old database: {', '.join(slots)}"
        checks.append(PlanCheck("replication slots", "warning", message))
    subscriptions = _names(conn, "SELECT subname::text FROM pg_catalog.pg_subscription WHERE subdbid = %s", oid)
    if subscriptions:
        message = f"subscriptions stay with the old database and go on there: {', '.join(subscriptions)}"
        checks.append(PlanCheck("subscriptions", "warning", message))
    message = "poolers and applications must connect again; a pooler that caches the database by oid needs a restart"
    checks.append(PlanCheck("poolers", "warning", message))
    return checks


def _sessions(conn: Connection, live: str) -> list[PlanCheck]:
    """Whether the login may end the sessions that are there."""
    foreign = one(
        conn,
        "SELECT count(*) FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid"
        " WHERE a.datname = %s AND a.pid <> pg_catalog.pg_backend_pid() AND NOT ("
        " (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) OR (NOT r.rolsuper AND ("
        " pg_catalog.pg_has_role(r.oid, 'MEMBER') OR pg_catalog.pg_has_role('pg_signal_backend', 'MEMBER'))))",
        (live,),
    )
    if foreign:
        message = f"{foreign} sessions belong to roles whose sessions this login may not end: GRANT pg_signal_backend"
        return [PlanCheck("sessions", "refused", message)]
    return []


def _names(conn: Connection, statement: str, value: object) -> Sequence[str]:
    rows = conn.execute(statement.encode(), (value,)).fetchall()
    return [str(row[0]) for row in rows]
