"""Faults and rights of the directory store, on real file systems."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tui_backup.errors import (
    DamagedError,
    ObjectMissingError,
    RefusedError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StorePublicError,
    StoreUnavailableError,
)
from tui_backup.repository import directory_files
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.directory_errors import translated

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "repo")
    store.check(create=True)
    return store


def files_below(folder: Path) -> list[str]:
    return sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file())


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = DirectoryStore(tmp_path / "repo")
        store.check(create=True)
        store.put("tenant/packs/ab/x", b"data")
    finally:
        os.umask(before)
    modes = {
        stat.S_IMODE(found.stat().st_mode)
        for found in [tmp_path / "repo", *(tmp_path / "repo").rglob("*")]
        if found.is_dir()
    }
    assert modes == {0o700}
    assert stat.S_IMODE((tmp_path / "repo/tenant/packs/ab/x").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o701, 0o740, 0o755, 0o710])
def test_open_to_others_is_refused(store: DirectoryStore, mode: int) -> None:
    store.put("a", b"1")
    Path(store.location).chmod(mode)
    for use in (store.check, lambda: store.check(create=True), lambda: store.put("b", b"2")):
        with pytest.raises(StorePublicError) as failure:
            use()
        assert "chmod 700" in failure.value.hint
    # but a restore may still read
    assert store.get("a") == b"1"


def test_a_missing_folder_is_made_only_when_asked(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "deep" / "repo")
    for use in (store.check, lambda: store.put("a", b""), lambda: list(store.list()), lambda: store.stat("a")):
        with pytest.raises(StoreUnavailableError):
            use()
    assert not (tmp_path / "deep").exists()
    store.check(create=True)
    assert (tmp_path / "deep" / "repo").is_dir()


def test_an_empty_mount_point_is_not_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    store = DirectoryStore(tmp_path)
    for use in (store.check, lambda: store.put("a", b"")):
        with pytest.raises(StoreUnavailableError, match="holds no repository"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_a_copy_without_hidden_files_still_works(store: DirectoryStore) -> None:
    store.put("config", b"{}")
    (Path(store.location) / ".tmp").rmdir()
    store.put("a", b"1")
    assert store.get("a") == b"1"


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    tmp_path.chmod(0o700)
    with pytest.raises(RefusedError, match="other files"):
        DirectoryStore(tmp_path).check(create=True)
    assert files_below(tmp_path) == ["letter.txt"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        DirectoryStore(tmp_path / "file").check(create=True)


def test_removed_in_the_middle(store: DirectoryStore, tmp_path: Path) -> None:
    store.put("a/b", b"1")
    (tmp_path / "repo").rename(tmp_path / "elsewhere")
    uses = [
        lambda: store.put("a/c", b"2"),
        lambda: store.get("a/b"),
        lambda: store.stat("a/b"),
        lambda: list(store.list()),
        lambda: store.delete("a/b"),
        store.free_bytes,
    ]
    for use in uses:
        with pytest.raises(StoreUnavailableError) as failure:
            use()
        assert failure.value.retryable
    assert not (tmp_path / "repo").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "repo")
    assert store.get("a/b") == b"1"


def test_no_link_is_followed(store: DirectoryStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    root = Path(store.location)
    (root / "folder").symlink_to(secret)
    (root / "object").symlink_to(secret / "file")
    for key in ("folder/file", "object"):
        with pytest.raises(StoreDeniedError):
            store.get(key)
    with pytest.raises(StoreDeniedError):
        store.put("folder/new", b"x")
    with pytest.raises(StoreDeniedError):
        store.stat("object")
    assert list(store.list()) == []
    assert files_below(secret) == ["file"]
    assert (secret / "file").read_text() == "secret"


@pytest.mark.timeout(20)
def test_a_pipe_does_not_block(store: DirectoryStore) -> None:
    os.mkfifo(Path(store.location) / "pipe")
    with pytest.raises(StoreDeniedError):
        store.get("pipe")
    with pytest.raises(StoreDeniedError):
        store.stat("pipe")


def test_other_bytes_from_the_disk_are_noticed(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gives back what it was not given, played by flipping a bit of the temporary file."""
    write_temp = directory_files.write_temp

    def flipping(temp: int, view: memoryview) -> str:
        name = write_temp(temp, view)
        handle = os.open(name, os.O_RDWR, dir_fd=temp)
        os.pwrite(handle, b"\x00", 3)
        os.close(handle)
        return name

    monkeypatch.setattr(directory_files, "write_temp", flipping)
    with pytest.raises(DamagedError, match="gave back other bytes"):
        store.put("a/b", b"content")
    assert files_below(Path(store.location)) == []


def test_without_hard_links(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store.put("a/b", b"1")
    assert store.get("a/b") == b"1"
    with pytest.raises(DamagedError):
        store.put("a/b", b"2")
    assert files_below(Path(store.location)) == ["a/b"]


def test_stale_temporary_files_go_fresh_ones_stay(store: DirectoryStore) -> None:
    temp = Path(store.location) / ".tmp"
    (temp / "old").write_bytes(b"x")
    (temp / "new").write_bytes(b"x")
    yesterday = time.time() - 25 * 3600
    os.utime(temp / "old", (yesterday, yesterday))
    store.check()
    assert sorted(found.name for found in temp.iterdir()) == ["new"]


@needs_root
def test_full_at_any_byte(tmp_path: Path) -> None:
    with _mounted(tmp_path / "disk", "size=256k,mode=700") as disk:
        store = DirectoryStore(disk)
        store.check(create=True)
        for number in range(200):
            try:
                store.put(f"tenant/packs/{number:02x}", os.urandom(7_001))
            except StoreFullError as error:
                assert not error.retryable
                break
        else:
            pytest.fail("256 KiB took 1.4 MB")
        listed = list(store.list())
        assert listed
        assert all(len(store.get(found.key)) == 7_001 for found in listed)
        assert list((disk / ".tmp").iterdir()) == []
        room = store.free_bytes()
        assert room is not None
        assert room < 16_000
        # deleting works on a full disk, and then there is room again
        for found in listed[:3]:
            store.delete(found.key)
        assert store.put("tenant/packs/again", b"x" * 7_001).size_bytes == 7_001


@needs_root
def test_read_only(tmp_path: Path) -> None:
    with _mounted(tmp_path / "disk", "size=1m,mode=700") as disk:
        store = DirectoryStore(disk)
        store.check(create=True)
        store.put("a", b"1")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for use in (lambda: store.put("b", b"2"), lambda: store.delete("a"), store.check):
            with pytest.raises(StoreDeniedError):
                use()
        assert store.get("a") == b"1"


@needs_root
def test_unmounted_in_the_middle(tmp_path: Path) -> None:
    mount_point = tmp_path / "disk"
    with _mounted(mount_point, "size=1m,mode=700") as disk:
        store = DirectoryStore(disk)
        store.check(create=True)
        store.put("a", b"1")
    mount_point.chmod(0o700)
    with pytest.raises(StoreUnavailableError):
        store.put("b", b"2")
    with pytest.raises(StoreUnavailableError):
        store.check()
    assert list(mount_point.iterdir()) == []


def test_a_file_size_limit_counts_as_full(store: DirectoryStore) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StoreFullError):
            store.put("a/b", bytes(60_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files_below(Path(store.location)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_denied_to_another_user(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "repo")
    store.check(create=True)
    store.put("a", b"1")
    code = f"""
import os
from pathlib import Path
from tui_backup.errors import StoreDeniedError
from tui_backup.repository.directory import DirectoryStore
store = DirectoryStore(Path({str(tmp_path / "repo")!r}))
os.setuid(65534)
for use in (lambda: store.get("a"), lambda: store.put("b", b"2"), store.check, lambda: list(store.list())):
    try:
        use()
    except StoreDeniedError:
        continue
    raise SystemExit("not denied")
"""
    # the other user cannot write coverage's file
    env = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EROFS, StoreDeniedError),
        (errno.EACCES, StoreDeniedError),
        (errno.ESTALE, StoreUnavailableError),
        (errno.ENOTCONN, StoreUnavailableError),
        (errno.EIO, StoreError),
    ],
)
def test_what_the_system_says_has_a_name(number: int, kind: type[StoreError]) -> None:
    with pytest.raises(StoreError) as failure, translated("/mnt/x", "write a to"):
        raise OSError(number, os.strerror(number))
    assert type(failure.value) is kind
    assert failure.value.details == {"errno": errno.errorcode[number]}
    assert "/mnt/x" in failure.value.message


def test_an_object_deleted_by_another_while_listing(store: DirectoryStore) -> None:
    for number in range(5):
        store.put(f"a{number}/x", b"1")
    listing = store.list()
    first = next(listing)
    (Path(store.location) / "a3/x").unlink()
    (Path(store.location) / "a3").rmdir()
    assert [first.key, *(found.key for found in listing)] == ["a0/x", "a1/x", "a2/x", "a4/x"]
    with pytest.raises(ObjectMissingError):
        store.get("a3/x")


def _mounted(point: Path, options: str) -> _Mounted:
    return _Mounted(point, options)


class _Mounted:
    """A small tmpfs for one test."""

    def __init__(self, point: Path, options: str) -> None:
        self._point = point
        self._options = options

    def __enter__(self) -> Path:
        self._point.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", self._options, "tmpfs", str(self._point)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
        return self._point

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self._point)], check=True)
