"""A repository in a directory of this machine (or of a mounted disk).

Every path is walked from the root part by part through directory descriptors, and no symbolic link is
followed below the root, so a key can never lead out of it. Bounds in time are the file system's own: a
hard-mounted NFS server that is gone makes every program wait, this one included (mount it ``soft`` or
``intr``).
"""

from __future__ import annotations

import hashlib
import os
import stat as stat_module
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tui_backup.errors import (
    DamagedError,
    ObjectMissingError,
    ObjectTooLargeError,
    RefusedError,
    StoreDeniedError,
    StoreUnavailableError,
)
from tui_backup.repository import directory_files as files
from tui_backup.repository.directory_errors import translated
from tui_backup.repository.keys import CONFIG_KEY, check_key, check_prefix
from tui_backup.repository.store import DEFAULT_MAX_OBJECT_BYTES, ObjectStat

_TEMP = ".tmp"


class DirectoryStore:
    """Objects as files: folders 0700, files 0600, published by a hard link once they are durable.

    Args:
        path: the root, absolute.
        max_object_bytes: no object may be larger.
    """

    def __init__(self, path: Path, *, max_object_bytes: int = DEFAULT_MAX_OBJECT_BYTES) -> None:
        self._path = path
        self._max_object_bytes = max_object_bytes

    @property
    def location(self) -> str:
        """The root's path."""
        return str(self._path)

    @property
    def max_object_bytes(self) -> int:
        """No object may be larger."""
        return self._max_object_bytes

    # -- the port --------------------------------------------------------------------------------------------

    def check(self, *, create: bool = False) -> None:
        """Prove that the directory is there, private and writable; clear temporary files that a crash left.

        Raises:
            StoreUnavailableError: it is missing, or it is not the repository that it was.
            StorePublicError: others may read it.
            RefusedError: ``create`` was asked for and other files are in it.
        """
        with translated(self.location, "check"):
            if create:
                self._create()
            with self._root() as root:
                files.refuse_public(root, self.location)
                with self._temp_folder(root) as temp:
                    files.clear_stale(temp)
                    probe = files.write_temp(temp, memoryview(b"tui-backup"))
                    os.unlink(probe, dir_fd=temp)

    def put(self, key: str, data: bytes | bytearray | memoryview) -> ObjectStat:
        """Write to a temporary file, fsync, read it back, publish it under its name, fsync the folder."""
        parts = check_key(key)
        view = memoryview(data).cast("B")
        if len(view) > self._max_object_bytes:
            raise ObjectTooLargeError(
                f"{key} has {len(view)} bytes, {self.location} takes {self._max_object_bytes} at most"
            )
        digest = hashlib.sha256(view).hexdigest()
        with translated(self.location, f"write {key} to"), ExitStack() as stack:
            root = stack.enter_context(self._root())
            files.refuse_public(root, self.location)
            temp = stack.enter_context(self._temp_folder(root))
            folder = stack.enter_context(files.walk(root, parts[:-1], create=True))
            if files.exists(folder, parts[-1]):
                return self._keep_existing(folder, key, digest)
            name = files.write_temp(temp, view)
            stack.callback(files.unlink_quietly, temp, name)
            self._read_back(temp, name, key, digest)
            if not files.publish(temp, name, folder, parts[-1]):
                return self._keep_existing(folder, key, digest)
            files.sync(folder)
            return files.stat_of(key, os.stat(parts[-1], dir_fd=folder, follow_symlinks=False), digest)

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        with translated(self.location, f"read {key} from"), self._open(key) as (handle, size):
            return files.read_exactly(handle, 0, size)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read exactly ``length`` bytes from ``offset``."""
        with translated(self.location, f"read {key} from"), self._open(key) as (handle, size):
            data = files.read_exactly(handle, offset, length) if offset + length <= size else b""
            if len(data) < length:
                raise DamagedError(
                    f"{key} is truncated: it has {size} bytes, {offset + length} were written",
                    details={"key": key, "problem": "truncated", "size_bytes": size},
                )
            return data

    def stat(self, key: str) -> ObjectStat | None:
        """Size and time; no checksum, that would be a full read."""
        parts = check_key(key)
        with translated(self.location, f"look at {key} in"), self._root() as root:
            try:
                with files.walk(root, parts[:-1]) as folder:
                    found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return None
            if not stat_module.S_ISREG(found.st_mode):
                raise StoreDeniedError(f"{key} in {self.location} is not a plain file")
            return files.stat_of(key, found)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Objects in key order. Symbolic links and hidden files are no objects."""
        folders, start = check_prefix(prefix)
        with translated(self.location, "list"):
            with self._root():
                pass
            yield from self._list(folders, start)

    def delete(self, key: str) -> None:
        """Unlink, fsync the folder, look again."""
        parts = check_key(key)
        with translated(self.location, f"delete {key} from"), self._root() as root:
            try:
                with files.walk(root, parts[:-1]) as folder:
                    os.unlink(parts[-1], dir_fd=folder)
                    files.sync(folder)
            except FileNotFoundError:
                return
        if self.stat(key) is not None:
            raise StoreUnavailableError(f"{key} was deleted from {self.location} and is still there")

    def free_bytes(self) -> int | None:
        """Room that this user may still fill."""
        with translated(self.location, "look at"), self._root() as root:
            room = os.fstatvfs(root)
            return room.f_bavail * room.f_frsize

    def close(self) -> None:
        """Nothing stays open between calls."""

    # -- its parts -------------------------------------------------------------------------------------------

    @contextmanager
    def _root(self) -> Generator[int]:
        try:
            root = os.open(self._path, files.OPEN_FOLDER)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreUnavailableError(f"The repository folder {self.location} is not there") from error
        try:
            yield root
        finally:
            os.close(root)

    @contextmanager
    def _temp_folder(self, root: int) -> Generator[int]:
        """The folder for temporary files; its absence means that this is no longer our directory."""
        if not files.exists(root, _TEMP):
            if not files.exists(root, CONFIG_KEY):
                raise StoreUnavailableError(
                    f"{self.location} holds no repository",
                    hint="Is its disk mounted?",
                )
            files.make_folder(root, _TEMP)
        with files.walk(root, [_TEMP]) as temp:
            yield temp

    def _create(self) -> None:
        if not self._path.is_dir():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # private from its first moment, and whatever the umask takes away is given back
            with suppress(FileExistsError):
                self._path.mkdir(mode=0o700)
                self._path.chmod(0o700)
        with self._root() as root:
            files.refuse_public(root, self.location)
            if files.exists(root, _TEMP):
                return
            others = set(os.listdir(root)) - {"lost+found", _TEMP}  # noqa: PTH208 (a descriptor)
            if others and CONFIG_KEY not in others:
                raise RefusedError(
                    f"{self.location} holds other files and is no repository",
                    hint="Choose a new or empty folder.",
                )
            files.make_folder(root, _TEMP)

    @contextmanager
    def _open(self, key: str) -> Generator[tuple[int, int]]:
        parts = check_key(key)
        with self._root() as root, ExitStack() as stack:
            try:
                folder = stack.enter_context(files.walk(root, parts[:-1]))
                handle = os.open(parts[-1], files.OPEN_FILE, dir_fd=folder)
            except FileNotFoundError as error:
                raise ObjectMissingError(
                    f"{key} is missing in {self.location}", details={"key": key, "problem": "missing"}
                ) from error
            stack.callback(os.close, handle)
            found = os.fstat(handle)
            if not stat_module.S_ISREG(found.st_mode):
                raise StoreDeniedError(f"{key} in {self.location} is not a plain file")
            yield handle, found.st_size

    def _keep_existing(self, folder: int, key: str, digest: str) -> ObjectStat:
        """Say what is there already. It is made durable too: who wrote it may have died before its own
        fsync."""
        name = key.rsplit("/", 1)[-1]
        handle = os.open(name, files.OPEN_FILE, dir_fd=folder)
        try:
            os.fsync(handle)
            found = os.fstat(handle)
            there = files.hash_file(handle)
        finally:
            os.close(handle)
        files.sync(folder)
        if there != digest:
            raise DamagedError(
                f"{key} exists in {self.location} with other content",
                hint="Nothing was overwritten. Verify the backups of this repository.",
                details={"key": key, "problem": "exists", "size_bytes": found.st_size},
            )
        return files.stat_of(key, found, digest)

    def _read_back(self, temp: int, name: str, key: str, digest: str) -> None:
        handle = os.open(name, files.OPEN_FILE, dir_fd=temp)
        try:
            # without this the page cache answers, which proves nothing about the disk
            if sys.platform == "linux":
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            if files.hash_file(handle) != digest:
                raise DamagedError(
                    f"{self.location} gave back other bytes than were written for {key}",
                    hint="The disk, its controller or the machine's memory is faulty: check them now.",
                )
        finally:
            os.close(handle)

    def _list(self, folders: list[str], start: str) -> Iterator[ObjectStat]:
        with self._root() as root:
            try:
                with files.walk(root, folders) as folder:
                    entries = sorted(files.entries(folder, start))
            except FileNotFoundError:
                return
        for name, found in entries:
            if found is None:
                yield from self._list([*folders, name.rstrip("/")], "")
            else:
                yield files.stat_of("/".join([*folders, name]), found)
