"""A table for live rows over slow links.

Rows are known by key: the cursor and the scrolled place follow the key whatever is added, removed or sorted, and a
changed row repaints its changed cells alone. It is drawn by Textual's line interface, because DataTable repaints
whole on every ``update_cell``, forgets cursor and scroll on ``clear`` and reads markup in its cells.
"""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual import events, work
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui_backup.widgets.symbols import UNICODE, Symbols
from tui_backup.widgets.table_model import Cell, Column, Row, TableModel
from tui_backup.widgets.text import fit, shown

HEADER = 1
READ_ROWS = 400
"""What the filter looks at is written down of so many rows at a time; keys come between."""


class LiveTable(ScrollView, can_focus=True):
    """Rows with a cursor, sort and filter."""

    DEFAULT_CSS = """
    LiveTable {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
    }
    LiveTable > .live-table--header { text-style: bold; color: $text-muted; }
    LiveTable > .live-table--cursor { text-style: reverse; }
    LiveTable > .live-table--cursor-away { text-style: bold underline; }
    LiveTable > .live-table--good { color: $text-success; }
    LiveTable > .live-table--busy { color: $text-primary; }
    LiveTable > .live-table--warn { color: $text-warning; }
    LiveTable > .live-table--bad { color: $text-error; text-style: bold; }
    LiveTable > .live-table--dim { color: $text-muted; }
    LiveTable > .live-table--placeholder { color: $text-muted; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "live-table--header",
        "live-table--cursor",
        "live-table--cursor-away",
        "live-table--good",
        "live-table--busy",
        "live-table--warn",
        "live-table--bad",
        "live-table--dim",
        "live-table--placeholder",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="table.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="table.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="table.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="table.page_down"),
        Binding("g,home", "jump(0)", "First", show=False, id="table.first"),
        Binding("G,end", "jump(-1)", "Last", show=False, id="table.last"),
        Binding("enter", "select", "Details", show=False, id="details"),
        Binding("s", "sort", "Sort", show=False, id="sort"),
        Binding("S", "reverse", "Reverse the sort", show=False, id="table.reverse"),
    ]
    ALLOW_SELECT = False

    @dataclass
    class Highlighted(Message):
        """The cursor stands on another row, or on the same row with other contents."""

        table: LiveTable
        key: str | None

        @property
        def control(self) -> LiveTable:
            """The table."""
            return self.table

    @dataclass
    class Selected(Message):
        """Enter or a click on the highlighted row."""

        table: LiveTable
        key: str

        @property
        def control(self) -> LiveTable:
            """The table."""
            return self.table

    @dataclass
    class EndReached(Message):
        """The cursor stands on the last row: the time to load more."""

        table: LiveTable

        @property
        def control(self) -> LiveTable:
            """The table."""
            return self.table

    def __init__(self, columns: Sequence[Column], *, symbols: Symbols = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.model = TableModel(columns)
        self.symbols = symbols
        self._cursor: str | None = None
        self._places: list[tuple[int, int, int]] = []
        self._placeholder: Sequence[str] = ()
        self.cells_repainted = 0

    # -- what there is ------------------------------------------------------------------------------------------

    @property
    def cursor_key(self) -> str | None:
        """Key of the highlighted row."""
        return self._cursor

    @property
    def row_count(self) -> int:
        """Rows that the filter lets through."""
        return len(self.model.order)

    def set_placeholder(self, *lines: str) -> None:
        """Text in place of rows while there are none."""
        cleaned = tuple(shown(text) for text in lines)
        if cleaned != self._placeholder:
            self._placeholder = cleaned
            if not self.model.order:
                self.refresh()

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Take over all rows; only what differs is repainted."""
        changed = self.model.put_all({row.key: row for row in rows})
        if not self._arrange_read():
            for old, row in changed:
                self._repaint_cells(old.cells, row)
            if any(row.key == self._cursor for _old, row in changed):
                self.post_message(self.Highlighted(self, self._cursor))

    def put_row(self, row: Row) -> None:
        """Add or change one row."""
        if self.model.rows.get(row.key) == row:
            return
        old = self.model.put(row)
        if not self._arrange_read() and old is not None:
            self._repaint_cells(old.cells, row)
        if row.key == self._cursor:
            self.post_message(self.Highlighted(self, row.key))

    def drop_row(self, key: str) -> None:
        """Remove one row; the cursor goes to its successor."""
        if self.model.drop(key):
            self._rearrange()

    def renew(self, keys: Iterable[str] | None = None) -> None:
        """Time has passed: repaint the texts that changed with it, of these rows or of all. Only what is in sight is
        made now."""
        wanted = None if keys is None else set(keys) & self.model.rows.keys()
        columns = [column for column, _x, _width in self._places]
        seen = [
            (row, {column: row.cells[column] for column in columns})
            for row in self._rows_in_sight()
            if wanted is None or row.key in wanted
        ]
        self.model.forget(wanted)
        if not self._rearrange():
            for row, cells in seen:
                self._repaint_cells(cells, row)

    def set_filter(self, text: str) -> None:
        """Show only rows that contain the text; of very many rows, those that were looked at already come first."""
        self.model.filter = text.strip().lower()
        self._arrange_read()

    @property
    def is_reading(self) -> bool:
        """Whether rows are left that the filter has not looked at."""
        return bool(self.model.filter) and not self.model.read(0)

    def move_to(self, key: str) -> None:
        """Put the cursor on a row, if it is visible."""
        index = self.model.index_of(key)
        if index is not None:
            self._go(index)

    # -- keys and mouse -----------------------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        """Up and down by rows."""
        index = self.model.index_of(self._cursor)
        self._go((index if index is not None else -1) + step)

    def action_page(self, direction: int) -> None:
        """Up and down by what fits."""
        self.action_move(direction * max(1, self._body_height - 1))

    def action_jump(self, place: int) -> None:
        """To the first (0) or last (-1) row."""
        self._go(place if place >= 0 else self.row_count - 1)

    def action_select(self) -> None:
        """Open the highlighted row."""
        if self._cursor is not None:
            self.post_message(self.Selected(self, self._cursor))

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.model.next_sort([index for index, _x, _width in self._places])
        self._resort()

    def action_reverse(self) -> None:
        """Turn the sort round."""
        if self.model.sort_column is not None:
            self.model.sort_by(self.model.sort_column)
            self._resort()

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, on the cursor it opens, on a heading it sorts."""
        if event.y < HEADER:
            for index, x, width in self._places:
                if x <= event.x < x + width:
                    self.model.sort_by(index)
                    self._resort()
            return
        index = event.y - HEADER + self.scroll_offset.y
        if index < self.row_count:
            if self.model.order[index] == self._cursor:
                self.action_select()
            else:
                self._go(index)

    # -- order and cursor ---------------------------------------------------------------------------------------

    def _resort(self) -> None:
        if not self._rearrange():
            self.refresh(Region(0, 0, self.size.width, HEADER))

    def _arrange_read(self) -> bool:
        """Make the visible order anew, with what the filter can look at in no time; the rest follows."""
        if not self.model.read(READ_ROWS):
            self._read_on()
        return self._rearrange()

    @work(group="read", exclusive=True)
    async def _read_on(self) -> None:
        while not self.model.read(READ_ROWS):  # noqa: ASYNC110 - nothing is waited for: keys get their turn
            await asyncio.sleep(0)
        self._rearrange()
        self.post_message(self.Highlighted(self, self._cursor))

    def _rearrange(self) -> bool:
        """Make the visible order anew, keeping the cursor's row at its height on the screen."""
        old_index = self.model.index_of(self._cursor)
        old_places = self._places
        moved = self.model.arrange()
        self._place_columns()
        if not moved and old_places == self._places:
            return False
        new_index = self.model.index_of(self._cursor)
        if new_index is None and self.model.order:
            new_index = min(old_index or 0, len(self.model.order) - 1)
        cursor = self.model.order[new_index] if new_index is not None else None
        scroll = self.scroll_offset.y
        self._set_virtual_size()
        if new_index is not None and old_index is not None and scroll > 0:
            self.scroll_to(y=scroll + new_index - old_index, animate=False, immediate=True)
        if cursor != self._cursor:
            self._cursor = cursor
            self.post_message(self.Highlighted(self, cursor))
        if new_index is not None:
            self._scroll_to_row(new_index)
        self.refresh()
        return True

    def _go(self, index: int) -> None:
        if not self.model.order:
            return
        index = max(0, min(index, len(self.model.order) - 1))
        key = self.model.order[index]
        if key != self._cursor:
            previous = self.model.index_of(self._cursor)
            self._cursor = key
            for row_index in (previous, index):
                if row_index is not None:
                    self._refresh_row(row_index)
            self.post_message(self.Highlighted(self, key))
        self._scroll_to_row(index)
        if index == len(self.model.order) - 1:
            self.post_message(self.EndReached(self))

    def _scroll_to_row(self, index: int) -> None:
        top = self.scroll_offset.y
        if index < top:
            self.scroll_to(y=index, animate=False, immediate=True)
        elif index >= top + self._body_height:
            self.scroll_to(y=index - self._body_height + 1, animate=False, immediate=True)

    @property
    def _body_height(self) -> int:
        return max(1, self.size.height - HEADER)

    def _set_virtual_size(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.model.order) + HEADER)

    def _place_columns(self) -> None:
        # The scroll bar's column is always left free, so that its coming and going moves nothing.
        width = self.container_size.width - 1 if self.container_size.width else self.size.width
        self._places = self.model.layout(width, self.screen.size.width)

    def on_resize(self) -> None:
        """Place the columns for the new width."""
        self._place_columns()
        self._set_virtual_size()
        index = self.model.index_of(self._cursor)
        if index is not None:
            self._scroll_to_row(index)
        self.refresh()

    # -- drawing ------------------------------------------------------------------------------------------------

    def _refresh_row(self, index: int) -> None:
        self.refresh(Region(0, index + HEADER - self.scroll_offset.y, self.size.width, 1))

    def _rows_in_sight(self) -> list[Row]:
        top = self.scroll_offset.y
        return [self.model.rows[key] for key in self.model.order[top : top + self._body_height]]

    def _repaint_cells(self, old: Sequence[Cell] | Mapping[int, Cell], new: Row) -> None:
        """Repaint only the cells that changed, and only when they can be seen."""
        index = self.model.index_of(new.key)
        if index is None:
            return
        y = index + HEADER - self.scroll_offset.y
        if not HEADER <= y < self.size.height:
            return
        for column, x, width in self._places:
            if old[column] != new.cells[column]:
                self.cells_repainted += 1
                self.refresh(Region(x, y, width, 1))

    def render_line(self, y: int) -> Strip:
        """Draw one line of the widget."""
        width = self.size.width
        if y < HEADER:
            return self._render_header(width)
        index = y - HEADER + self.scroll_offset.y
        if index < len(self.model.order):
            return self._render_row(self.model.rows[self.model.order[index]], width)
        return self._render_placeholder(y - HEADER - 1, width)

    def _render_header(self, width: int) -> Strip:
        style = self.get_component_rich_style("live-table--header")
        segments: list[Segment] = []
        at = 0
        for index, x, room in self._places:
            column = self.model.columns[index]
            label = column.label
            if index == self.model.sort_column:
                sign = self.symbols.descending if self.model.sort_descending else self.symbols.ascending
                label = fit(label, max(0, min(len(label), room - 1)), ellipsis="") + sign
            segments.append(Segment(" " * (x - at), style))
            segments.append(Segment(fit(label, room, align=column.align, ellipsis=self.symbols.ellipsis), style))
            at = x + room
        return Strip(segments).adjust_cell_length(width, style)

    def _render_row(self, row: Row, width: int) -> Strip:
        base = self.rich_style
        cursor = None
        if row.key == self._cursor:
            name = "live-table--cursor" if self.has_focus else "live-table--cursor-away"
            cursor = self.get_component_rich_style(name)
        segments: list[Segment] = []
        at = 0
        for index, x, room in self._places:
            cell = row.cells[index]
            style = cursor or (self.get_component_rich_style(f"live-table--{cell.tone}") if cell.tone else base)
            segments.append(Segment(" " * (x - at), cursor or base))
            text = fit(cell.text, room, align=self.model.columns[index].align, ellipsis=self.symbols.ellipsis)
            segments.append(Segment(text, style))
            at = x + room
        return Strip(segments).adjust_cell_length(width, cursor or base)

    def _render_placeholder(self, number: int, width: int) -> Strip:
        style = self.get_component_rich_style("live-table--placeholder")
        lines: list[str] = []
        for text in self._placeholder if not self.model.order else ():
            lines += textwrap.wrap(text, max(10, width - 2)) or [""]
        if not 0 <= number < len(lines):
            return Strip.blank(width, self.rich_style)
        return Strip([Segment(fit(" " + lines[number], width, ellipsis=self.symbols.ellipsis), style)])

    def watch_has_focus(self, focus: bool) -> None:
        """The cursor looks another way without focus."""
        super().watch_has_focus(focus)
        index = self.model.index_of(self._cursor)
        if index is not None:
            self._refresh_row(index)
