"""The live table on a screen: cursor and scroll by key, small repaints, keys, mouse."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.geometry import Region

from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.pick_table import PickTable
from tui_backup.widgets.table_model import Cell, Column, Row

COLUMNS = (Column("name", "Name", 10), Column("value", "Value", 10))


def row(number: int, value: str = "-") -> Row:
    return Row(f"k{number:04}", (Cell(f"name {number}"), Cell(value)), rank=number)


class Recording(LiveTable):
    """Remembers which regions were asked to be painted again."""

    def __init__(self) -> None:
        super().__init__(COLUMNS, id="table")
        self.painted: list[Region] = []
        self.whole = 0

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Recording:
        if hasattr(self, "painted"):
            self.painted += regions
            self.whole += not regions
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)


class TableApp(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.table = Recording()
        self.events: list[object] = []

    def compose(self) -> ComposeResult:
        yield self.table

    def on_live_table_highlighted(self, event: LiveTable.Highlighted) -> None:
        self.events.append(("highlighted", event.key))

    def on_live_table_selected(self, event: LiveTable.Selected) -> None:
        self.events.append(("selected", event.key))

    def on_live_table_end_reached(self) -> None:
        self.events.append("end")


def lines(app: App[None], table: LiveTable) -> list[str]:
    return [table.render_line(y).text.rstrip() for y in range(table.size.height)]


async def test_one_changed_cell_repaints_its_own_region_alone() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.table.set_rows([row(n) for n in range(20)])
        await pilot.pause()
        app.table.painted.clear()
        app.table.whole = 0
        app.table.put_row(row(3, "41%"))
        assert app.table.painted == [Region(12, 4, 10, 1)]
        assert app.table.whole == 0
        assert "41%" in lines(app, app.table)[4]


async def test_an_equal_row_repaints_nothing() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.table.set_rows([row(n) for n in range(20)])
        await pilot.pause()
        app.table.painted.clear()
        app.table.whole = 0
        app.table.put_row(row(3))
        app.table.set_rows([row(n) for n in range(20)])
        assert app.table.painted == []
        assert app.table.whole == 0


async def test_a_row_out_of_sight_repaints_nothing() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 6)) as pilot:
        app.table.set_rows([row(n) for n in range(20)])
        await pilot.pause()
        app.table.painted.clear()
        app.table.put_row(row(15, "x"))
        assert app.table.painted == []


async def test_cursor_and_its_line_stay_when_rows_come_and_go_above() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 11)) as pilot:
        app.table.set_rows([row(n) for n in range(100, 200)])
        app.table.focus()
        await pilot.pause()
        await pilot.press("G", "k", "k", "k", "k", "k")
        await pilot.pause()
        before = app.table.cursor_key
        y = next(y for y, text in enumerate(lines(app, app.table)) if "name 194" in text)
        app.table.set_rows([row(n) for n in range(50, 200)])
        await pilot.pause()
        assert app.table.cursor_key == before == "k0194"
        assert "name 194" in lines(app, app.table)[y]
        app.table.drop_row("k0050")
        await pilot.pause()
        assert app.table.cursor_key == before


async def test_the_cursor_follows_its_row_through_a_sort() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.table.set_rows([row(n, f"{99 - n:02}") for n in range(30)])
        app.table.focus()
        await pilot.press("j", "j")
        assert app.table.cursor_key == "k0002"
        await pilot.press("s", "s")
        await pilot.pause()
        assert app.table.model.order[0] == "k0029"
        assert app.table.cursor_key == "k0002"
        assert any("name 2" in text for text in lines(app, app.table)), "and it is in sight"
        assert app.table.symbols.ascending in lines(app, app.table)[0]
        await pilot.press("S")
        assert app.table.model.order[0] == "k0000"


async def test_the_successor_takes_the_cursor_of_a_removed_row() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.table.set_rows([row(n) for n in range(5)])
        app.table.focus()
        await pilot.press("j", "j")
        app.table.drop_row("k0002")
        assert app.table.cursor_key == "k0003"
        for number in (3, 4, 1, 0):
            app.table.drop_row(f"k{number:04}")
        assert app.table.cursor_key is None
        await pilot.press("j", "enter", "G")


async def test_keys_and_messages() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.table.set_rows([row(n) for n in range(50)])
        app.table.focus()
        await pilot.pause()
        for key, expected in (
            ("j", 1), ("down", 2), ("k", 1), ("up", 0), ("up", 0), ("pagedown", 10), ("pageup", 0), ("G", 49), ("g", 0),
            ("end", 49), ("home", 0),
        ):  # fmt: skip
            await pilot.press(key)
            assert app.table.cursor_key == f"k{expected:04}", key
        await pilot.press("enter")
        await pilot.pause()
        assert ("selected", "k0000") in app.events
        assert app.events.count("end") == 2


async def test_mouse_moves_then_opens_and_sorts_by_a_heading() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.table.set_rows([row(n, f"{9 - n}") for n in range(5)])
        await pilot.pause()
        await pilot.click("#table", offset=(3, 3))
        assert app.table.cursor_key == "k0002"
        await pilot.click("#table", offset=(3, 3))
        await pilot.pause()
        assert ("selected", "k0002") in app.events
        await pilot.click("#table", offset=(14, 0))
        assert app.table.model.order[0] == "k0004"


async def test_a_filter_hides_rows_and_says_nothing_matches() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        app.table.set_rows([row(n) for n in range(50)])
        app.table.set_filter("name 4")
        assert app.table.row_count == 11
        app.table.set_filter("nothing")
        app.table.set_placeholder("Nothing matches [/x] \x1b[31m.")
        await pilot.pause()
        text = "\n".join(lines(app, app.table))
        assert "Nothing matches [/x]" in text
        assert "\x1b" not in text


async def test_ten_thousand_rows_are_taken_and_moved_through_fast() -> None:
    import time

    app = TableApp()
    async with app.run_test(size=(80, 24)) as pilot:
        start = time.perf_counter()
        app.table.set_rows([row(n) for n in range(10_000)])
        await pilot.pause()
        taken = time.perf_counter() - start
        start = time.perf_counter()
        app.table.put_row(row(5_000, "x"))
        one = time.perf_counter() - start
        assert taken < 3.0
        assert one < 0.5


async def test_ticks_stay_with_their_rows() -> None:
    class PickApp(App[None]):
        def compose(self) -> ComposeResult:
            yield PickTable(COLUMNS, id="pick")

    app = PickApp()
    async with app.run_test(size=(40, 12)) as pilot:
        table = app.query_one(PickTable)
        table.set_choices([row(n) for n in range(5)])
        table.focus()
        await pilot.press("j", "space", "j", "enter")
        assert table.ticked == ["k0001", "k0002"]
        table.set_choices([row(n) for n in range(2, 8)])
        assert table.ticked == ["k0002"]
        assert "[x]" in table.render_line(1).text
        await pilot.press("a")
        assert len(table.ticked) == 6
        await pilot.press("a")
        assert table.ticked == []
