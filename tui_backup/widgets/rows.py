"""Rows of a live table, and cells that are made only when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from tui_backup.widgets.text import Align, shown

View = TypeVar("View")


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
        ages: whether its texts change as time passes, with rows that stay the same.
    """

    id: str
    label: str
    width: int
    most: int | None = None
    align: Align = "left"
    hide_below: int = 0
    descending: bool = False
    ages: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: outside text is welcome, it is made safe here. ``sort`` is what the column sorts by.

    A sort value must not depend on the time at which the cell is made: the others are of another time.
    """

    text: str
    tone: str = ""
    sort: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", shown(self.text))

    @property
    def sort_value(self) -> Any:
        """What to sort by; None when there is nothing."""
        if self.sort is not None:
            return self.sort
        return self.text.lower() if self.text not in ("", "-") else None


@dataclass(frozen=True, slots=True)
class Recipe(Generic[View]):
    """How rows of one kind are made of what they show: a function for each column, and one for hidden search text."""

    cells: Sequence[Callable[[View], Cell]]
    search: Callable[[View], str]


class LazyCells(Sequence[Cell]):
    """The cells of one row, each made when it is first asked for: of 10,000 rows a screen shows some dozens.

    Args:
        recipe: how.
        view: of what; two rows of equal views are equal.
    """

    __slots__ = ("_made", "_recipe", "_view")

    def __init__(self, recipe: Recipe[Any], view: object) -> None:
        self._recipe = recipe
        self._view = view
        self._made: dict[int, Cell] = {}

    @overload
    def __getitem__(self, index: int) -> Cell: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Cell]: ...

    def __getitem__(self, index: int | slice) -> Cell | Sequence[Cell]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        cell = self._made.get(index)
        if cell is None:
            cell = self._made[index] = self._recipe.cells[index](self._view)
        return cell

    def __len__(self) -> int:
        return len(self._recipe.cells)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LazyCells):
            return NotImplemented
        return self._recipe is other._recipe and self._view == other._view

    __hash__ = None  # type: ignore[assignment]

    def search(self) -> str:
        """What the filter looks at beyond the cells."""
        return self._recipe.search(self._view)

    def forget(self) -> None:
        """Make the cells anew when they are asked for next, as time has passed."""
        self._made.clear()


@dataclass(frozen=True, slots=True)
class Row:
    """One row. ``rank`` is the default order, ascending; ``search`` what the filter looks at beyond the cells."""

    key: str
    cells: Sequence[Cell]
    rank: Any
    search: str = ""

    def words(self) -> str:
        """Everything the filter looks at, in lower case."""
        hidden = self.cells.search() if isinstance(self.cells, LazyCells) else self.search
        return "\n".join((hidden, *(cell.text for cell in self.cells))).lower()

    def forget(self) -> None:
        """Make lazy cells anew when they are asked for next."""
        if isinstance(self.cells, LazyCells):
            self.cells.forget()
