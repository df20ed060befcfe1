"""A new private file that appears under its name only when it is whole, and leaves nothing behind otherwise."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tui_backup.errors import AlreadyExistsError, WorkFailedError


@contextmanager
def new_file(output: Path) -> Generator[Path]:
    """Give a part file to write; the end of the block gives it the wished name.

    Args:
        output: must not exist.

    Raises:
        AlreadyExistsError: it exists, or came into being meanwhile.
        WorkFailedError: it cannot be written.
    """
    output = output.expanduser().absolute()
    if os.path.lexists(output):
        raise _exists(output)
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as exc:
        raise _unwritable(output, exc) from exc
    try:
        yield part
        # link() refuses what came into being meanwhile; rename() would replace it
        os.link(part, output)
    except FileExistsError as exc:
        raise _exists(output) from exc
    except OSError as exc:
        raise _unwritable(output, exc) from exc
    finally:
        part.unlink(missing_ok=True)


def _exists(output: Path) -> AlreadyExistsError:
    return AlreadyExistsError(f"{output} exists already.", hint="Choose another file.")


def _unwritable(output: Path, exc: OSError) -> WorkFailedError:
    return WorkFailedError(
        f"{output} cannot be written: {exc.strerror}.", hint="Free space there, or choose another place."
    )
