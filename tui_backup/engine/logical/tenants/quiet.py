"""Keeps triggers from firing while a tenant's rows are put back, as little in other tenants' way as the login allows.

As a replica (``session_replication_role``, for superusers and whom it was granted) neither ordinary triggers nor
foreign keys fire and nothing is locked. A login that may not be one disables the triggers of tables that it owns, for
which other writers of those tables wait until the end; what it does not own fires, and is said. Deferrable unique and
exclusion constraints are checked by triggers, too: where there are some the session stays an ordinary one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.inplace import may_be_replica
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.tenants.fit import Unit
from tui_backup.errors import LockTimeoutError, TargetMismatchError

# what fires: ordinary triggers in an ordinary session, those marked REPLICA in a replica's, ALWAYS ones in both
_FIRING = """
WITH RECURSIVE family AS (
    SELECT o AS unit, o::pg_catalog.oid AS oid FROM pg_catalog.unnest(%(oids)s::pg_catalog.int8[]) AS o
    UNION SELECT f.unit, i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f ON f.oid = i.inhparent
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT f.unit, n.nspname::text, c.relname::text, x.kind, x.name::text, x.state
FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT 'TRIGGER' AS kind, t.tgname AS name, t.tgenabled::text AS state
    FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT 'RULE', r.rulename, r.ev_enabled::text FROM pg_catalog.pg_rewrite r
    WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3', '4')
) AS x
WHERE x.state = ANY (%(states)s)
ORDER BY 2, 3, 5
"""
_ENABLE = {
    "O": sql.SQL("ENABLE"),
    "R": sql.SQL("ENABLE REPLICA"),
    "A": sql.SQL("ENABLE ALWAYS"),
}
# while we wait for the lock others wait behind us
_LOCK_TIMEOUT = "3s"


@dataclass(slots=True)
class Quiet:
    """What is kept from firing in one transaction.

    Args:
        conn: the restore's session.
        units: those whose rows will change.
        replica: whether the session is made a replica's.
    """

    conn: Connection
    units: Sequence[Unit]
    replica: bool
    warnings: list[str] = field(default_factory=list[str])
    _enable: list[sql.Composed] = field(default_factory=list[sql.Composed])
    _found: list[tuple[Unit, str, str, str, str]] = field(default_factory=list[tuple[Unit, str, str, str, str]])

    def look(self) -> None:
        """Find what would fire, and say what that will mean.

        Raises:
            TargetMismatchError: a rule would rewrite our statements.
        """
        by_oid = {unit.live.oid: unit for unit in self.units}
        states = ["A", "R"] if self.replica else ["A", "O"]
        for oid, schema, table, kind, name, state in self.conn.execute(
            _FIRING, {"oids": list(by_oid), "states": states}
        ):
            label = shown((schema, table))
            if kind == "RULE":
                raise TargetMismatchError(
                    f"The rule {name} of {label} would change what the restore does.",
                    hint="Drop the rule, or disable it while the restore runs.",
                )
            unit = by_oid[oid]
            self._found.append((unit, schema, table, name, state))
            if unit.live.owned:
                self.warnings.append(f"{label}: the trigger {name} is disabled; other writers wait for the end")
            else:
                self.warnings.append(f"{label}: the trigger {name} fires; the login does not own the table")

    def begin(self) -> None:
        """Keep from firing what can be kept.

        Raises:
            LockTimeoutError: a table whose trigger must be disabled is in use.
        """
        if self.replica:
            self.conn.execute("SELECT pg_catalog.set_config('session_replication_role', 'replica', true)")
        else:
            self.conn.execute("SET CONSTRAINTS ALL DEFERRED")
        for unit, schema, table, name, state in self._found:
            if not unit.live.owned:
                continue
            # ONLY: each partition's copy of a trigger has a state of its own
            alter = sql.SQL("ALTER TABLE ONLY {} {{}} TRIGGER {}").format(
                sql.Identifier(schema, table), sql.Identifier(name)
            )
            change = sql.SQL(alter.as_string(self.conn))  # pyright: ignore[reportArgumentType]
            self._disable(change.format(sql.SQL("DISABLE")), shown((schema, table)))
            self._enable.append(change.format(_ENABLE[state]))

    def _disable(self, statement: sql.Composed, label: str) -> None:
        before = self.conn.execute("SELECT pg_catalog.current_setting('lock_timeout')").fetchone()
        self.conn.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        try:
            self.conn.execute(statement)
        except psycopg.errors.LockNotAvailable as error:
            raise LockTimeoutError(
                f"The triggers of {label} cannot be disabled: others write to it.",
                hint="Restore when it is quiet, or as a superuser (or GRANT SET ON PARAMETER session_replication_role, "
                "15 and newer).",
            ) from error
        self.conn.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", (before[0] if before else "0",))

    def end(self) -> None:
        """Let the server check what was deferred, and let triggers fire again."""
        if not self.replica:
            self.conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for statement in self._enable:
            self.conn.execute(statement)
        if self.replica:
            self.conn.execute("SELECT pg_catalog.set_config('session_replication_role', 'origin', true)")


def can_be_replica(conn: Connection, units: Sequence[Unit]) -> bool:
    """Whether the rows of these units may be changed in a replica's session."""
    return may_be_replica(conn) and all(index.immediate for unit in units for index in unit.live.indexes)
