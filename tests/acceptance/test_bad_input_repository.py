"""Bad input, part two: a directory repository that is missing, read-only, full, public, or goes away."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.acceptance.bench import ORDERS, Bench, Failure
from tests.integration.repository.fault_proxy import Fault, FaultProxy

SMALL = ("--table", "public.customers")


@pytest.fixture
def folder(bench: Bench, tmp_path: Path) -> Iterator[Path]:
    """A repository of its own; its name is the folder's."""
    yield _added(bench, tmp_path / "repository")
    # whatever the test did to it: nothing half-made is left
    if (tmp_path / "repository").exists():
        _assert_whole(bench, tmp_path / "repository")


def _added(bench: Bench, folder: Path) -> Path:
    bench.add_repository(_name(folder), str(folder))
    return folder


def _name(folder: Path) -> str:
    return "repo-" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _assert_whole(bench: Bench, folder: Path) -> None:
    """Its manifests are those of the completed jobs, no pack is without one, no temporary file is left."""
    jobs = bench.catalog(
        f"SELECT * FROM tui_backup.backup_jobs WHERE storage_bucket = '{folder}' AND deleted_at IS NULL"
    )
    assert bench.objects(folder, "manifests") == {job["storage_path"] for job in jobs}
    if not jobs:
        assert bench.objects(folder, "packs") == set()
    assert list((folder / ".tmp").glob("*")) == []


def _fails(bench: Bench, code: str, folder: Path) -> Failure:
    """A backup into it fails."""
    failed = bench.failed_backup(code, "shop", "--repo", _name(folder))
    assert str(folder) in failed.message
    return failed


@pytest.mark.slow
def test_a_folder_that_is_not_there(bench: Bench, folder: Path) -> None:
    job = bench.ok("backup", "shop", *SMALL, "--repo", _name(folder), "--wait")
    away = folder.with_name("away")
    folder.rename(away)
    _fails(bench, "repository_unavailable", folder)
    looked = bench.run("repo", "check", _name(folder), "--json")
    assert looked.returncode == 1 and "is not there" in looked.stdout and '"refused"' in looked.stdout
    for words in (
        ["job", "download", job["id"], "--output", str(away.parent / "x.sql")],
        ["restore", job["id"], "--into-database", "bench_never", "--confirm", "--wait"],
        ["verify", job["id"], "--files"],
    ):
        failure = bench.fails(1, "repository_unavailable", *words)
        assert "mounted" in failure.hint
    assert not folder.exists() and not (away.parent / "x.sql").exists()
    away.rename(folder)
    bench.ok("verify", job["id"], "--files")


@pytest.mark.slow
def test_an_empty_mount_point_is_no_repository(bench: Bench, folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    failed = _fails(bench, "repository_unavailable", folder)
    assert "mounted" in failed.hint and list(folder.iterdir()) == []
    folder.rmdir()
    # neither is a file in its place
    folder.write_text("x")
    _fails(bench, "repository_unavailable", folder)
    folder.unlink()


@contextlib.contextmanager
def _read_only(folder: Path) -> Generator[None]:
    if os.geteuid() != 0:
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    # no mode stops root
    if subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_folder_that_is_read_only(bench: Bench, folder: Path) -> None:
    job = bench.ok("backup", "shop", *SMALL, "--repo", _name(folder), "--wait")
    with _read_only(folder):
        failed = _fails(bench, "repository_denied", folder)
        assert "owner and mode" in failed.hint
        bench.fails(3, "confirmation_required", "job", "delete", job["id"])
        refused = bench.fails(1, "failed", "job", "delete", job["id"], "--confirm")
        assert refused.error["details"]["cause"] == "repository_denied"
    bench.ok("verify", job["id"], "--files")


@pytest.mark.slow
def test_a_folder_that_others_can_read(bench: Bench, folder: Path) -> None:
    folder.chmod(0o755)
    failed = _fails(bench, "repository_public", folder)
    assert "chmod 700" in failed.hint
    public = folder.with_name("public")
    public.mkdir(mode=0o755)
    public.chmod(0o755)
    bench.fails(3, "repository_public", "repo", "add", "public", str(public))
    full = folder.with_name("not-empty")
    full.mkdir(mode=0o700)
    (full / "letter.txt").write_text("x")
    assert "empty folder" in bench.fails(3, "refused", "repo", "add", "other", str(full)).hint
    assert {repository["repository_name"] for repository in bench.ok("repo", "list")} & {"public", "other"} == set()
    folder.chmod(0o700)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, less than one backup of the shop takes."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", mount], check=False)
    if made.returncode:
        pytest.skip("no right to mount a tmpfs")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.slow
def test_a_folder_that_is_full(bench: Bench, disk: Path) -> None:
    folder = _added(bench, disk / "repository")
    before = bench.ok("backup", "shop", *SMALL, "--repo", _name(folder), "--wait")
    packs = bench.objects(folder, "packs")
    failed = bench.failed_backup("repository_full", "shop", "--repo", _name(folder))
    assert str(folder) in failed.message and "Free space" in failed.hint
    _assert_whole(bench, folder)
    assert bench.objects(folder, "packs") == packs
    bench.ok("verify", before["id"], "--files")
    subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
    after = bench.ok("backup", "shop", "--repo", _name(folder), "--wait")
    assert after["rows_count"] == ORDERS + 100
    bench.ok("verify", after["id"], "--files")


@pytest.mark.slow
def test_a_folder_that_fills_up_at_any_byte(bench: Bench, disk: Path) -> None:
    """From no page left to just enough: the backup is whole, or there is none."""
    folder = _added(bench, disk / "repository")
    subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
    ends: list[str] = []
    for kib in (0, 4, 8, 16, 40, 120, 400, 1200, 3600, 4800, 5200, 5400, 8000):
        free = shutil.disk_usage(disk).free
        with (disk / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, max(1, free - kib * 1024))
        done = bench.run("backup", "shop", "--repo", _name(folder), "--wait", "--json")
        (disk / "filler").unlink()
        _assert_whole(bench, folder)
        job = bench.ok("job", "list")[0]
        if job["status"] == "failed":
            assert (done.returncode, job["error_details"]["error"]) == (1, "repository_full"), job
        else:
            bench.ok("verify", job["id"], "--files")
            bench.ok("job", "delete", job["id"], "--confirm")
        ends.append(job["status"])
        _assert_whole(bench, folder)
    assert ends[0] == "failed" and ends[-1] == "completed"


@pytest.mark.parametrize("way", ["removed", pytest.param("moved away", marks=pytest.mark.slow)])
def test_a_folder_that_goes_in_the_middle(bench: Bench, folder: Path, way: str) -> None:
    proxy = FaultProxy(bench.server.port)
    proxy.fault = Fault(bytes_per_second=1_500_000)
    source = bench.add_source(port=proxy.port)
    try:
        with bench.running("backup", source, "--repo", _name(folder), "--wait") as waiting:
            bench.wait_for(bench.is_reading)
            if way == "removed":
                shutil.rmtree(folder)
            else:
                folder.rename(folder.with_name("away"))
            failure = waiting.fails(1, "repository_unavailable")
    finally:
        proxy.close()
    bench.is_failed(failure)
    assert not folder.exists()
