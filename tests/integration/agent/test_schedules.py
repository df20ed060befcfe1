"""Schedules fire by themselves: once for each due time, late but once after a pause, and their row stays true."""

from __future__ import annotations

from tests.integration.agent.installation import LOGINS, PASSWORD, Installation
from tui_backup.agent.records import Records, open_pool
from tui_backup.agent.scheduler import fire_due


def _schedule(installation: Installation, name: str, due: str) -> None:
    installation.as_admin(
        "INSERT INTO tui_backup.backup_schedules (schedule_name, source_id, cron_expression, next_run_at)"
        f" VALUES ('{name}', '{installation.source_id}', '0 2 * * *', now() + interval '{due}') RETURNING id"
    )


def test_a_due_schedule_fires_once_and_says_how_it_ended(installation: Installation) -> None:
    _schedule(installation, "nightly", "1 second")
    installation.start_agent()
    installation.wait(lambda: bool(installation.query("SELECT 1 FROM tui_backup.backup_jobs")), 20)
    job = installation.finished("backup_jobs", installation.query("SELECT id FROM tui_backup.backup_jobs")[0]["id"])
    assert job["status"] == "completed"
    assert "late_seconds" not in job["metadata"]
    (row,) = installation.query("SELECT *, next_run_at > now() AS is_ahead FROM tui_backup.backup_schedules")
    assert row["is_ahead"]
    assert (row["next_run_at"].hour, row["next_run_at"].minute) == (2, 0)
    assert row["last_run_at"] is not None
    assert row["last_run_status"] == "completed"


def test_a_missed_run_fires_once_and_says_that_it_is_late(installation: Installation) -> None:
    _schedule(installation, "missed", "-3 days")
    installation.start_agent()
    installation.wait(lambda: bool(installation.query("SELECT 1 FROM tui_backup.backup_jobs")), 20)
    (job,) = installation.query("SELECT * FROM tui_backup.backup_jobs")
    assert job["metadata"]["late_seconds"] >= 3 * 86400


def test_two_agents_fire_every_due_time_once(installation: Installation) -> None:
    for number in range(12):
        _schedule(installation, f"s{number}", "3 seconds")
    _schedule(installation, "off", "-1 day")
    installation.query("UPDATE tui_backup.backup_schedules SET is_enabled = false WHERE schedule_name = 'off'")
    installation.start_agent()
    installation.start_agent()
    installation.wait(lambda: installation.query("SELECT count(*) AS n FROM tui_backup.backup_jobs")[0]["n"] >= 12, 20)
    counts = installation.query(
        "SELECT s.schedule_name, count(j.id) AS n FROM tui_backup.backup_schedules s"
        " LEFT JOIN tui_backup.backup_jobs j ON j.schedule_id = s.id GROUP BY 1"
    )
    assert {row["schedule_name"]: row["n"] for row in counts} == {**{f"s{n}": 1 for n in range(12)}, "off": 0}


def test_a_schedule_that_cannot_be_computed_is_switched_off_where_people_see_it(installation: Installation) -> None:
    _schedule(installation, "odd", "-1 second")
    installation.query("UPDATE tui_backup.backup_schedules SET timezone = 'Atlantis/Capital'")
    installation.start_agent()
    installation.wait(
        lambda: not installation.query("SELECT is_enabled FROM tui_backup.backup_schedules")[0]["is_enabled"], 20
    )
    (row,) = installation.query("SELECT * FROM tui_backup.backup_schedules")
    assert "Atlantis" in row["metadata"]["disabled_because"]
    assert installation.query("SELECT * FROM tui_backup.backup_jobs") == []


async def test_a_schedule_faster_than_its_backups_does_not_fill_the_queue(installation: Installation) -> None:
    _schedule(installation, "eager", "-1 second")
    dsn = installation.server.dsn(installation.catalog, LOGINS["agent"], PASSWORD)
    async with open_pool(dsn) as pool:
        records = Records(pool)
        assert await fire_due(records) == 1
        installation.query("UPDATE tui_backup.backup_schedules SET next_run_at = now()")
        assert await fire_due(records) == 0, "the first job has not begun"
        (row,) = installation.query("SELECT *, next_run_at > now() AS is_ahead FROM tui_backup.backup_schedules")
        assert row["is_ahead"]
        assert "skipped_for" in row["metadata"]
        assert row["last_run_status"] == "pending"
        assert installation.query("SELECT count(*) AS n FROM tui_backup.backup_jobs")[0]["n"] == 1
        installation.query("UPDATE tui_backup.backup_jobs SET status = 'cancelled'")
        installation.query("UPDATE tui_backup.backup_schedules SET next_run_at = now()")
        assert await fire_due(records) == 1
