"""What a restore reports when it is done, and the phases that it goes through."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tui_backup.engine.logical.compare import CompareReport
from tui_backup.model import ProgressReport, StopFlag


@dataclass(slots=True)
class RestoreResult:
    """What a restore did.

    Args:
        database: where the data is now.
        database_oid: its oid, which a swap records.
        tables_restored: tables whose rows were put back.
        rows_restored: their rows.
        bytes_restored: uncompressed bytes of their COPY streams.
        warnings: what could not be put back as it was.
        excluded: what stayed away because it hangs on tables that were not chosen.
        compare: the comparison with the backup's own content, None when it was not wanted.
        seconds: seconds taken by each phase.
        rollback_executed: something was undone on purpose; False for a restore that succeeded.
    """

    database: str
    database_oid: int = 0
    schema: str | None = None
    tables_restored: int = 0
    rows_restored: int = 0
    bytes_restored: int = 0
    warnings: list[str] = field(default_factory=list[str])
    excluded: list[str] = field(default_factory=list[str])
    compare: CompareReport | None = None
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    rollback_executed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The facts for a restore log's metadata."""
        return {
            "database": self.database,
            "database_oid": self.database_oid,
            "schema": self.schema,
            "bytes_restored": self.bytes_restored,
            "warnings": self.warnings,
            "excluded": self.excluded,
            "compare": self.compare.to_json() if self.compare else None,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


class Phases:
    """Times the phases of a restore and tells the progress report of each."""

    def __init__(self, progress: ProgressReport, stop: StopFlag) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._stop = stop

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """One phase; a stop is noticed at its start."""
        self._stop.check()
        self._progress(phase=name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
