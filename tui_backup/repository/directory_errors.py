"""What the operating system says of a directory, as errors of this program."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from tui_backup.errors import StoreDeniedError, StoreError, StoreFullError, StoreUnavailableError

_DISK_HINT = "Check the disk: `dmesg` and its SMART state."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_UNAVAILABLE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ENODEV,
    errno.ENXIO,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
}


@contextmanager
def translated(location: str, action: str) -> Generator[None]:
    """Turn an OSError inside into a StoreError.

    Args:
        location: the store, for people.
        action: what was tried, to stand between "Cannot" and the location ("write x to").

    Raises:
        StoreFullError: no space, quota or file size limit.
        StoreDeniedError: rights, a read-only file system, a symbolic link in the way.
        StoreUnavailableError: the folder or its server is gone.
        StoreError: anything else, an I/O error above all.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"Cannot {action} {location}: {reason}"
        details = {"errno": errno.errorcode.get(error.errno or 0, str(error.errno))}
        if error.errno in _FULL:
            raise StoreFullError(message, details=details) from error
        if error.errno in _DENIED:
            raise StoreDeniedError(message, details=details) from error
        if error.errno in _UNAVAILABLE:
            raise StoreUnavailableError(message, details=details) from error
        raise StoreError(message, hint=_DISK_HINT, details=details) from error
