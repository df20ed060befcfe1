"""Counts what the engine's threads report and publishes it at most once a second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque

from tui_backup.agent.records import Claim, Records
from tui_backup.errors import CatalogUnavailableError
from tui_backup.model import Progress

_WINDOW_S = 10.0
_ETA_AFTER_S = 10.0


class ProgressCounter:
    """A :class:`tui_backup.model.ProgressReport`: cheap, thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phase = "starting"
        self._tables_done = 0
        self._tables_total = 0
        self._rows = 0
        self._bytes = 0
        self._bytes_total: int | None = None
        self._started = time.monotonic()
        self._samples: deque[tuple[float, int]] = deque()

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
        """Add to the counters or set the totals."""
        with self._lock:
            if phase is not None and phase != self._phase:
                self._phase = phase
            self._tables_done += tables_done
            self._rows += rows
            self._bytes += bytes_
            if tables_total is not None:
                self._tables_total = tables_total
            if bytes_total is not None:
                self._bytes_total = bytes_total

    def restart(self, phase: str) -> None:
        """Begin a part with counters of its own (e.g. comparing after loading)."""
        with self._lock:
            self._phase = phase
            self._tables_done = self._rows = self._bytes = 0
            self._samples.clear()
            self._started = time.monotonic()

    def snapshot(self) -> Progress:
        """The state now, with the rate over the last ten seconds and, after ten seconds, the time left."""
        now = time.monotonic()
        with self._lock:
            self._samples.append((now, self._bytes))
            while len(self._samples) > 1 and now - self._samples[0][0] > _WINDOW_S:
                self._samples.popleft()
            since, before = self._samples[0]
            rate = (self._bytes - before) / (now - since) if now - since > 0.5 else None
            eta: int | None = None
            if rate and self._bytes_total is not None and now - self._started >= _ETA_AFTER_S:
                eta = max(0, round((self._bytes_total - self._bytes) / rate))
            return Progress(
                phase=self._phase,
                tables_done=self._tables_done,
                tables_total=self._tables_total,
                rows_done=self._rows,
                bytes_done=self._bytes,
                bytes_total=self._bytes_total,
                bytes_per_second=rate,
                eta_seconds=eta,
            )


async def publish(records: Records, claim: Claim, counter: ProgressCounter, *, every_s: float = 1.0) -> None:
    """Write the counter to the catalog until cancelled; a catalog that is away is waited for."""
    last: Progress | None = None
    while True:
        now = counter.snapshot()
        if now != last:
            try:
                await records.write_progress(claim, now)
                last = now
            except CatalogUnavailableError:
                last = None
        await asyncio.sleep(every_s)
