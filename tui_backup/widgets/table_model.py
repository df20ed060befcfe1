"""What a live table shows: columns, rows, their order and the filter. No drawing here.

Nothing here may cost much with 10,000 rows: cells are asked for only where they are needed, and what was found out
once of a row (its width, its words for the filter, what it sorts by) is kept until the row changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from rich.cells import cell_len

from tui_backup.widgets.rows import Cell, Column, LazyCells, Recipe, Row

__all__ = ["Cell", "Column", "LazyCells", "Recipe", "Row", "TableModel"]

_RANK = attrgetter("rank")


class TableModel:
    """Rows by key, and the visible order that sort and filter make of them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = list(columns)
        self.rows: dict[str, Row] = {}
        self.order: list[str] = []
        self.sort_column: int | None = None
        self.sort_descending = False
        self._filter = ""
        self._index: dict[str, int] = {}
        self._is_arranged = True
        # Widths of the columns that may stretch.
        self._naturals: dict[int, int] = {}
        self._sort_values: dict[str, Any] = {}
        # What the filter looks at, and the rows of which that is not written down yet.
        self._words: dict[str, str] = {}
        self._unread: list[str] = []

    # -- rows ---------------------------------------------------------------------------------------------------

    def put_all(self, rows: dict[str, Row]) -> list[tuple[Row, Row]]:
        """Take over all rows; gives those that were there and differ, old and new."""
        old, self.rows = self.rows, rows
        changed: list[tuple[Row, Row]] = []
        fresh: list[Row] = []
        for key, row in rows.items():
            before = old.get(key)
            if before is None:
                fresh.append(row)
            elif before is not row:
                if before == row:
                    rows[key] = before  # with the cells that it has made
                else:
                    changed.append((before, row))
        if len(rows) < len(old) + len(fresh):
            for key in old.keys() - rows.keys():
                self._take_out(old[key])
        for before, row in changed:
            self._replaced(before, row)
        for row in fresh:
            self._take_in(row)
        return changed

    def put(self, row: Row) -> Row | None:
        """Add or change one row; gives the one that was there before."""
        before = self.rows.get(row.key)
        self.rows[row.key] = row
        if before is None:
            self._take_in(row)
        else:
            self._replaced(before, row)
        return before

    def drop(self, key: str) -> bool:
        """Remove one row; True when it was there."""
        row = self.rows.pop(key, None)
        if row is not None:
            self._take_out(row)
        return row is not None

    def forget(self, keys: Iterable[str] | None = None) -> None:
        """Time has passed: lazy cells of these rows (of all when None) are made anew when they are asked for.

        What the filter looks at stays as it was when the filter began, but for rows that are named.
        """
        if keys is None:
            for row in self.rows.values():
                row.forget()
            for column in list(self._naturals):
                if self.columns[column].ages:
                    del self._naturals[column]
            return
        for key in keys:
            row = self.rows[key]
            row.forget()
            self._replaced(row, row)

    def _take_in(self, row: Row) -> None:
        self._is_arranged = False
        self._measure(row)
        if self._filter:
            self._unread.append(row.key)

    def _take_out(self, row: Row) -> None:
        self._is_arranged = False
        self._unmeasure(row)
        self._words.pop(row.key, None)
        self._sort_values.pop(row.key, None)

    def _replaced(self, before: Row, row: Row) -> None:
        if before is not row:
            self._unmeasure(before, row)
        self._measure(row)
        self._sort_values.pop(row.key, None)
        if self._filter:
            self._words[row.key] = row.words()
        # Without filter and sort only another rank can move it.
        if self._filter or self.sort_column is not None or before.rank != row.rank:
            self._is_arranged = False

    # -- order --------------------------------------------------------------------------------------------------

    @property
    def filter(self) -> str:
        """The text that visible rows contain, lower case."""
        return self._filter

    @filter.setter
    def filter(self, text: str) -> None:
        if text and not self._filter:
            self._words = {}
            self._unread = list(self.rows)
        self._filter = text
        self._is_arranged = False

    def read(self, limit: int | None = None) -> bool:
        """Write down what the filter looks at, of at most so many more rows; False when some are left."""
        count = len(self._unread) if limit is None else min(limit, len(self._unread))
        for _ in range(count):
            key = self._unread.pop()
            row = self.rows.get(key)
            if row is not None:
                self._words[key] = row.words()
                self._is_arranged = False
        return not self._unread

    def index_of(self, key: str | None) -> int | None:
        """Place of a row in the visible order."""
        return None if key is None else self._index.get(key)

    def arrange(self) -> bool:
        """Make the visible order anew; True when it is another one. What was not read yet matches no filter."""
        if self._is_arranged:
            return False
        self._is_arranged = True
        visible = list(self.rows.values())
        if self._filter:
            needle, words = self._filter, self._words
            visible = [row for row in visible if needle in words.get(row.key, "")]
        visible.sort(key=_RANK)
        if self.sort_column is not None:
            values = self._values(self.sort_column, visible)
            # What has no value stays last in both directions.
            filled = [row for row in visible if values[row.key] is not None]
            rest = [row for row in visible if values[row.key] is None]
            filled.sort(key=lambda row: values[row.key], reverse=self.sort_descending)
            visible = filled + rest
        order = [row.key for row in visible]
        if order == self.order:
            return False
        self.order = order
        self._index = {key: index for index, key in enumerate(order)}
        return True

    def _values(self, column: int, rows: Iterable[Row]) -> dict[str, Any]:
        values = self._sort_values
        for row in rows:
            if row.key not in values:
                values[row.key] = row.cells[column].sort_value
        return values

    def next_sort(self, visible: Sequence[int]) -> None:
        """Go on to the next visible column, and after the last one back to the default order."""
        later = [index for index in visible if self.sort_column is None or index > self.sort_column]
        self._sort(later[0] if later else None)

    def sort_by(self, column: int) -> None:
        """Sort by a column; by the same one again: the other way round."""
        if self.sort_column == column:
            self.sort_descending = not self.sort_descending
            self._is_arranged = False
        else:
            self._sort(column)

    def _sort(self, column: int | None) -> None:
        self.sort_column = column
        self.sort_descending = column is not None and self.columns[column].descending
        self._sort_values = {}
        self._is_arranged = False

    # -- columns ------------------------------------------------------------------------------------------------

    def layout(self, width: int, terminal_width: int, gap: int = 1) -> list[tuple[int, int, int]]:
        """Column index, x and width of each visible column for ``width`` cells."""
        shown_columns = [i for i, column in enumerate(self.columns) if column.hide_below <= terminal_width]
        widths = {index: self.columns[index].width for index in shown_columns}
        spare = width - 1 - sum(widths.values()) - gap * (len(shown_columns) - 1)
        wishes = {
            index: min(most, self._natural(index)) - widths[index]
            for index in shown_columns
            if (most := self.columns[index].most) is not None
        }
        while spare > 0 and any(wish > 0 for wish in wishes.values()):
            # The column that lacks least first: one very long name must not starve all others.
            index = min((i for i, wish in wishes.items() if wish > 0), key=lambda i: wishes[i])
            widths[index] += 1
            wishes[index] -= 1
            spare -= 1
        places: list[tuple[int, int, int]] = []
        x = 1
        for index in shown_columns:
            room = min(widths[index], max(0, width - x))
            if room > 0:
                places.append((index, x, room))
            x += widths[index] + gap
        return places

    def _natural(self, column: int) -> int:
        if column not in self._naturals:
            self._naturals[column] = max((_width(row.cells[column].text) for row in self.rows.values()), default=0)
        return self._naturals[column]

    def _measure(self, row: Row) -> None:
        for column, natural in self._naturals.items():
            self._naturals[column] = max(natural, _width(row.cells[column].text))

    def _unmeasure(self, row: Row, successor: Row | None = None) -> None:
        """A row goes: if it was the widest one, all have to be measured again, but for a successor as wide."""
        for column, natural in list(self._naturals.items()):
            if self.columns[column].width < natural <= _width(row.cells[column].text) and not (
                successor and _width(successor.cells[column].text) >= natural
            ):
                del self._naturals[column]


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)
