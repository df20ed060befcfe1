"""Counting what is done while it is done."""

from __future__ import annotations

from collections.abc import Sequence

from tui_backup.engine.logical.pump import Copied, CopyTask
from tui_backup.engine.logical.tables import TableSource
from tui_backup.model import ProgressReport


class Tally:
    """Reports tables, rows, and an estimate of the total that gets better with each stream.

    Sizes on disk are known before, sizes of streams are not. The total is the sizes on disk of all tasks times the
    ratio seen so far.

    Args:
        tables: all tables of the backup, in the order of their tasks.
        tasks: all tasks, the tables' first.
        progress: told.
    """

    def __init__(self, tables: Sequence[TableSource], tasks: Sequence[CopyTask], progress: ProgressReport) -> None:
        self._tasks, self._progress = tasks, progress
        self._table_of = [number for number, table in enumerate(tables) for _ in table.ranges]
        self._chunks_left = [len(table.ranges) for table in tables]
        self._weight_total = sum(task.weight for task in tasks)
        self._weight_done = 0
        self._bytes_done = 0
        progress(
            phase="reading tables",
            tables_total=len(tables),
            tables_done=sum(1 for left in self._chunks_left if left == 0),
            bytes_total=self._weight_total,
        )

    def count(self, index: int, copied: Copied) -> None:
        """Count one finished task."""
        self._weight_done += self._tasks[index].weight
        self._bytes_done += copied.raw_bytes
        is_table_done = False
        if index < len(self._table_of):
            number = self._table_of[index]
            self._chunks_left[number] -= 1
            is_table_done = self._chunks_left[number] == 0
        left = self._weight_total - self._weight_done
        ratio = self._bytes_done / self._weight_done if self._weight_done else 1.0
        self._progress(
            tables_done=1 if is_table_done else 0,
            rows=copied.rows,
            bytes_total=self._bytes_done + round(left * ratio),
        )
