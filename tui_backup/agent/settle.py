"""How a restore ended whose run could not say so itself: its agent died, its line was cut, a reader called it lost.

The run writes down what will happen before it happens (a swap's oids, a transaction's id, a new database's oid); here
the target's server is asked whether it has. What has not is taken back. As long as the server cannot be asked the row
says ``unsettled`` in its metadata, and an agent asks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from tui_backup.agent.places import password_file
from tui_backup.agent.records import application_name, patiently
from tui_backup.agent.runs import Runner
from tui_backup.config import Config
from tui_backup.engine.logical.createdb import drop_unfinished
from tui_backup.engine.logical.outcome import end_sessions, was_committed, was_finished
from tui_backup.engine.logical.swap import SwapRecord, SwapState, inspect_swap, reopen_live
from tui_backup.engine.logical.target import Target
from tui_backup.errors import TuiBackupError

log = logging.getLogger(__name__)


def work_name(restore_id: UUID) -> str:
    """The new database's name while it is in the making; no two restores share it, so a rescue may drop it."""
    return f"tui_backup_restore_{restore_id.hex[:12]}"


def settle(target: Target, row: Mapping[str, Any], lost_sessions: str | None) -> dict[str, Any]:
    """Find out how a restore ended and take back what has not been finished; blocking.

    Args:
        target: its server.
        row: its log.
        lost_sessions: application_name of the sessions of the attempt that did not end by itself.

    Returns:
        Columns for the log: ``status`` completed when it had happened after all, rollback_executed otherwise.

    Raises:
        TuiBackupError: the server cannot be asked.
    """
    noted: Mapping[str, Any] = row["metadata"]
    if lost_sessions:
        end_sessions(target, lost_sessions)
    if "swap" in noted:
        record = SwapRecord.from_json(noted["swap"])
        if inspect_swap(target, record) is SwapState.SWAPPED:
            return {**_DONE, "target_database": record.live, "undo_state": "kept"}
        # it may have ended after the live database was closed and before the renames
        reopen_live(target, record)
    elif "transaction" in noted:
        if was_committed(target, noted["transaction"]):
            return dict(_DONE)
    elif row["target"] == "new_database" and was_finished(target, oid=noted.get("made", 0), restore_id=row["id"]):
        return dict(_DONE)
    drop_unfinished(target, row["id"], work_name=work_name(row["id"]))
    return {
        "rollback_executed": True,
        "rollback_at": datetime.now(UTC),
        "tables_restored": None,
        "rows_restored": None,
    }


_DONE: Mapping[str, Any] = {
    "status": "completed",
    "error_message": None,
    "error_details": None,
    "rollback_executed": False,
    "rollback_at": None,
}


def unsettled(row: Mapping[str, Any], why: TuiBackupError, lost_sessions: str | None) -> dict[str, Any]:
    """The metadata of a restore of which nobody knows yet how it ended."""
    note = {"unsettled": True, "unsettled_because": why.message, "lost_sessions": lost_sessions}
    return {**row["metadata"], **note}


async def settle_restore(runner: Runner, restore_id: UUID) -> None:
    """Settle a log that says it is unsettled; a server that still cannot be asked is asked again later."""
    records = runner.records
    row = await records.row("backup_restore_logs", restore_id)
    if row is None or not row["metadata"].get("unsettled") or row["status"] not in ("failed", "cancelled"):
        return
    source = await records.row("sources", row["target_source_id"])
    if source is None:
        return
    lost = row["metadata"].get("lost_sessions")
    if lost is None and row["attempt_token"]:
        lost = application_name(row["attempt_token"])
    target = target_of(runner.config, source, f"tui-backup settle {restore_id.hex[:12]}")
    try:
        columns = await asyncio.to_thread(settle, target, row, lost)
        metadata = {k: v for k, v in row["metadata"].items() if k not in _NOTES}
        log.info("restore %s is settled: %s", restore_id, columns.get("status", "taken back"))
    except TuiBackupError as exc:
        log.warning("restore %s cannot be settled yet: %s", restore_id, exc.message)
        columns, metadata = {}, unsettled(row, exc, lost)
    values = {**columns, "metadata": Jsonb(metadata)}
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
    )
    statement = sql.SQL(
        "UPDATE tui_backup.backup_restore_logs SET {} WHERE id = %(_id)s AND metadata ? 'unsettled'"
        " AND status IN ('failed', 'cancelled')"
    ).format(assignments)
    await patiently(lambda: records.query(statement, {**values, "_id": restore_id}))


_NOTES = ("unsettled", "unsettled_because", "lost_sessions")


def target_of(config: Config, source: Mapping[str, Any], session_name: str) -> Target:
    """A source's server as the target of a restore."""
    return Target(source["conninfo"], password_file(config, source), session_name)
