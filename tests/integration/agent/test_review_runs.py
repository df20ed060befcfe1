"""Cancels that come late, agents that sleep, deletions that are cut off, tenants that reach for others."""

from __future__ import annotations

import shutil
import signal
import time
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.integration.agent.installation import LOGINS, PASSWORD, Installation
from tests.integration.agent.test_backup_runs import fill, proxy, reading
from tests.integration.repository.fault_proxy import Fault, FaultProxy
from tui_backup.repository.keys import manifest_key

__all__ = ["proxy"]


def test_a_cancel_beside_a_transient_error_does_not_leave_it_pending(installation: Installation) -> None:
    # the run wrote 'pending' for its retry after the member's request was noted
    installation.start_agent()
    job = installation.backup(status="failed", error_message="x", cancel_requested=True)
    installation.query("UPDATE tui_backup.backup_jobs SET status = 'pending' WHERE id = %(id)s", {"id": job})
    installation.age("backup_jobs", job)
    row = installation.finished("backup_jobs", job, 30)
    assert row["status"] == "cancelled"


@pytest.mark.slow
def test_a_cancel_that_comes_with_the_final_write_does_not_hide_a_finished_backup(
    installation: Installation, proxy: FaultProxy
) -> None:
    fill(installation, 500)
    proxy.fault = Fault(bytes_per_second=60_000)
    installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    # the row is held by somebody else, so that the run's last word waits
    with psycopg.connect(installation.server.dsn(installation.catalog)) as holder:
        holder.execute("SELECT 1 FROM tui_backup.backup_jobs WHERE id = %s FOR UPDATE", [job])
        manifest = installation.folder / "repository" / manifest_key(installation.tenant, job)
        proxy.fault = None
        installation.wait(manifest.is_file, 30)
        time.sleep(1)
        queued = installation.query(
            "SELECT id FROM tui_backup_queue.procrastinate_jobs WHERE args ->> 'subject_id' = %(id)s", {"id": str(job)}
        )
        installation.queue(
            "UPDATE tui_backup_queue.procrastinate_jobs SET abort_requested = true WHERE id = %(id)s", queued[0]
        )
        time.sleep(4)
        holder.rollback()
    row = installation.finished("backup_jobs", job, 30)
    assert row["status"] == "completed", installation.log()
    assert row["retry_count"] == 0


@pytest.mark.slow
def test_cancel_works_without_the_queues_help(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=100_000)
    installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    installation.query("UPDATE tui_backup.backup_jobs SET cancel_requested = true WHERE id = %(id)s", {"id": job})
    row = installation.finished("backup_jobs", job, 10)
    assert row["status"] == "cancelled"


@pytest.mark.slow
def test_an_agent_that_slept_does_not_take_its_own_run_over(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=300_000)
    agent = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    agent.send_signal(signal.SIGSTOP)
    time.sleep(24)
    agent.send_signal(signal.SIGCONT)
    time.sleep(6)
    proxy.fault = None
    row = installation.finished("backup_jobs", job, 60)
    assert (row["status"], row["retry_count"]) == ("completed", 0), installation.log()


def test_nobody_cancels_another_tenants_job_by_borrowing_its_id(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=300_000)
    installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    login = f"tb_thief_{uuid4().hex[:8]}"
    with installation.connect() as conn:
        conn.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}'".encode())
        conn.execute(f"GRANT tui_backup_user TO {login}".encode())
        conn.execute("INSERT INTO tui_backup.tenants (tenant_name) VALUES ('thieves')")
        conn.execute(
            "INSERT INTO tui_backup.memberships SELECT %s, id, 'admin' FROM tui_backup.tenants"
            " WHERE tenant_name = 'thieves'",
            [login],
        )
    try:
        with psycopg.connect(installation.server.dsn(installation.catalog, login, PASSWORD), autocommit=True) as thief:
            # ids are heard by LISTEN; a source with that id makes the same id one's own
            for statement in (
                "INSERT INTO tui_backup.sources (id, source_name, conninfo) VALUES (%(id)s, 'mine', 'host=x')",
                "INSERT INTO tui_backup.repositories (source_name, location) VALUES ('mine', '/x')",
                "INSERT INTO tui_backup.backup_restore_logs (id, backup_job_id) VALUES (%(id)s, %(id)s)",
                "INSERT INTO tui_backup.backup_verifications (id, backup_job_id) VALUES (%(id)s, %(id)s)",
                "INSERT INTO tui_backup.backup_jobs (id, job_type) VALUES (%(id)s, 'full')",
            ):
                with pytest.raises(psycopg.Error):
                    thief.execute(statement.encode(), {"id": job})
            # even where an id is shared across tables, only one's own work is reached
            with installation.connect() as conn:
                mine = conn.execute("SELECT id FROM tui_backup.tenants WHERE tenant_name = 'thieves'").fetchone()
                assert mine
            _borrow_id(installation, job, mine["id"])
            assert thief.execute("SELECT tui_backup.request_cancel(%s)", [job]).fetchone() == (True,)
        time.sleep(3)
        assert installation.row("backup_jobs", job)["status"] == "running", installation.log()
        aborted = "SELECT bool_or(abort_requested) AS n FROM tui_backup_queue.procrastinate_jobs WHERE task_name = '{}'"
        assert installation.query(aborted.format("tui_backup.backup")) == [{"n": False}]
    finally:
        with installation.connect() as conn:
            conn.execute(f"DROP ROLE {login}".encode())


def _borrow_id(installation: Installation, job: UUID, tenant: UUID) -> None:
    """A verification of another tenant with the id of this job."""
    dsn = installation.server.dsn(installation.catalog, LOGINS["agent"], PASSWORD)
    with installation.connect() as conn:
        source = conn.execute(
            "INSERT INTO tui_backup.sources (source_name, conninfo, tenant_id) VALUES ('s', 'host=x', %s) RETURNING id",
            [tenant],
        ).fetchone()
        repository = conn.execute(
            "INSERT INTO tui_backup.repositories (repository_name, location, tenant_id) VALUES ('r', '/x', %s)"
            " RETURNING id",
            [tenant],
        ).fetchone()
        assert source and repository
    with psycopg.connect(dsn, autocommit=True) as conn:
        other = conn.execute(
            "INSERT INTO tui_backup.backup_jobs (job_type, status, error_message, tenant_id, source_id, repository_id)"
            " VALUES ('full', 'failed', 'x', %s, %s, %s) RETURNING id",
            [tenant, source["id"], repository["id"]],
        ).fetchone()
        assert other
        conn.execute(
            "INSERT INTO tui_backup.backup_verifications (id, backup_job_id, tenant_id, status, agent_id)"
            " VALUES (%s, %s, %s, 'running', (SELECT id FROM tui_backup.agents LIMIT 1))",
            [job, other[0], tenant],
        )


def test_a_manifest_whose_packs_are_gone_is_not_adopted(installation: Installation) -> None:
    fill(installation)
    installation.start_agent()
    done = installation.finished("backup_jobs", installation.backup())
    for folder in (installation.folder / "repository").glob("*/packs"):
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
    installation.query(
        "UPDATE tui_backup.backup_jobs SET status = 'running', completed_at = NULL, attempt_token = gen_random_uuid(),"
        " agent_id = NULL, backup_size = NULL, storage_path = NULL WHERE id = %(id)s",
        {"id": done["id"]},
    )
    again = installation.finished("backup_jobs", done["id"])
    verified = installation.finished("backup_verifications", installation.verify(done["id"]))
    assert (again["status"], verified["status"]) == ("completed", "completed"), again["error_message"]


def _request_delete(installation: Installation, job: UUID) -> None:
    with psycopg.connect(installation.server.dsn(installation.catalog, LOGINS["admin"], PASSWORD)) as conn:
        conn.execute("SELECT tui_backup.request_delete(%s)", [job])


def _is_gone(installation: Installation, job: UUID) -> bool:
    return not installation.query("SELECT 1 FROM tui_backup.backup_jobs WHERE id = %(id)s", {"id": job})


def test_deleting_a_failed_job_takes_its_orphaned_manifest_too(installation: Installation) -> None:
    fill(installation)
    installation.start_agent()
    job = installation.finished("backup_jobs", installation.backup())["id"]
    # its agent died after the manifest, and a reader called it lost
    installation.query(
        "UPDATE tui_backup.backup_jobs SET status = 'failed', error_message = 'The agent is gone.',"
        " storage_path = NULL WHERE id = %(id)s",
        {"id": job},
    )
    _request_delete(installation, job)
    installation.wait(lambda: _is_gone(installation, job), 20)
    assert not list((installation.folder / "repository").glob("*/manifests/*"))
    assert not list((installation.folder / "repository").glob("*/packs/*/*"))


def test_a_deletion_that_lost_its_place_in_the_queue_is_still_done(installation: Installation) -> None:
    fill(installation)
    agent = installation.start_agent()
    job = installation.finished("backup_jobs", installation.backup())["id"]
    agent.terminate()
    agent.wait(30)
    _request_delete(installation, job)
    installation.queue("DELETE FROM tui_backup_queue.procrastinate_jobs")
    installation.age("backup_jobs", job)
    installation.start_agent()
    installation.wait(lambda: _is_gone(installation, job), 30)


def test_one_broken_schedule_neither_ends_the_agent_nor_starves_the_others(installation: Installation) -> None:
    for name in ("broken", "good"):
        installation.as_admin(
            "INSERT INTO tui_backup.backup_schedules (schedule_name, source_id, cron_expression, next_run_at)"
            f" VALUES ('{name}', '{installation.source_id}', '0 2 * * *', now() + interval '1 second') RETURNING id"
        )
    with pytest.raises(psycopg.errors.CheckViolation):
        installation.as_admin(
            "UPDATE tui_backup.backup_schedules SET next_run_at = '-infinity' WHERE schedule_name = 'broken'"
            " RETURNING id"
        )
    # whatever else a database can refuse when the job is made
    installation.query("ALTER TABLE tui_backup.backup_jobs ADD CONSTRAINT test_poison CHECK (backup_name <> 'broken')")
    agent = installation.start_agent()
    installation.wait(lambda: bool(installation.query("SELECT 1 FROM tui_backup.backup_jobs")), 20)
    installation.wait(
        lambda: (
            installation.query("SELECT last_run_status AS s FROM tui_backup.backup_schedules WHERE NOT is_enabled")
            == [{"s": "failed"}]
        ),
        20,
    )
    assert agent.poll() is None


def test_many_runs_at_once_leave_room_for_the_rest(installation: Installation) -> None:
    """More runs than Python's default executor has threads: a cancel must still get through."""
    from tui_backup.agent.main import executor_threads

    assert executor_threads(64) > 64


@pytest.mark.parametrize("payload", ['{{"type": "abort_job_requested", "job_id": {job}}}', "no JSON", "[1]", "{{}}"])
def test_a_forged_notification_ends_no_run(installation: Installation, proxy: FaultProxy, payload: str) -> None:
    fill(installation, 5000)
    proxy.fault = Fault(bytes_per_second=200_000)
    agent = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    queued = installation.query("SELECT id FROM tui_backup_queue.procrastinate_jobs WHERE status = 'doing'")[0]["id"]
    # any login of the database may do this; a member of the tenant stands for all
    for channel in ("procrastinate_any_queue_v1", "procrastinate_queue_v1#default"):
        installation.as_admin(f"SELECT pg_notify('{channel}', '{payload.format(job=queued)}')")
    time.sleep(1)
    assert installation.row("backup_jobs", job)["status"] == "running", installation.log()
    proxy.fault = None
    row = installation.finished("backup_jobs", job)
    assert (row["status"], row["retry_count"]) == ("completed", 0), installation.log()
    # and work that is asked for afterwards is still heard of
    assert installation.finished("backup_jobs", installation.backup())["status"] == "completed"
    assert agent.poll() is None
