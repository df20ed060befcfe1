"""What a live table shows: columns, rows, their order and the filter. No drawing here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from tui_backup.widgets.text import Align, shown


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        id: name for sorting.
        label: heading.
        width: least width in cells.
        most: greatest width that its contents may stretch it to; ``width`` when None.
        align: side that the text keeps to.
        hide_below: terminal width under which the column is left out.
        descending: whether the first sort by it puts the greatest first.
    """

    id: str
    label: str
    width: int
    most: int | None = None
    align: Align = "left"
    hide_below: int = 0
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: outside text is welcome, it is made safe here. ``sort`` is what the column sorts by."""

    text: str
    tone: str = ""
    sort: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", shown(self.text))


@dataclass(frozen=True, slots=True)
class Row:
    """One row. ``rank`` is the default order, ascending; ``search`` what the filter looks at."""

    key: str
    cells: Sequence[Cell]
    rank: Any
    search: str = ""

    def matches(self, needle: str) -> bool:
        """Whether the filter's text (lower case) occurs."""
        return needle in self.search.lower() or any(needle in cell.text.lower() for cell in self.cells)


class TableModel:
    """Rows by key, and the visible order that sort and filter make of them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = list(columns)
        self.rows: dict[str, Row] = {}
        self.order: list[str] = []
        self.filter = ""
        self.sort_column: int | None = None
        self.sort_descending = False
        self._index: dict[str, int] = {}
        # of the columns that may stretch; measured again only with all rows, since 10,000 of them take 50 ms
        self._naturals: dict[int, int] = {}

    def put_all(self, rows: dict[str, Row]) -> None:
        """Take over all rows."""
        self.rows = rows
        self._naturals.clear()

    def put(self, row: Row) -> None:
        """Add or change one row."""
        self.rows[row.key] = row
        for column, width in self._naturals.items():
            self._naturals[column] = max(width, cell_len(row.cells[column].text))

    def index_of(self, key: str | None) -> int | None:
        """Place of a row in the visible order."""
        return None if key is None else self._index.get(key)

    def arrange(self) -> bool:
        """Make the visible order anew; True when it is another one."""
        visible = [row for row in self.rows.values() if not self.filter or row.matches(self.filter)]
        visible.sort(key=lambda row: row.rank)
        if self.sort_column is not None:
            column = self.sort_column
            # What has no value stays last in both directions.
            filled = [row for row in visible if _sort_value(row, column) is not None]
            rest = [row for row in visible if _sort_value(row, column) is None]
            filled.sort(key=lambda row: _sort_value(row, column), reverse=self.sort_descending)
            visible = filled + rest
        order = [row.key for row in visible]
        if order == self.order:
            return False
        self.order = order
        self._index = {key: index for index, key in enumerate(order)}
        return True

    def next_sort(self, visible: Sequence[int]) -> None:
        """Go on to the next visible column, and after the last one back to the default order."""
        later = [index for index in visible if self.sort_column is None or index > self.sort_column]
        self.sort_column = later[0] if later else None
        if self.sort_column is not None:
            self.sort_descending = self.columns[self.sort_column].descending

    def sort_by(self, column: int) -> None:
        """Sort by a column; by the same one again: the other way round."""
        if self.sort_column == column:
            self.sort_descending = not self.sort_descending
        else:
            self.sort_column, self.sort_descending = column, self.columns[column].descending

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
            texts: Iterable[str] = (row.cells[column].text for row in self.rows.values())
            self._naturals[column] = max((cell_len(text) for text in texts), default=0)
        return self._naturals[column]


def _sort_value(row: Row, column: int) -> Any:
    cell = row.cells[column]
    return cell.sort if cell.sort is not None else (cell.text.lower() if cell.text not in ("", "-") else None)
