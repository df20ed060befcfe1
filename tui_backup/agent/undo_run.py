"""Takes a swap back, or drops the database that was kept for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tui_backup.agent.places import password_file
from tui_backup.agent.records import patiently
from tui_backup.agent.runs import Runner
from tui_backup.engine.logical.swap import SwapRecord, SwapState, finish_swap, inspect_swap, reopen_live, undo_swap
from tui_backup.engine.logical.target import Target
from tui_backup.errors import NotFoundError, TuiBackupError, WorkFailedError

log = logging.getLogger(__name__)


async def undo_or_finish(runner: Runner, restore_id: UUID) -> None:
    """Do what was asked for; on a failure the old state stays and the reason is written to the row."""
    records = runner.records
    row = await records.row("backup_restore_logs", restore_id)
    if row is None or row["undo_state"] not in ("undo_requested", "finish_requested"):
        return
    source = await records.row("sources", row["target_source_id"])
    try:
        if source is None:
            raise NotFoundError("The source that was restored is not in the catalog any more.")
        passfile = password_file(runner.config, source)
        target = Target(source["conninfo"], passfile, f"tui-backup undo {restore_id.hex[:12]}")
        state, news = await asyncio.to_thread(_act, target, row)
    except TuiBackupError as exc:
        log.warning("restore %s: %s: %s", restore_id, row["undo_state"], exc.message)
        state, news = "kept", {"undo_error": exc.to_json()}
    except Exception as exc:
        # the boundary: a request that nobody answers would stand there for ever
        log.exception("restore %s: %s: unexpected", restore_id, row["undo_state"])
        error = WorkFailedError(f"Unexpected {type(exc).__name__}.", hint=f"See {runner.config.agent_log}.")
        state, news = "kept", {"undo_error": error.to_json()}
    await patiently(
        lambda: records.query(
            "UPDATE tui_backup.backup_restore_logs SET undo_state = %(state)s,"
            " metadata = (metadata - 'undo_error') || %(news)s WHERE id = %(id)s",
            {"id": restore_id, "state": state, "news": Jsonb(news)},
        )
    )


def _act(target: Target, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    record = SwapRecord.from_json(row["metadata"]["swap"])
    try:
        return _done(target, record, row)
    except TuiBackupError:
        # the live database may have been closed for the renames, by us or by an agent that died at it
        with contextlib.suppress(TuiBackupError):
            reopen_live(target, record)
        raise


def _done(target: Target, record: SwapRecord, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    now = datetime.now(UTC)
    where = inspect_swap(target, record)
    if row["undo_state"] == "undo_requested":
        # an agent that died after the renames, before it could write so, has done it already
        undone = record if where is SwapState.UNDONE else undo_swap(target, record, at=now)
        return "undone", {"swap": undone.to_json(), "undone_at": now.isoformat()}
    if where is not SwapState.FINISHED:
        finish_swap(target, record)
    return "finished", {"finished_at": now.isoformat()}
