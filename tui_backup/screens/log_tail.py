"""The last lines of a growing log file, masked and cleaned."""

from __future__ import annotations

import re
from pathlib import Path

from tui_backup.widgets.text import shown

LAST_LINES = 2000
READ_BYTES = 1 << 20
_SECRETS = (
    re.compile(
        r"(?i)(password|passwd|pwd|secret|token|access_key)(['\"]?\s*[=:]\s*)('(?:[^'\\]|\\.)*'|\"[^\"]*\"|\S+)"
    ),
    re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s:/@]*)(:)([^\s@]+)(?=@)"),
)


def mask_secrets(line: str) -> str:
    """Replace what looks like a password. The agent masks when it writes; this is the second net."""
    for pattern in _SECRETS:
        line = pattern.sub(r"\1\2***", line)
    return line


class LogTail:
    """Reads a file piece by piece; starts over when it was rotated or cut.

    Args:
        path: the file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset: int | None = None
        self._inode: int | None = None
        self._rest = b""

    def read(self) -> tuple[list[str], bool]:
        """New lines, and whether they replace all earlier ones.

        Raises:
            OSError: the file cannot be read; a missing one is empty.
        """
        try:
            with self.path.open("rb") as file:
                stat = self.path.stat()
                fresh = self._offset is None or stat.st_ino != self._inode or stat.st_size < self._offset
                if fresh:
                    self._inode, self._rest = stat.st_ino, b""
                    self._offset = max(0, stat.st_size - READ_BYTES)
                start = self._offset or 0
                file.seek(start)
                data = file.read(READ_BYTES)
        except FileNotFoundError:
            self._offset = None
            return [], True
        self._offset = start + len(data)
        pieces = (self._rest + data).split(b"\n")
        self._rest = pieces.pop()[-READ_BYTES:]
        if fresh and start > 0 and pieces:
            # The first line was met in its middle.
            pieces.pop(0)
        lines = [piece.decode("utf-8", "backslashreplace") for piece in pieces[-LAST_LINES:]]
        return [shown(mask_secrets(line)) for line in lines], fresh
