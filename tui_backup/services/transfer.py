"""Runs blocking work of the engine in a thread, with progress for the event loop and a prompt end on cancellation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tui_backup.errors import CancelledError
from tui_backup.model import Progress, StopFlag

T = TypeVar("T")
_TELL_EVERY_S = 1.0
_STOP_PATIENCE_S = 30.0
_ETA_AFTER_S = 10.0


class Transfer:
    """Counts what the engine's threads report (a model.ProgressReport) and hands it on once a second.

    Args:
        phase: what is being done.
        tell: called in the event loop with the figures so far; None to only count.
    """

    def __init__(self, phase: str, tell: Callable[[Progress], None] | None) -> None:
        self.stop = StopFlag()
        self._tell = tell
        self._lock = threading.Lock()
        self._progress = Progress(phase=phase)
        self._started = time.monotonic()

    def __call__(
        self,
        *,
        phase: str | None = None,
        tables_done: int = 0,
        rows: int = 0,
        bytes_: int = 0,
        tables_total: int | None = None,
        bytes_total: int | None = None,
    ) -> None:
        """Add to the counters or set the totals, as model.ProgressReport says."""
        with self._lock:
            now = self._progress
            self._progress = replace(
                now,
                phase=phase or now.phase,
                tables_done=now.tables_done + tables_done,
                rows_done=now.rows_done + rows,
                bytes_done=now.bytes_done + bytes_,
                tables_total=now.tables_total if tables_total is None else tables_total,
                bytes_total=now.bytes_total if bytes_total is None else bytes_total,
            )

    def snapshot(self) -> Progress:
        """The figures so far, with the rate and, after ten seconds, the time left."""
        elapsed = max(time.monotonic() - self._started, 1e-3)
        with self._lock:
            now = self._progress
        rate = now.bytes_done / elapsed
        eta = None
        if now.bytes_total and now.bytes_done and elapsed > _ETA_AFTER_S:
            eta = round(max(0, now.bytes_total - now.bytes_done) / rate)
        return replace(now, bytes_per_second=rate, eta_seconds=eta)

    async def run(self, work: Callable[[], T]) -> T:
        """Run the work in a thread. When this task is cancelled the thread is told to stop, and waited for.

        Raises:
            TuiBackupError: what the work raised.
        """
        future = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            while True:
                done, _ = await asyncio.wait({future}, timeout=_TELL_EVERY_S)
                if self._tell:
                    self._tell(self.snapshot())
                if done:
                    return future.result()
        except asyncio.CancelledError:
            self.stop.set(CancelledError("Cancelled."))
            await asyncio.wait({future}, timeout=_STOP_PATIENCE_S)
            if future.done() and not future.cancelled():
                # read, so that nobody logs it as never retrieved; the cancellation is what counts
                future.exception()
            raise
