"""Restores by a real agent process: every target, undo and finish, cancel, and what a killed agent leaves."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest

from tests.integration.agent.installation import Installation
from tests.integration.agent.test_backup_runs import ask_cancel, fill


def _rows(installation: Installation, database: str | None = None) -> list[tuple[Any, ...]]:
    return installation.server.execute(
        "SELECT count(*), md5(string_agg(note, '' ORDER BY id)) FROM orders", database or installation.source_database
    )


def _databases(installation: Installation) -> set[str]:
    return {name for (name,) in installation.server.execute("SELECT datname FROM pg_database")}


def _backed_up(installation: Installation, rows: int = 2000) -> UUID:
    fill(installation, rows)
    installation.start_agent()
    return installation.finished("backup_jobs", installation.backup())["id"]


def _undo(installation: Installation, log: UUID, wanted: str, ended: str) -> dict[str, Any]:
    assert installation.as_admin(f"SELECT tui_backup.request_undo('{log}', '{wanted}')") == [(True,)]
    installation.wait(lambda: not installation.row("backup_restore_logs", log)["undo_state"].endswith("requested"), 20)
    row = installation.row("backup_restore_logs", log)
    assert row["undo_state"] == ended, row["metadata"]
    return row


def test_into_a_new_database_with_proof(installation: Installation) -> None:
    job = _backed_up(installation)
    name = f"{installation.source_database}_copy"
    log = installation.finished("backup_restore_logs", installation.restore(job, "new_database", target_database=name))
    try:
        assert log["status"] == "completed", f"{log}\n{installation.log()}"
        assert (log["tables_restored"], log["rows_restored"]) == (1, 2000)
        assert log["metadata"]["compare"]["identical"] is True
        assert not log["rollback_executed"]
        assert _rows(installation, name) == _rows(installation)
        (proof,) = installation.query("SELECT * FROM tui_backup.backup_verifications")
        assert (proof["kind"], proof["backup_job_id"], proof["restore_log_id"]) == ("restored", job, log["id"])
    finally:
        installation.server.drop_database(name)


def test_swap_undo_and_finish(installation: Installation) -> None:
    job = _backed_up(installation)
    good = _rows(installation)
    installation.server.execute("DELETE FROM orders WHERE id > 10", installation.source_database)
    damaged = _rows(installation)

    first = installation.restore(job, "swap")
    log = installation.finished("backup_restore_logs", first)
    assert (log["status"], log["undo_state"]) == ("completed", "kept"), f"{log}\n{installation.log()}"
    assert _rows(installation) == good
    kept = log["metadata"]["swap"]["kept"]
    assert kept in _databases(installation)

    row = _undo(installation, first, "undo_requested", "undone")
    assert _rows(installation) == damaged
    assert kept not in _databases(installation)
    undone = row["metadata"]["swap"]["undone"]

    second = installation.restore(job, "swap")
    log = installation.finished("backup_restore_logs", second)
    assert log["undo_state"] == "kept", f"{log}\n{installation.log()}"
    _undo(installation, second, "finish_requested", "finished")
    assert _rows(installation) == good
    assert log["metadata"]["swap"]["kept"] not in _databases(installation)
    installation.server.drop_database(undone)


def test_in_place_makes_a_safety_backup_first(installation: Installation) -> None:
    job = _backed_up(installation)
    good = _rows(installation)
    installation.server.execute("UPDATE orders SET note = 'lost' WHERE id % 2 = 0", installation.source_database)
    log = installation.finished(
        "backup_restore_logs", installation.restore(job, "in_place", chosen_tables=["public.orders"])
    )
    assert log["status"] == "completed", f"{log}\n{installation.log()}"
    assert _rows(installation) == good
    safety = installation.row("backup_jobs", log["safety_job_id"])
    assert (safety["status"], safety["tags"], safety["rows_count"]) == ("completed", ["safety"], 2000)


def test_side_schema(installation: Installation) -> None:
    job = _backed_up(installation)
    log = installation.finished(
        "backup_restore_logs",
        installation.restore(job, "side_schema", target_schema="look", chosen_tables=["public.orders"]),
    )
    assert log["status"] == "completed", f"{log}\n{installation.log()}"
    assert installation.server.execute("SELECT count(*) FROM look.orders", installation.source_database) == [(2000,)]


def test_a_damaged_backup_touches_nothing(installation: Installation) -> None:
    job = _backed_up(installation)
    for pack in (installation.folder / "repository").glob("*/packs/*/*"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 3] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(data)
    before = _databases(installation)
    log = installation.finished("backup_restore_logs", installation.restore(job, "swap"))
    assert (log["status"], log["error_details"]["error"]) == ("failed", "damaged")
    assert _databases(installation) == before


def test_cancel_takes_everything_back(installation: Installation) -> None:
    job = _backed_up(installation, 60_000)
    before = _databases(installation)
    restore = installation.restore(job, "swap")
    installation.wait(lambda: _databases(installation) != before, 20)
    ask_cancel(installation, restore)
    since = time.monotonic()
    log = installation.finished("backup_restore_logs", restore, 20)
    assert time.monotonic() - since < 5
    assert (log["status"], log["rollback_executed"]) == ("cancelled", True), log
    assert log["rollback_at"] is not None
    assert _databases(installation) == before


def test_a_live_database_that_a_dead_agent_left_closed_is_opened_again(installation: Installation) -> None:
    job = _backed_up(installation)
    live, work = installation.source_database, "tui_backup_restore_of_a_test"
    installation.server.create_database(work)
    oids = dict(installation.server.execute("SELECT datname, oid::int FROM pg_database"))
    swap = {"live": live, "new": work, "kept": f"{live}_old", "live_oid": oids[live], "new_oid": oids[work]}
    restore = installation.restore(job, "swap", status="running", metadata={"swap": {**swap, "undone": None}})
    installation.server.execute(f'ALTER DATABASE "{live}" ALLOW_CONNECTIONS false')
    log = installation.finished("backup_restore_logs", restore, 60)
    installation.server.drop_database(work)
    assert (log["status"], log["rollback_executed"]) == ("failed", True), f"{log}\n{installation.log()}"
    assert len(_rows(installation)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", ["swap", "in_place"])
@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.7])
def test_a_killed_agents_restore_is_taken_back_or_complete(
    installation: Installation, target: str, after_s: float
) -> None:
    job = _backed_up(installation, 60_000)
    good = _rows(installation)
    installation.server.execute("DELETE FROM orders WHERE id > 30000", installation.source_database)
    damaged = _rows(installation)
    databases = _databases(installation)
    chosen = ["public.orders"] if target == "in_place" else []
    restore = installation.restore(job, target, chosen_tables=chosen, options={"safety_backup": False})
    installation.wait(lambda: installation.row("backup_restore_logs", restore)["status"] != "pending", 20)
    time.sleep(after_s)
    installation.agents[0].kill()
    installation.agents[0].wait()
    installation.start_agent()
    log = installation.finished("backup_restore_logs", restore, 60)
    if log["status"] == "completed":
        assert _rows(installation) == good
    else:
        assert (log["status"], log["error_details"]["error"]) == ("failed", "agent_lost"), log
        assert log["rollback_executed"]
        assert _rows(installation) == damaged
        assert _databases(installation) == databases
