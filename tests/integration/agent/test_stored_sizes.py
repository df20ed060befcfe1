"""What the catalog says is stored, held against the files of the repository, byte for byte."""

from __future__ import annotations

import time
from uuid import UUID

import psycopg
import pytest

from tests.integration.agent.installation import LOGINS, PASSWORD, Installation
from tests.integration.agent.test_backup_runs import fill, proxy, reading
from tests.integration.repository.fault_proxy import Fault, FaultProxy
from tui_backup.repository.inventory import take_inventory
from tui_backup.repository.open import open_store

__all__ = ["proxy"]


def stored(installation: Installation) -> int:
    """Bytes that the catalog knows, as a member of the tenant sees them."""
    ((found,),) = installation.as_admin("SELECT coalesce(sum(bytes), 0)::bigint FROM tui_backup.stored_sizes")
    return int(found)


def real(installation: Installation) -> int:
    """Bytes of everything below the tenant's folder."""
    folder = installation.folder / "repository" / str(installation.tenant)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def back_up(installation: Installation, kind: str = "incremental", **columns: object) -> UUID:
    job = installation.finished("backup_jobs", installation.backup(job_type=kind, **columns))
    assert job["status"] == "completed", installation.log()
    return job["id"]


def ask_delete(installation: Installation, job: UUID) -> None:
    with psycopg.connect(installation.server.dsn(installation.catalog, LOGINS["admin"], PASSWORD)) as conn:
        conn.execute("SELECT tui_backup.request_delete(%s)", [job])


def delete(installation: Installation, job: UUID) -> None:
    """Have it deleted; a row that another one points at stays, marked."""
    ask_delete(installation, job)
    left = "SELECT 1 FROM tui_backup.backup_jobs WHERE id = %(id)s AND deleted_at IS NULL"
    installation.wait(lambda: not installation.query(left, {"id": job}), 20)


@pytest.fixture
def filled(installation: Installation) -> Installation:
    fill(installation)
    installation.start_agent()
    return installation


def test_stored_is_what_lies_there(filled: Installation) -> None:
    installation = filled
    full = back_up(installation, "full")
    first = real(installation)
    assert stored(installation) == first > 0
    same = back_up(installation)
    assert stored(installation) == real(installation) < first * 1.5
    installation.server.execute("UPDATE orders SET note = 'new' WHERE id < 50", installation.source_database)
    changed = back_up(installation)
    assert stored(installation) == real(installation)
    before = real(installation)
    delete(installation, full)
    # what the full one stored first is still needed: little was freed, and the catalog knows it
    assert first / 2 < real(installation) < before
    assert stored(installation) == real(installation)
    delete(installation, changed)
    assert stored(installation) == real(installation)
    delete(installation, same)
    assert stored(installation) == real(installation) == 0


def test_two_sources_of_the_same_content_count_it_once(filled: Installation) -> None:
    installation = filled
    one = back_up(installation, "full")
    with installation.connect() as conn:
        row = conn.execute(
            "INSERT INTO tui_backup.sources (source_name, conninfo, tenant_id)"
            " SELECT 'again', conninfo, tenant_id FROM tui_backup.sources RETURNING id"
        ).fetchone()
    assert row
    other = back_up(installation, "full", source_id=row["id"])
    assert stored(installation) == real(installation)
    delete(installation, one)
    assert stored(installation) == real(installation) > 0
    delete(installation, other)
    assert stored(installation) == real(installation) == 0


def test_a_run_that_died_before_it_could_say_is_entered_when_it_is_adopted(filled: Installation) -> None:
    installation = filled
    back_up(installation, "full")
    job = back_up(installation)
    name = f"manifests/{job}.json.zst"
    installation.query("DELETE FROM tui_backup.stored_objects WHERE object_name = %(n)s", {"n": name})
    installation.query(
        "UPDATE tui_backup.backup_jobs SET status = 'running', completed_at = NULL, attempt_token = gen_random_uuid(),"
        " agent_id = NULL, backup_size = NULL, storage_path = NULL WHERE id = %(id)s",
        {"id": job},
    )
    assert installation.finished("backup_jobs", job)["status"] == "completed"
    assert stored(installation) == real(installation)


def test_a_deletion_that_died_is_made_up_for_by_the_next(filled: Installation) -> None:
    installation = filled
    kept = back_up(installation, "full", chosen_tables=["orders"])
    gone = back_up(installation, "full")
    folder = installation.folder / "repository" / str(installation.tenant)
    # its files are away, its row is not: the agent died between the two
    (folder / "manifests" / f"{gone}.json.zst").unlink()
    assert stored(installation) > real(installation)
    delete(installation, gone)
    assert stored(installation) == real(installation) > 0
    delete(installation, kept)
    assert stored(installation) == real(installation)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.6])
def test_killed_at_any_moment_the_sum_is_that_of_what_belongs_to_backups(
    installation: Installation, after_s: float
) -> None:
    fill(installation, 30_000)
    first = installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: installation.row("backup_jobs", job)["status"] != "pending", 20)
    time.sleep(after_s)
    first.kill()
    first.wait()
    installation.start_agent()
    assert installation.finished("backup_jobs", job)["status"] == "completed"
    store = open_store(str(installation.folder / "repository"))
    found = take_inventory(store, installation.tenant)
    # packs of the killed attempt that no manifest names are left to a later deletion, and are no backup's
    assert stored(installation) == sum(found.sizes[name] for name in found.owners) > 0


def test_failed_and_cancelled_runs_leave_nothing_behind(installation: Installation, proxy: FaultProxy) -> None:
    fill(installation, 40_000)
    proxy.fault = Fault(bytes_per_second=300_000)
    installation.start_agent()
    job = installation.backup()
    installation.wait(lambda: reading(installation, job), 30)
    with psycopg.connect(installation.server.dsn(installation.catalog, LOGINS["admin"], PASSWORD)) as conn:
        conn.execute("SELECT tui_backup.request_cancel(%s)", [job])
    assert installation.finished("backup_jobs", job, 10)["status"] == "cancelled"
    assert stored(installation) == real(installation) == 0
