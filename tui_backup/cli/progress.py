"""How far waited-for work is, on stderr: one line kept fresh on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from tui_backup.cli import text
from tui_backup.cli.output import Output
from tui_backup.model import Progress

_PLAIN_EVERY_S = 5.0
_DRAW_EVERY_S = 0.2
_ETA_AFTER_S = 10.0
_BAR_CELLS = 10
_PHASE_CELLS = 16


class ProgressLine:
    """Shows one piece of work; use as a context manager so that the line is taken away at the end.

    Args:
        output: tells whether words may be written and which symbols can be shown.
        label: what is being done.
        clock: seconds, monotonic.
    """

    def __init__(self, output: Output, label: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._label = label
        self._clock = clock
        self._started = clock()
        self._shown_at: float | None = None
        self._shown = ""
        self._draws = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._draws and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def update(self, progress: Progress | None, status: str = "running") -> None:
        """Show the newest state; cheap, may be called often."""
        now = self._clock()
        every = _DRAW_EVERY_S if self._draws else _PLAIN_EVERY_S
        # a script that reads JSON reads stderr for the error object: no plain lines there
        if (self._shown_at is not None and now - self._shown_at < every) or (self._output.is_json and not self._draws):
            return
        line = self._describe(progress, status, now - self._started)
        if line == self._shown:
            return
        self._shown_at, self._shown = now, line
        if self._draws:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write("\r" + text.cut(line, columns - 1, self._output.ellipsis) + "\x1b[K")
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _describe(self, progress: Progress | None, status: str, elapsed_s: float) -> str:
        from tui_backup.services.utilities import clean_text, format_bytes, format_duration

        if progress is None:
            return f"{self._label} {status} {format_duration(elapsed_s)}"
        # the most telling first: a narrow terminal cuts the end
        parts = [] if self._draws else [self._label]
        if (fraction := progress.fraction) is not None:
            parts += [self._bar(fraction)] if self._draws else []
            parts.append(f"{fraction:.0%}")
        total = f"/{format_bytes(progress.bytes_total)}" if progress.bytes_total else ""
        parts.append(f"{format_bytes(progress.bytes_done)}{total}")
        if progress.bytes_per_second:
            parts.append(f"{format_bytes(int(progress.bytes_per_second))}/s")
        parts.append(format_duration(elapsed_s))
        is_known = progress.eta_seconds is not None and elapsed_s >= _ETA_AFTER_S
        parts.append(f"ETA {format_duration(progress.eta_seconds) if is_known else 'unknown'}")
        parts.append(text.cut(clean_text(progress.phase), _PHASE_CELLS, self._output.ellipsis))
        if progress.tables_total:
            parts.append(f"{progress.tables_done}/{progress.tables_total} tables")
        return " ".join(parts)

    def _bar(self, fraction: float) -> str:
        done = round(fraction * _BAR_CELLS)
        full, empty = ("█", "░") if self._output.symbols else ("#", "-")
        return "[" + full * done + empty * (_BAR_CELLS - done) + "]"
