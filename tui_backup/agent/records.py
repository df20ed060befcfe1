"""What the agent writes to the catalog: claims, fenced results, heartbeats.

Every write about a run names its attempt token. A run whose token is no longer current changes nothing and learns it
by :class:`FencedError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tui_backup import __version__
from tui_backup.errors import CatalogUnavailableError, FencedError, TuiBackupError
from tui_backup.model import Progress

Subject = Literal["backup_jobs", "backup_restore_logs", "backup_verifications"]
Pool = AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]]
T = TypeVar("T")

LOST_AFTER_S = 20.0
"""An agent silent for so long has lost its runs to others."""

_FINAL_WRITE_PATIENCE_S = 300.0
"""How long the last word of a run waits for a catalog that is away."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run a subject: its row and the token of this attempt."""

    subject: Subject
    row: dict[str, Any]
    token: UUID
    was_interrupted: bool

    @property
    def id(self) -> UUID:
        """The subject's id."""
        return self.row["id"]

    @property
    def application_name(self) -> str:
        """Marks this attempt's sessions on source and target servers."""
        return application_name(self.token)

    @property
    def lost_application_name(self) -> str | None:
        """Marks the sessions of the attempt before, whose agent died."""
        before: UUID | None = self.row["token_before"]
        return application_name(before) if before else None


def application_name(token: UUID) -> str:
    """Marks the sessions of an attempt."""
    return f"tui-backup {token.hex[:16]}"


async def _check_connection(conn: psycopg.AsyncConnection[dict[str, Any]]) -> None:
    """Find out before use that a pooled connection has died."""
    await conn.execute("")


def open_pool(conninfo: str) -> Pool:
    """The agent's pool, not yet opened."""
    return AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]](
        conninfo,
        min_size=1,
        max_size=4,
        timeout=10,
        open=False,
        kwargs={"row_factory": dict_row, "application_name": "tui-backup agent", "autocommit": True},
        check=_check_connection,
    )


class Records:
    """The agent's view of the catalog."""

    def __init__(self, pool: Pool, agent_id: UUID | None = None, tenant_id: UUID | None = None) -> None:
        self._pool = pool
        self.agent_id = agent_id or uuid4()
        self.tenant_id = tenant_id
        """Whose run this is for; None for what the agent does for all."""

    def of_tenant(self, tenant_id: UUID) -> Records:
        """The same view, whose every transaction carries the setting ``tui_backup.tenant``."""
        return Records(self._pool, self.agent_id, tenant_id)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncGenerator[psycopg.AsyncConnection[dict[str, Any]]]:
        """A connection; for a tenant in a transaction, since the pool's next user is another."""
        async with self._pool.connection() as conn:
            if self.tenant_id is None:
                yield conn
                return
            async with conn.transaction():
                await conn.execute("SELECT set_config('tui_backup.tenant', %s, true)", (str(self.tenant_id),))
                yield conn

    async def _run(self, query: sql.SQL | sql.Composed | str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            async with self._connection() as conn:
                cursor = await conn.execute(query, params)  # pyright: ignore[reportArgumentType, reportCallIssue]
                return await cursor.fetchall() if cursor.description else []
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as exc:
            raise CatalogUnavailableError(f"The catalog does not answer: {exc}".strip()) from exc

    # -- this agent ---------------------------------------------------------------------------------------------

    async def register(self) -> None:
        """Announce this agent."""
        await self._run(
            "INSERT INTO tui_backup.agents (id, host, pid, version) VALUES (%(id)s, %(host)s, %(pid)s, %(version)s)"
            " ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), stopped_at = NULL",
            {"id": self.agent_id, "host": socket.gethostname(), "pid": os.getpid(), "version": __version__},
        )

    async def heartbeat(self) -> None:
        """Give a sign of life."""
        await self._run("UPDATE tui_backup.agents SET heartbeat_at = now() WHERE id = %(id)s", {"id": self.agent_id})

    async def sign_off(self) -> None:
        """Say that this agent ends in good order."""
        await self._run("UPDATE tui_backup.agents SET stopped_at = now() WHERE id = %(id)s", {"id": self.agent_id})

    async def forget_old_agents(self) -> None:
        """Drop agents that ended a month ago and that no row names any more."""
        await self._run(
            "DELETE FROM tui_backup.agents a WHERE heartbeat_at < now() - interval '30 days'"
            " AND NOT EXISTS (SELECT FROM tui_backup.backup_jobs j WHERE j.agent_id = a.id)"
            " AND NOT EXISTS (SELECT FROM tui_backup.backup_restore_logs r WHERE r.agent_id = a.id)"
            " AND NOT EXISTS (SELECT FROM tui_backup.backup_verifications v WHERE v.agent_id = a.id)",
            {},
        )

    # -- runs ---------------------------------------------------------------------------------------------------

    async def claim(self, subject: Subject, subject_id: UUID, token: UUID) -> Claim | None:
        """Take a subject for a new attempt.

        Returns:
            None when there is nothing to do: it is done, cancelled, or another living agent runs it.
        """
        rows = await self._run(
            sql.SQL(
                "WITH before AS ("
                "  SELECT r.id, r.status, r.attempt_token FROM tui_backup.{table} r"
                "   WHERE r.id = %(id)s"
                "     AND ((r.status = 'pending' AND NOT r.cancel_requested)"
                "          OR (r.status = 'running' AND NOT EXISTS ("
                "                SELECT FROM tui_backup.agents a WHERE a.id = r.agent_id AND a.stopped_at IS NULL"
                "                   AND a.id <> %(agent)s AND a.heartbeat_at > now() - %(silence)s * interval '1 s')))"
                "     FOR UPDATE)"
                " UPDATE tui_backup.{table} r SET status = 'running', started_at = now(), completed_at = NULL,"
                "        attempt_token = %(token)s, agent_id = %(agent)s, error_message = NULL, error_details = NULL"
                "   FROM before WHERE r.id = before.id RETURNING r.*, before.status AS status_before,"
                "   before.attempt_token AS token_before"
            ).format(table=sql.Identifier(subject)),
            {"id": subject_id, "agent": self.agent_id, "token": token, "silence": LOST_AFTER_S},
        )
        if not rows:
            return None
        return Claim(subject, rows[0], token, rows[0]["status_before"] == "running")

    async def check_current(self, claim: Claim) -> bool:
        """Make sure that this attempt still owns the run.

        Returns:
            Whether a member has asked to cancel it.

        Raises:
            FencedError: it does not.
        """
        rows = await self._run(
            sql.SQL(
                "SELECT r.cancel_requested FROM tui_backup.{table} r"
                " WHERE r.id = %(id)s AND r.attempt_token = %(token)s AND r.status = 'running'"
            ).format(table=sql.Identifier(claim.subject)),
            {"id": claim.id, "token": claim.token},
        )
        if not rows:
            raise FencedError("Another agent has taken this run over.")
        return bool(rows[0]["cancel_requested"])

    async def update(self, claim: Claim, values: Mapping[str, Any]) -> None:
        """Write columns of a run that this attempt owns; dicts and :class:`JsonList` become JSONB.

        Raises:
            FencedError: another attempt owns it by now.
        """
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
        )
        rows = await self._run(
            sql.SQL(
                "UPDATE tui_backup.{table} SET {assignments} WHERE id = %(_id)s AND attempt_token = %(_token)s"
                " AND status = 'running' RETURNING id"
            ).format(table=sql.Identifier(claim.subject), assignments=assignments),
            {"_id": claim.id, "_token": claim.token, **{name: _adapt(value) for name, value in values.items()}},
        )
        if not rows:
            raise FencedError("Another agent has taken this run over; this one wrote nothing.")

    async def finish(self, claim: Claim, values: Mapping[str, Any]) -> None:
        """Write a run's last word; waits for a catalog that is away, and clears the progress.

        Raises:
            FencedError: another attempt owns the run by now.
        """
        written = False

        async def write() -> None:
            nonlocal written
            try:
                if not written:
                    await self.update(claim, values)
            except FencedError:
                # an answer that was lost with the line: the word had been written
                if not await self._has_said(claim, values):
                    raise
            written = True
            await self._run("DELETE FROM tui_backup.progress WHERE subject_id = %(id)s", {"id": claim.id})

        await patiently(write)

    async def _has_said(self, claim: Claim, values: Mapping[str, Any]) -> bool:
        row = await self.row(claim.subject, claim.id)
        return row is not None and row["attempt_token"] == claim.token and row["status"] == values.get("status")

    async def write_progress(self, claim: Claim, progress: Progress) -> None:
        """Publish how far a run is; nothing when this attempt no longer owns it.

        The row is locked against the run's last word, so that no late report is left behind it.
        """
        await self._run(
            sql.SQL(
                "WITH owned AS (SELECT r.tenant_id FROM tui_backup.{table} r"
                "  WHERE r.id = %(id)s AND r.attempt_token = %(token)s AND r.status = 'running' FOR SHARE)"
                " INSERT INTO tui_backup.progress (subject_id, tenant_id, phase, tables_done, tables_total, rows_done,"
                " bytes_done, bytes_total, bytes_per_second, eta_seconds, updated_at)"
                " SELECT %(id)s, tenant_id, %(phase)s::text, %(tables_done)s::int, %(tables_total)s::int,"
                " %(rows_done)s::bigint, %(bytes_done)s::bigint, %(bytes_total)s::bigint,"
                " %(bytes_per_second)s::float8, %(eta_seconds)s::int, now() FROM owned"
                " ON CONFLICT (subject_id) DO UPDATE SET phase = excluded.phase, tables_done = excluded.tables_done,"
                " tables_total = excluded.tables_total, rows_done = excluded.rows_done,"
                " bytes_done = excluded.bytes_done, bytes_total = excluded.bytes_total,"
                " bytes_per_second = excluded.bytes_per_second, eta_seconds = excluded.eta_seconds, updated_at = now()"
            ).format(table=sql.Identifier(claim.subject)),
            {
                "id": claim.id,
                "token": claim.token,
                "phase": progress.phase,
                "tables_done": progress.tables_done,
                "tables_total": progress.tables_total,
                "rows_done": progress.rows_done,
                "bytes_done": progress.bytes_done,
                "bytes_total": progress.bytes_total,
                "bytes_per_second": progress.bytes_per_second,
                "eta_seconds": progress.eta_seconds,
            },
        )

    # -- rows ---------------------------------------------------------------------------------------------------

    async def row(self, table: str, row_id: UUID) -> dict[str, Any] | None:
        """One row by id, None when there is none."""
        rows = await self._run(
            sql.SQL("SELECT * FROM tui_backup.{} WHERE id = %(id)s").format(sql.Identifier(table)), {"id": row_id}
        )
        return rows[0] if rows else None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[psycopg.AsyncConnection[dict[str, Any]]]:
        """Several statements as one; committed at the end of the block."""
        try:
            async with self._connection() as conn, conn.transaction():
                yield conn
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as exc:
            raise CatalogUnavailableError(f"The catalog does not answer: {exc}".strip()) from exc

    async def query(self, query: str | sql.Composed, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run one statement of the agent's own."""
        return await self._run(query, params)


async def patiently(action: Callable[[], Awaitable[T]], patience_s: float = _FINAL_WRITE_PATIENCE_S) -> T:
    """Try until the catalog is back.

    Raises:
        CatalogUnavailableError: it stayed away for ``patience_s``.
    """
    deadline = asyncio.get_running_loop().time() + patience_s
    delay = 0.5
    while True:
        try:
            return await action()
        except CatalogUnavailableError:
            if asyncio.get_running_loop().time() + delay > deadline:
                raise
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)


def failure_columns(error: TuiBackupError) -> dict[str, Any]:
    """The columns that tell a failure: message and details with code and hint."""
    return {"error_message": error.message, "error_details": error.to_json()}


def _adapt(value: object) -> object:
    if isinstance(value, dict | JsonList):
        return Jsonb(value)
    return value


class JsonList(list[Any]):
    """A list that shall be stored as JSONB and not as an array."""
