"""Backups by a real agent process: the good case, cancelling, retries, damage, deletion."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.integration.agent.installation import LOGINS, PASSWORD, Installation
from tests.integration.repository.fault_proxy import Fault, FaultProxy
from tui_backup.repository.manifests import read_manifest
from tui_backup.repository.open import open_store


def fill(installation: Installation, rows: int = 2000) -> None:
    """A table whose text does not compress."""
    installation.server.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, note text);"
        "INSERT INTO orders SELECT g, (SELECT string_agg(md5(g::text || i), '') FROM generate_series(1, 8) i)"
        f" FROM generate_series(1, {rows}) g;",
        installation.source_database,
    )


@pytest.fixture
def proxy(installation: Installation) -> Iterator[FaultProxy]:
    """The source is reached through this."""
    made = FaultProxy(installation.server.port)
    installation.query("UPDATE tui_backup.sources SET conninfo = %(c)s", {"c": installation.source_conninfo(made.port)})
    try:
        yield made
    finally:
        made.close()


def ask_cancel(installation: Installation, subject: UUID) -> None:
    """As a member does it."""
    with psycopg.connect(installation.server.dsn(installation.catalog, LOGINS["admin"], PASSWORD)) as conn:
        found = conn.execute("SELECT tui_backup.request_cancel(%s)", [subject]).fetchone()
    assert found == (True,)


def reading(installation: Installation, job: UUID, more_than: int = 0) -> bool:
    """Whether rows are being read."""
    rows = installation.query("SELECT bytes_done FROM tui_backup.progress WHERE subject_id = %(id)s", {"id": job})
    return bool(rows) and rows[0]["bytes_done"] > more_than


def test_a_backup_runs_to_its_end_and_its_row_tells_the_truth(installation: Installation) -> None:
    fill(installation)
    installation.start_agent()
    job = installation.finished("backup_jobs", installation.backup())
    assert job["status"] == "completed", f"{job}\n{installation.log()}"
    assert (job["rows_count"], job["tables_count"], job["retry_count"]) == (2000, 1, 0)
    assert job["compressed_size_bytes"] > 0
    assert (installation.folder / "repository" / job["storage_path"]).is_file()
    assert installation.query("SELECT * FROM tui_backup.progress") == []
    store = open_store(str(installation.folder / "repository"))
    assert read_manifest(store, installation.tenant, job["id"]).contents.rows == 2000


def test_cancel_ends_it_within_five_seconds_and_leaves_nothing(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=300_000)
    installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    since = time.monotonic()
    ask_cancel(installation, job)
    row = installation.finished("backup_jobs", job, 10)
    assert time.monotonic() - since < 5
    assert row["status"] == "cancelled"
    assert row["error_details"]["error"] == "cancelled"
    assert not list((installation.folder / "repository").glob("*/packs/*/*"))
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tui-backup %' AND datname = '{}'"
    installation.wait(lambda: installation.server.execute(left.format(installation.source_database)) == [(0,)], 5)


@pytest.mark.slow
def test_a_cut_line_is_tried_again_and_counted(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=500_000)
    installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    proxy.fault = None
    proxy.cut_all()
    row = installation.finished("backup_jobs", job, 60)
    assert (row["status"], row["retry_count"]) == ("completed", 1), installation.log()
    assert row["rows_count"] == 40_000


def test_a_wrong_password_is_not_tried_again(installation: Installation) -> None:
    installation.query(
        "UPDATE tui_backup.sources SET conninfo = conninfo || ' user=nobody_here'",
    )
    installation.start_agent()
    row = installation.finished("backup_jobs", installation.backup())
    assert (row["status"], row["retry_count"]) == ("failed", 0)
    assert row["error_details"]["error"] == "login_failed"
    assert row["error_details"]["hint"]


def test_two_backups_of_one_source_run_one_after_the_other(installation: Installation) -> None:
    fill(installation)
    first, second = installation.backup(), installation.backup()
    installation.start_agent()
    rows = [installation.finished("backup_jobs", job) for job in (first, second)]
    assert [row["status"] for row in rows] == ["completed", "completed"]
    assert rows[1]["started_at"] >= rows[0]["completed_at"]


def test_a_full_repository_fails_the_job_and_says_so(installation: Installation, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", small], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a tmpfs")
    try:
        shutil.copytree(installation.folder / "repository", small / "repository")
        installation.query("UPDATE tui_backup.repositories SET location = %(l)s", {"l": str(small / "repository")})
        fill(installation, 60_000)
        installation.start_agent()
        row = installation.finished("backup_jobs", installation.backup())
        assert row["status"] == "failed"
        assert row["error_details"]["error"] == "repository_full", row["error_details"]
        assert not list((small / "repository").glob("*/manifests/*"))
    finally:
        installation.stop_agents()
        subprocess.run(["umount", small], check=True)


def test_a_repository_that_is_gone_is_named(installation: Installation) -> None:
    fill(installation)
    (installation.folder / "repository").rename(installation.folder / "elsewhere")
    installation.start_agent(TUI_BACKUP_AGENT_MAX_RETRIES="0")
    row = installation.finished("backup_jobs", installation.backup())
    assert row["status"] == "failed"
    assert row["error_details"]["error"] == "repository_unavailable"
    assert not (installation.folder / "repository").exists()


def test_verify_finds_a_flipped_bit_and_names_the_table(installation: Installation) -> None:
    fill(installation)
    installation.start_agent()
    job = installation.finished("backup_jobs", installation.backup())["id"]
    good = installation.finished("backup_verifications", installation.verify(job))
    assert (good["status"], good["problems"]) == ("completed", [])
    assert good["bytes_read"] > 0
    for pack in (installation.folder / "repository").glob("*/packs/*/*"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 4
        pack.chmod(0o600)
        pack.write_bytes(data)
    bad = installation.finished("backup_verifications", installation.verify(job))
    assert bad["status"] == "failed"
    assert any("public.orders" in problem["belongs_to"] for problem in bad["problems"]), bad["problems"]


def test_delete_removes_files_and_row_but_not_what_a_restore_points_at(installation: Installation) -> None:
    fill(installation)
    installation.start_agent()
    job = installation.finished("backup_jobs", installation.backup())["id"]
    with psycopg.connect(installation.server.dsn(installation.catalog, LOGINS["admin"], PASSWORD)) as conn:
        conn.execute("SELECT tui_backup.request_delete(%s)", [job])
    installation.wait(
        lambda: not installation.query("SELECT 1 FROM tui_backup.backup_jobs WHERE id = %(id)s", {"id": job}), 20
    )
    assert not list((installation.folder / "repository").glob("*/manifests/*"))
    assert not list((installation.folder / "repository").glob("*/packs/*/*"))
