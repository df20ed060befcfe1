"""What a dead agent, an unreachable target or a late cancel leaves of a restore: the row tells what happened.

Dead agents are played by rows that say 'running' with nobody behind them, at each point at which an agent can die.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.integration.agent.installation import Installation
from tests.integration.agent.test_backup_runs import fill
from tests.servers import TestServer
from tui_backup.engine.logical.createdb import unfinished_comment

LOGS = "backup_restore_logs"


@pytest.fixture
def made(installation: Installation) -> Iterator[list[str]]:
    """Databases that a test drops at its end."""
    names: list[str] = []
    yield names
    for name in names:
        installation.server.drop_database(name)


def _backed_up(installation: Installation, rows: int = 500) -> UUID:
    fill(installation, rows)
    installation.start_agent()
    return installation.finished("backup_jobs", installation.backup())["id"]


def _rows(installation: Installation) -> int:
    return installation.server.execute("SELECT count(*) FROM orders", installation.source_database)[0][0]


def _oid(server: TestServer, name: str) -> int | None:
    found = server.execute(f"SELECT oid FROM pg_database WHERE datname = '{name}'")
    return found[0][0] if found else None


def _is_open(server: TestServer, name: str) -> bool:
    return server.execute(f"SELECT datallowconn FROM pg_database WHERE datname = '{name}'")[0][0]


def _die(installation: Installation, log: UUID, **columns: Any) -> None:
    """Put a restore's row back to where a killed agent leaves it."""
    values = {"status": "running", "completed_at": None, "agent_id": None, "attempt_token": uuid4(), **columns}
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
    adapted = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
    installation.query(f"UPDATE tui_backup.{LOGS} SET {assignments} WHERE id = %(id)s", {**adapted, "id": log})


def _half_swapped(installation: Installation, job: UUID, made: list[str], **columns: Any) -> tuple[UUID, str]:
    """A swap whose agent died after the live database was closed and before the renames."""
    server, live = installation.server, installation.source_database
    log = installation.restore(job, "swap", status="running", attempt_token=uuid4(), **columns)
    work = f"tui_backup_restore_{log.hex[:12]}"
    server.create_database(work)
    made.append(work)
    server.execute(f"COMMENT ON DATABASE {work} IS '{unfinished_comment(log)}'")
    swap = {
        "live": live,
        "new": work,
        "kept": f"{live}_old",
        "live_oid": _oid(server, live),
        "new_oid": _oid(server, work),
        "undone": None,
    }
    server.execute(f"ALTER DATABASE {live} ALLOW_CONNECTIONS false")
    installation.query(
        f"UPDATE tui_backup.{LOGS} SET metadata = %(m)s WHERE id = %(id)s", {"id": log, "m": Jsonb({"swap": swap})}
    )
    return log, work


@pytest.mark.slow
def test_a_live_database_that_a_dead_swap_closed_is_opened_again(installation: Installation, made: list[str]) -> None:
    job = _backed_up(installation)
    log, work = _half_swapped(installation, job, made)
    row = installation.finished(LOGS, log, 30)
    assert (row["status"], row["rollback_executed"]) == ("failed", True), row
    assert _is_open(installation.server, installation.source_database)
    assert _oid(installation.server, work) is None


@pytest.mark.slow
def test_a_cancelled_swap_whose_agent_died_is_put_back_too(installation: Installation, made: list[str]) -> None:
    job = _backed_up(installation)
    log, work = _half_swapped(installation, job, made, cancel_requested=True)
    row = installation.finished(LOGS, log, 30)
    assert (row["status"], row["rollback_executed"]) == ("cancelled", True), row
    assert _is_open(installation.server, installation.source_database)
    assert _oid(installation.server, work) is None


def test_a_swap_that_a_reader_called_lost_is_put_back_when_an_agent_returns(
    installation: Installation, made: list[str]
) -> None:
    job = _backed_up(installation)
    installation.stop_agents()
    log, work = _half_swapped(installation, job, made)
    assert installation.as_admin("SELECT tui_backup.mark_lost()") == [(1,)]
    installation.age(LOGS, log)
    assert installation.row(LOGS, log)["status"] == "failed"
    installation.start_agent()
    installation.wait(lambda: _is_open(installation.server, installation.source_database), 30)
    installation.wait(lambda: installation.row(LOGS, log)["rollback_executed"], 30)
    row = installation.row(LOGS, log)
    assert (row["status"], row["error_details"]["error"]) == ("failed", "agent_lost")
    assert _oid(installation.server, work) is None


def test_a_swap_that_was_done_is_completed_even_after_a_reader_called_it_lost(
    installation: Installation, made: list[str]
) -> None:
    job = _backed_up(installation)
    installation.server.execute("DELETE FROM orders WHERE id > 10", installation.source_database)
    log = installation.finished(LOGS, installation.restore(job, "swap"))
    assert log["status"] == "completed"
    made.append(log["metadata"]["swap"]["kept"])
    installation.stop_agents()
    _die(installation, log["id"], undo_state="none")
    assert installation.as_admin("SELECT tui_backup.mark_lost()") == [(1,)]
    installation.age(LOGS, log["id"])
    installation.start_agent()
    installation.wait(lambda: installation.row(LOGS, log["id"])["undo_state"] == "kept", 30)
    row = installation.row(LOGS, log["id"])
    assert (row["status"], row["rollback_executed"], row["error_message"]) == ("completed", False, None)
    assert (row["rows_restored"], _rows(installation)) == (500, 500)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["in_place", "side_schema"])
def test_a_commit_that_happened_is_not_called_rolled_back(installation: Installation, target: str) -> None:
    job = _backed_up(installation)
    installation.server.execute("DELETE FROM orders WHERE id > 10", installation.source_database)
    options = {"chosen_tables": ["public.orders"], "options": {"safety_backup": False}, "target_schema": "look"}
    log = installation.finished(LOGS, installation.restore(job, target, **options))
    assert log["status"] == "completed", log
    _die(installation, log["id"])
    row = installation.finished(LOGS, log["id"], 30)
    assert (row["status"], row["rollback_executed"]) == ("completed", False), row
    assert (row["rows_restored"], row["metadata"]["compare"]["identical"]) == (500, True)


def test_a_finished_new_database_is_not_called_taken_back(installation: Installation, made: list[str]) -> None:
    job = _backed_up(installation)
    made.append(f"{installation.source_database}_copy")
    log = installation.finished(LOGS, installation.restore(job, "new_database", target_database=made[0]))
    assert log["status"] == "completed", log
    _die(installation, log["id"])
    row = installation.finished(LOGS, log["id"], 30)
    assert (row["status"], row["rollback_executed"]) == ("completed", False), row


@pytest.mark.slow
def test_a_target_that_is_gone_does_not_keep_a_restore_running(installation: Installation, made: list[str]) -> None:
    job = _backed_up(installation)
    conninfo = installation.source_conninfo()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    installation.query("UPDATE tui_backup.sources SET conninfo = %(c)s", {"c": installation.source_conninfo(port)})
    log, work = _half_swapped(installation, job, made)
    row = installation.finished(LOGS, log, 45)
    assert (row["status"], row["rollback_executed"]) == ("failed", False), row
    assert row["error_message"]
    # it comes back: what the dead agent left is still put right
    installation.query("UPDATE tui_backup.sources SET conninfo = %(c)s", {"c": conninfo})
    installation.wait(lambda: installation.row(LOGS, log)["rollback_executed"], 60)
    assert _is_open(installation.server, installation.source_database)
    assert _oid(installation.server, work) is None


def test_a_swap_without_a_live_database_says_so_before_it_restores(installation: Installation) -> None:
    job = _backed_up(installation)
    installation.query(
        "UPDATE tui_backup.sources SET conninfo = %(c)s",
        {"c": installation.source_conninfo().replace(installation.source_database, "nothing_here")},
    )
    before = set(installation.server.execute("SELECT datname FROM pg_database"))
    row = installation.finished(LOGS, installation.restore(job, "swap"))
    assert row["status"] == "failed"
    assert "nothing_here" in row["error_message"], row
    assert set(installation.server.execute("SELECT datname FROM pg_database")) == before


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["undo", "finish"])
def test_an_undo_that_lost_its_place_in_the_queue_is_still_done(
    installation: Installation, made: list[str], goal: str
) -> None:
    job = _backed_up(installation)
    log = installation.finished(LOGS, installation.restore(job, "swap"))
    made.append(log["metadata"]["swap"]["kept"])
    installation.query(
        f"UPDATE tui_backup.{LOGS} SET undo_state = %(s)s WHERE id = %(id)s",
        {"s": f"{goal}_requested", "id": log["id"]},
    )
    installation.age(LOGS, log["id"])
    ended = {"undo": "undone", "finish": "finished"}[goal]
    installation.wait(lambda: installation.row(LOGS, log["id"])["undo_state"] == ended, 30)
    undone = installation.row(LOGS, log["id"])["metadata"]["swap"]["undone"]
    if undone:
        made.append(undone)


def test_a_restore_does_not_wait_for_a_backup_that_waits_to_be_tried_again(
    installation: Installation, made: list[str]
) -> None:
    job = _backed_up(installation)
    # a backup in its backoff holds the source's place in the queue
    other = installation.backup()
    installation.finished("backup_jobs", other)
    installation.queue(
        "INSERT INTO tui_backup_queue.procrastinate_jobs (queue_name, task_name, lock, args, scheduled_at)"
        " VALUES ('default', 'tui_backup.backup', %(lock)s, %(args)s, now() + interval '300 s')",
        {"lock": f"source:{installation.source_id}", "args": Jsonb({"subject_id": str(other)})},
    )
    made.append(f"{installation.source_database}_copy")
    since = time.monotonic()
    row = installation.finished(LOGS, installation.restore(job, "new_database", target_database=made[0]), 30)
    assert row["status"] == "completed"
    assert time.monotonic() - since < 30


def test_a_restore_in_place_that_was_taken_over_commits_nothing(installation: Installation) -> None:
    job = _backed_up(installation)
    server, source = installation.server, installation.source_database
    server.execute("DELETE FROM orders WHERE id > 10", source)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{}'"
    with psycopg.connect(server.dsn(source)) as holder:
        holder.execute("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        options = {"chosen_tables": ["public.orders"], "options": {"safety_backup": False}}
        log = installation.restore(job, "in_place", **options)
        installation.wait(lambda: server.execute(waits.format(source)) == [(1,)], 30)
        # another agent believes that this one is dead; it wakes up with everything but the commit before it
        other = installation.query("UPDATE tui_backup.agents SET heartbeat_at = heartbeat_at RETURNING id")[0]["id"]
        installation.query(
            f"UPDATE tui_backup.{LOGS} SET attempt_token = gen_random_uuid(), agent_id = %(a)s WHERE id = %(id)s",
            {"a": other, "id": log},
        )
    installation.wait(lambda: "taken this run over" in installation.log(), 30)
    assert _rows(installation) == 10


def test_a_swap_never_takes_the_catalog_away(installation: Installation) -> None:
    job = _backed_up(installation)
    marker = "CREATE SCHEMA tui_backup CREATE TABLE schema_migrations (name text)"
    installation.server.execute(marker, installation.source_database)
    before = _oid(installation.server, installation.source_database)
    log = installation.finished(LOGS, installation.restore(job, "swap"))
    assert log["status"] == "failed"
    assert "holds a catalog" in log["error_message"]
    assert _oid(installation.server, installation.source_database) == before
    assert _is_open(installation.server, installation.source_database)
