"""Incrementals by real agents: two at once, a parent that is to be deleted, and manifests that are not the parent's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.integration.agent.installation import Installation
from tests.integration.agent.test_backup_runs import fill, proxy, reading
from tests.integration.agent.test_stored_sizes import ask_delete, real, stored
from tests.integration.repository.fault_proxy import Fault, FaultProxy

__all__ = ["proxy"]


def change(installation: Installation) -> None:
    installation.server.execute("UPDATE orders SET note = note || '!' WHERE id = 7", installation.source_database)


def back_up(installation: Installation, kind: str = "incremental") -> dict[str, Any]:
    job = installation.finished("backup_jobs", installation.backup(job_type=kind))
    assert job["status"] == "completed", f"{job['error_message']}\n{installation.log()}"
    return job


def is_whole(installation: Installation, job: UUID) -> bool:
    """Whether every file of it is as it was written, and it restores to what it was."""
    verified = installation.finished("backup_verifications", installation.verify(job))
    name = f"{installation.source_database}_back"
    log = installation.finished(
        "backup_restore_logs",
        installation.restore(job, "new_database", target_database=name, options={"compare": True}),
    )
    installation.server.drop_database(name)
    same = log["status"] == "completed" and log["metadata"]["compare"]["identical"] is True
    return same and verified["status"] == "completed"


def test_two_incrementals_of_one_source_wait_for_each_other(installation: Installation) -> None:
    fill(installation)
    installation.start_agent()
    full = back_up(installation, "full")
    installation.start_agent()
    change(installation)
    asked = [installation.backup(job_type="incremental") for _ in range(2)]
    rows = sorted((installation.finished("backup_jobs", job) for job in asked), key=lambda row: row["started_at"])
    assert [row["status"] for row in rows] == ["completed", "completed"], installation.log()
    # the source's lock in the queue lets one in at a time, whatever agent runs it: the later builds upon the earlier
    assert rows[1]["started_at"] >= rows[0]["completed_at"]
    assert [row["parent_job_id"] for row in rows] == [full["id"], rows[0]["id"]]
    assert [row["metadata"]["chunks_read"] for row in rows] == [1, 0]
    assert all(is_whole(installation, row["id"]) for row in rows)
    assert stored(installation) == real(installation)


@pytest.mark.slow
def test_a_parent_whose_deletion_is_asked_for_in_the_middle(installation: Installation, proxy: FaultProxy) -> None:
    # of two chunks one is to be read
    fill(installation, 40_000)
    installation.start_agent()
    full = back_up(installation, "full")
    installation.server.execute("UPDATE orders SET note = note || '!' WHERE id > 39000", installation.source_database)
    proxy.fault = Fault(bytes_per_second=400_000)
    job = installation.backup(job_type="incremental")
    installation.wait(lambda: reading(installation, job), 30)
    ask_delete(installation, full["id"])
    manifest = installation.folder / "repository" / full["storage_path"]
    assert installation.row("backup_jobs", job)["status"] == "running"
    assert manifest.is_file(), "the deletion waits for its turn at the source"
    proxy.fault = None
    row = installation.finished("backup_jobs", job)
    assert (row["status"], row["parent_job_id"]) == ("completed", full["id"]), installation.log()
    installation.wait(lambda: installation.row("backup_jobs", full["id"])["deleted_at"] is not None, 20)
    assert not manifest.exists()
    assert row["metadata"]["chunks_reused"] > 0 < row["metadata"]["chunks_read"]
    assert is_whole(installation, job)
    assert stored(installation) == real(installation)


def _swap(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def _cut(path: Path, other: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _flip(path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _remove(path: Path, other: Path) -> None:
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_swap, _cut, _flip, _remove])
def test_a_parent_whose_manifest_is_not_its_own(installation: Installation, harm: Callable[[Path, Path], None]) -> None:
    fill(installation)
    installation.start_agent()
    # of chosen tables: no parent of an incremental of all, but a manifest that could lie in its place
    part = installation.finished("backup_jobs", installation.backup(chosen_tables=["public.orders"]))
    first = back_up(installation, "full")
    folder = installation.folder / "repository"
    harm(folder / first["storage_path"], folder / part["storage_path"])
    change(installation)
    second = back_up(installation)
    facts = second["metadata"]
    assert second["parent_job_id"] is None
    assert facts["read_everything_because"] == f"the manifest of backup {first['id']} cannot be read"
    assert facts["chunks_reused"] == 0 < facts["chunks_read"]
    assert is_whole(installation, second["id"])

    # where an older one can be read it will do; nothing is read but what changed since then
    third = back_up(installation)
    assert (third["parent_job_id"], third["metadata"]["chunks_read"]) == (second["id"], 0)
    harm(folder / third["storage_path"], folder / part["storage_path"])
    fourth = back_up(installation)
    assert (fourth["parent_job_id"], fourth["metadata"]["read_everything_because"]) == (second["id"], None)
    assert is_whole(installation, fourth["id"])
