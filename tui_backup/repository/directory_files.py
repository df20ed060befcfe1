"""Steps on files and folders by descriptor: nothing here takes a path, so nothing can be led elsewhere."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import stat as stat_module
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from tui_backup.errors import StoreDeniedError, StorePublicError
from tui_backup.repository.store import ObjectStat

_LOG = logging.getLogger(__name__)
_TEMP_GRACE_S = 24 * 3600
_READ_BYTES = 1024 * 1024
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def walk(root: int, parts: list[str], *, create: bool = False) -> Generator[int]:
    """Open a folder below the root, part by part; no symbolic link is followed."""
    current = os.dup(root)
    try:
        for part in parts:
            if create and not exists(current, part):
                make_folder(current, part)
            try:
                below = os.open(part, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=current)
            except NotADirectoryError as error:
                raise StoreDeniedError(f"{part} in the repository is no folder") from error
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def make_folder(parent: int, name: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        # the umask may have taken bits away
        os.chmod(name, 0o700, dir_fd=parent)
    sync(parent)


def exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def entries(folder: int, start: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Names (a folder's ends in ``/``, so that sorting gives key order) with what stat() says of files."""
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.startswith(".") or not entry.name.startswith(start):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield f"{entry.name}/", None
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    yield entry.name, entry.stat(follow_symlinks=False)


def refuse_public(root: int, location: str) -> None:
    mode = stat_module.S_IMODE(os.fstat(root).st_mode)
    if mode & 0o077:
        raise StorePublicError(
            f"{location} is open to others (mode {mode:04o})",
            hint=f"chmod 700 {location}",
            details={"mode": f"{mode:04o}"},
        )


def write_temp(temp: int, view: memoryview) -> str:
    name = f"{int(time.time())}-{os.getpid()}-{secrets.token_hex(8)}"
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=temp)
    try:
        os.fchmod(handle, 0o600)
        done = 0
        while done < len(view):
            done += os.write(handle, view[done:])
        sync(handle)
    except BaseException:
        unlink_quietly(temp, name)
        raise
    finally:
        os.close(handle)
    return name


def publish(temp: int, name: str, folder: int, final: str) -> bool:
    """Give a durable file its name without ever overwriting; False when the name is taken."""
    try:
        os.link(name, final, src_dir_fd=temp, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A file system without hard links (exFAT, some network ones). Between the look and the rename
        # another writer may come, but whoever writes this key writes the same bytes: names are digests, or
        # ids of one job.
        if exists(folder, final):
            return False
        os.rename(name, final, src_dir_fd=temp, dst_dir_fd=folder)
    return True


def sync(handle: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync() there leaves the data in the drive's cache
        with suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)


def unlink_quietly(folder: int, name: str) -> None:
    """Remove a temporary file; what cannot be removed now is cleared by a later check()."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as error:
        _LOG.warning("temporary file %s stays behind: %s", name, error.strerror)


def clear_stale(temp: int) -> None:
    limit = time.time() - _TEMP_GRACE_S
    for name in os.listdir(temp):
        try:
            stale = os.stat(name, dir_fd=temp, follow_symlinks=False).st_mtime < limit
        except FileNotFoundError:
            continue
        if stale:
            unlink_quietly(temp, name)


def hash_file(handle: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(handle, _READ_BYTES, offset):
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()


def read_exactly(handle: int, offset: int, length: int) -> bytes:
    """Read until ``length`` or the file's end; a single read may return less."""
    data = os.pread(handle, length, offset)
    if len(data) == length:
        return data
    blocks = [data]
    done = len(data)
    while done < length and (block := os.pread(handle, length - done, offset + done)):
        blocks.append(block)
        done += len(block)
    return b"".join(blocks)


def stat_of(key: str, found: os.stat_result, digest: str | None = None) -> ObjectStat:
    return ObjectStat(key, found.st_size, digest, datetime.fromtimestamp(found.st_mtime, UTC))
