"""Order, filter, sort and column widths of a live table, without a screen."""

from __future__ import annotations

from functools import cached_property, partial

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui_backup.widgets.table_model import Cell, Column, LazyCells, Recipe, Row, TableModel
from tui_backup.widgets.text import LEFT_TO_RIGHT_MARK, fit, shown, use_ascii

COLUMNS = (
    Column("name", "Name", 6, most=20),
    Column("size", "Size", 5, align="right", hide_below=70, descending=True),
    Column("note", "Note", 4, most=40),
)


def row(key: str, size: int | None = None, note: str = "", rank: int = 0) -> Row:
    return Row(key, (Cell(key), Cell("-" if size is None else str(size), sort=size), Cell(note)), rank=rank)


def model(*rows: Row) -> TableModel:
    made = TableModel(COLUMNS)
    made.put_all({each.key: each for each in rows})
    made.arrange()
    return made


def test_default_order_is_by_rank() -> None:
    assert model(row("a", rank=3), row("b", rank=1), row("c", rank=2)).order == ["b", "c", "a"]


def test_sorting_goes_through_the_columns_and_back() -> None:
    made = model(row("a", 5, rank=1), row("b", 900, rank=2), row("c", None, rank=3), row("d", 10, rank=4))
    made.next_sort([0, 1, 2])
    made.arrange()
    assert made.order == ["a", "b", "c", "d"]
    made.next_sort([0, 1, 2])
    made.arrange()
    assert made.order == ["b", "d", "a", "c"], "greatest first by number, what has no value last"
    made.sort_by(1)
    made.arrange()
    assert made.order == ["a", "d", "b", "c"], "the other way round, what has no value still last"
    made.next_sort([0, 1, 2])
    made.next_sort([0, 1, 2])
    assert made.sort_column is None


def test_a_hidden_column_is_not_sorted_by() -> None:
    made = model(row("a"))
    made.next_sort([0, 2])
    made.next_sort([0, 2])
    assert made.sort_column == 2


def test_the_filter_looks_at_cells_and_at_hidden_search_text() -> None:
    made = model(row("alpha"), row("beta", note="Alpine"), Row("gamma", (Cell("x"), Cell(""), Cell("")), 0, "ALP id"))
    made.filter = "alp"
    assert made.read()
    made.arrange()
    assert set(made.order) == {"alpha", "beta", "gamma"}
    made.filter = "beta"
    made.arrange()
    assert made.order == ["beta"]


def test_narrow_terminals_leave_columns_out() -> None:
    made = model(row("a"))
    assert [index for index, _x, _w in made.layout(78, 80)] == [0, 1, 2]
    assert [index for index, _x, _w in made.layout(58, 60)] == [0, 2]


def test_a_long_name_does_not_starve_its_neighbour() -> None:
    made = model(row("n" * 12, note="x" * 300))
    widths = {index: width for index, _x, width in made.layout(40, 80)}
    assert widths[0] == 12
    assert widths[2] == 40 - 1 - 12 - 5 - 2


@given(st.integers(1, 120), st.lists(st.text(max_size=40), max_size=5))
def test_columns_never_leave_the_table_nor_overlap(width: int, names: list[str]) -> None:
    made = model(*[Row(str(i), (Cell(name), Cell(name), Cell(name)), i) for i, name in enumerate(names)])
    end = 0
    for _index, x, room in made.layout(width, 80):
        assert x >= end
        assert room > 0
        end = x + room
    assert end <= max(width, 0) + 0


@given(st.text(), st.integers(0, 60))
def test_cells_have_exactly_their_width_and_no_controls(text: str, width: int) -> None:
    cell = fit(shown(text), width)
    assert cell_len(cell) == width
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in cell)


def test_outside_text_is_made_safe_once_and_only_once() -> None:
    hostile = "[/x] \x1b]0;title\x07 \u202eevil\u2069 tab\there"
    once = shown(hostile)
    assert "[/x]" in once
    assert not any(char in once for char in "\x1b\x07\u202e\u2069\t")
    assert shown(once) == once


def test_arabic_cells_end_with_a_mark_that_survives_the_cut() -> None:
    name = "النسخ الاحتياطي والاستعادة"
    assert shown(name).endswith(LEFT_TO_RIGHT_MARK)
    assert shown(shown(name)) == shown(name)
    cut = fit(shown(name), 8)
    assert cut.endswith(LEFT_TO_RIGHT_MARK)
    assert cell_len(cut) == 8


def test_ascii_mode_draws_nothing_else() -> None:
    use_ascii(True)
    try:
        assert shown("Füße النسخ").isascii()
    finally:
        use_ascii(False)


class Counted:
    """A recipe that counts what it makes."""

    def __init__(self) -> None:
        self.made: list[tuple[int, str]] = []
        self.time = 0

    def cell(self, column: int, name: str) -> Cell:
        self.made.append((column, name))
        return Cell(f"{name}{self.time}" if column == 2 else name, sort=len(name) if column == 1 else None)

    def row(self, name: str, rank: int = 0) -> Row:
        return Row(name, LazyCells(self.recipe, name), rank)

    @cached_property
    def recipe(self) -> Recipe[str]:
        return Recipe([partial(self.cell, column) for column in range(3)], lambda name: f"hidden {name}")


def lazy_model(counted: Counted, *names: str) -> TableModel:
    made = TableModel(COLUMNS)
    made.put_all({name: counted.row(name, rank) for rank, name in enumerate(names)})
    return made


def test_order_needs_no_cells_and_layout_those_of_the_columns_that_stretch() -> None:
    counted = Counted()
    made = lazy_model(counted, "b", "a")
    made.arrange()
    assert made.order == ["b", "a"]
    assert counted.made == []
    made.layout(80, 80)
    assert sorted(counted.made) == [(0, "a"), (0, "b"), (2, "a"), (2, "b")]
    made.layout(60, 60)
    assert len(counted.made) == 4


def test_a_sort_makes_one_column_once() -> None:
    counted = Counted()
    made = lazy_model(counted, "ccc", "a", "bb")
    made.sort_by(1)
    made.arrange()
    assert made.order == ["ccc", "bb", "a"]
    made.forget()
    made.put(counted.row("dddd", 9))
    made.arrange()
    assert made.order == ["dddd", "ccc", "bb", "a"]
    assert [column for column, _name in counted.made] == [1] * 4


def test_equal_views_are_the_same_row_with_what_it_has_made() -> None:
    counted = Counted()
    made = lazy_model(counted, "a", "b")
    kept = made.rows["a"]
    assert made.put_all({name: counted.row(name, rank) for rank, name in enumerate("ab")}) == []
    assert made.rows["a"] is kept
    changed = made.put_all({name: counted.row(name, rank + 5) for rank, name in enumerate("ab")})
    assert [new.key for _old, new in changed] == ["a", "b"]


def test_the_filter_is_read_in_parts_and_until_then_lets_nothing_through() -> None:
    counted = Counted()
    made = lazy_model(counted, *(f"n{number}" for number in range(10)))
    made.filter = "hidden"
    assert not made.read(4)
    made.arrange()
    assert len(made.order) == 4
    made.put(counted.row("late", 99))
    assert made.read()
    made.arrange()
    assert len(made.order) == 11
    made.put(Row("late", [Cell("other")] * 3, 99))
    made.arrange()
    assert len(made.order) == 10


def test_a_new_filter_looks_at_the_texts_of_its_own_time() -> None:
    counted = Counted()
    made = lazy_model(counted, "a")
    for time in (1, 2):
        counted.time = time
        made.forget()
        made.filter = f"a{time}"
        made.read()
        made.arrange()
        assert made.order == ["a"]
        made.filter = ""
        made.arrange()


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["put", "drop"]), st.text("xy\u754c", max_size=30))),
    st.booleans(),
)
def test_widths_and_order_after_any_changes_are_those_of_a_new_model(
    steps: list[tuple[str, str, str]], sorted_by_note: bool
) -> None:
    made = model()
    if sorted_by_note:
        made.sort_by(2)
    made.layout(200, 200)
    for key, what, note in steps:
        if what == "put":
            made.put(row(key, len(note), note, rank=len(note)))
        else:
            made.drop(key)
        made.arrange()
        made.layout(200, 200)
    fresh = model(*made.rows.values())
    if sorted_by_note:
        fresh.sort_by(2)
        fresh.arrange()
    assert made.layout(200, 200) == fresh.layout(200, 200)
    assert made.order == fresh.order
