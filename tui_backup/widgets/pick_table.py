"""A live table whose rows can be ticked: for choosing tables of a source or a backup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.symbols import UNICODE, Symbols
from tui_backup.widgets.table_model import Cell, Column, Row


class PickTable(LiveTable):
    """Space or Enter ticks, ``a`` ticks all that the filter lets through (or none, when all are)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,enter", "tick", "Tick", show=False, id="pick.toggle"),
        Binding("a", "tick_all", "All or none", show=False, id="pick.all"),
    ]

    @dataclass
    class Changed(Message):
        """Other rows are ticked now."""

        table: PickTable

        @property
        def control(self) -> PickTable:
            """The table."""
            return self.table

    def __init__(self, columns: Sequence[Column], *, symbols: Symbols = UNICODE, id: str | None = None) -> None:
        super().__init__([Column("tick", "", 3), *columns], symbols=symbols, id=id)
        self._ticked: set[str] = set()

    @property
    def ticked(self) -> list[str]:
        """Keys of the ticked rows, in the rows' default order."""
        rows = sorted(self.model.rows.values(), key=lambda row: row.rank)
        return [row.key for row in rows if row.key in self._ticked]

    def set_choices(self, rows: Sequence[Row], ticked: Sequence[str] = ()) -> None:
        """Take over the rows; what was ticked stays so."""
        keys = {row.key for row in rows}
        self._ticked = (self._ticked | set(ticked)) & keys
        self.set_rows([self._marked(row) for row in rows])

    def action_tick(self) -> None:
        """Tick or untick the highlighted row."""
        if self.cursor_key is not None:
            self._set([self.cursor_key], self.cursor_key not in self._ticked)

    def action_select(self) -> None:
        """A click on the highlighted row ticks it."""
        self.action_tick()

    def action_tick_all(self) -> None:
        """Tick all visible rows, or none when all are ticked."""
        visible = self.model.order
        self._set(visible, not all(key in self._ticked for key in visible))

    def _set(self, keys: Sequence[str], on: bool) -> None:
        for key in list(keys):
            if on:
                self._ticked.add(key)
            else:
                self._ticked.discard(key)
            row = self.model.rows[key]
            self.put_row(replace(row, cells=[self._mark(key), *row.cells[1:]]))
        self.post_message(self.Changed(self))

    def _mark(self, key: str) -> Cell:
        return Cell("[x]" if key in self._ticked else "[ ]", sort=key not in self._ticked)

    def _marked(self, row: Row) -> Row:
        return replace(row, cells=[self._mark(row.key), *row.cells])
