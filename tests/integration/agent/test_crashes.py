"""What happens to work when its agent is killed, stopped, asked to end, or loses its terminal or its catalog."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.integration.agent.installation import Installation
from tests.integration.agent.test_backup_runs import fill, proxy, reading
from tests.integration.repository.fault_proxy import Fault, FaultProxy
from tests.servers import TestServer

__all__ = ["proxy"]


@pytest.mark.slow
def test_a_killed_agents_backup_is_taken_over_within_a_minute(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=300_000)
    first = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    killed_at = time.monotonic()
    first.kill()
    first.wait()
    proxy.fault = None
    installation.start_agent()
    row = installation.finished("backup_jobs", job, 60)
    assert time.monotonic() - killed_at < 60
    assert (row["status"], row["retry_count"]) == ("completed", 1)
    verified = installation.finished("backup_verifications", installation.verify(job))
    assert verified["status"] == "completed"


def test_without_another_agent_any_reader_sees_the_truth_within_a_minute(
    installation: Installation, proxy: FaultProxy
) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=300_000)
    agent = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    agent.kill()
    agent.wait()
    installation.query("UPDATE tui_backup.agents SET heartbeat_at = now() - interval '50 seconds'")
    assert installation.as_admin("SELECT tui_backup.mark_lost()") == [(1,)]
    row = installation.row("backup_jobs", job)
    assert (row["status"], row["error_details"]["error"]) == ("failed", "agent_lost")


def test_a_backup_whose_agent_died_after_the_manifest_is_adopted(installation: Installation) -> None:
    fill(installation)
    installation.start_agent()
    done = installation.finished("backup_jobs", installation.backup())
    installation.query(
        "UPDATE tui_backup.backup_jobs SET status = 'running', completed_at = NULL, attempt_token = gen_random_uuid(),"
        " agent_id = NULL, backup_size = NULL, storage_path = NULL WHERE id = %(id)s",
        {"id": done["id"]},
    )
    again = installation.finished("backup_jobs", done["id"])
    assert (again["status"], again["retry_count"]) == ("completed", 1)
    same = ("backup_size", "compressed_size_bytes", "storage_path", "rows_count", "files_count")
    assert [again[name] for name in same] == [done[name] for name in same]


@pytest.mark.slow
def test_sigterm_hands_the_backup_back(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=200_000)
    first = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    first.terminate()
    assert first.wait(30) == 0
    assert installation.row("backup_jobs", job)["status"] == "pending"
    proxy.fault = None
    installation.start_agent()
    row = installation.finished("backup_jobs", job, 30)
    assert (row["status"], row["retry_count"]) == ("completed", 0)


def test_a_lost_terminal_does_not_end_it(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 4_000)
    proxy.fault = Fault(bytes_per_second=500_000)
    agent = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    agent.send_signal(signal.SIGHUP)
    assert installation.finished("backup_jobs", job)["status"] == "completed"
    assert agent.poll() is None


@pytest.mark.slow
def test_a_stopped_agent_that_wakes_up_writes_nothing(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=200_000)
    first = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    first.send_signal(signal.SIGSTOP)
    proxy.fault = None
    installation.start_agent()
    done = installation.finished("backup_jobs", job, 60)
    assert done["status"] == "completed"
    manifest = installation.folder / "repository" / done["storage_path"]
    before = manifest.read_bytes()
    first.send_signal(signal.SIGCONT)
    installation.wait(lambda: "taken over" in installation.log() or "taken this run over" in installation.log(), 20)
    assert installation.row("backup_jobs", job) == done
    assert manifest.read_bytes() == before
    assert first.poll() is None
    verified = installation.finished("backup_verifications", installation.verify(job))
    assert verified["status"] == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.02, 0.15, 0.35, 0.8])
def test_killed_at_any_moment_it_ends_well(installation: Installation, after_s: float) -> None:
    fill(installation, 30_000)
    first = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: installation.row("backup_jobs", job)["status"] != "pending", 20)
    time.sleep(after_s)
    first.kill()
    first.wait()
    installation.start_agent()
    row = installation.finished("backup_jobs", job, 60)
    assert row["status"] == "completed"
    verified = installation.finished("backup_verifications", installation.verify(job))
    assert verified["status"] == "completed"


@pytest.mark.slow
def test_a_catalog_that_restarts_is_waited_for(pg: TestServer, pg_new: object, tmp_path: Path) -> None:
    assert callable(pg_new)
    own: TestServer = pg_new()
    installation = Installation(own, tmp_path)
    source = pg.create_database()
    try:
        pg.execute("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g", source)
        slow = FaultProxy(pg.port)
        slow.fault = Fault(bytes_per_second=200_000)
        escaped = pg.password.replace("\\", "\\\\").replace(":", "\\:")
        (tmp_path / "state" / "pgpass").write_text(f"*:*:*:{pg.superuser}:{escaped}\n")
        installation.query(
            "UPDATE tui_backup.sources SET conninfo = %(c)s",
            {"c": f"host=127.0.0.1 port={slow.port} user={pg.superuser} dbname={source}"},
        )
        agent = installation.start_agent()
        job = installation.backup()
        installation.wait(lambda: reading(installation, job), 30)
        own.restart()
        assert installation.finished("backup_jobs", job, 60)["status"] == "completed", installation.log()
        assert agent.poll() is None
        again = installation.backup()
        slow.fault = None
        assert installation.finished("backup_jobs", again, 60)["status"] == "completed", installation.log()
    finally:
        installation.stop_agents()
        pg.drop_database(source)
