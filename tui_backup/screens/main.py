"""The dashboard's first screen: who is safe, three tabs, what the highlighted row says, and the keys."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import ContentSwitcher, Input

from tui_backup.actions import BY_ID, bindings
from tui_backup.messages import BoardChanged, Tick
from tui_backup.screens.backups import BackupsPane
from tui_backup.screens.base import DashboardScreen, text
from tui_backup.screens.headline import safety_lines
from tui_backup.screens.job_actions import JobActions
from tui_backup.screens.pane import Pane
from tui_backup.screens.restores import RestorePane
from tui_backup.screens.schedules import SchedulesPane
from tui_backup.screens.state_line import state_content
from tui_backup.widgets.detail_pane import DetailPane, PaneMessage
from tui_backup.widgets.key_bar import KeyBar, KeyHint
from tui_backup.widgets.line import Line
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.plain_input import PlainInput
from tui_backup.widgets.tab_bar import Tab, TabBar

CATCH_UP_S = 0.2
PANES = {"backups": BackupsPane, "schedules": SchedulesPane, "restore": RestorePane}


class MainScreen(JobActions, DashboardScreen[None]):
    """Wires panes, bars and keys. What the keys do is in :class:`JobActions`."""

    _filtered: LiveTable
    _is_catching_up = False
    # Another focus first, and then this one, would paint the whole terminal once more.
    AUTO_FOCUS = "#backup-table"

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(),
        Binding("escape", "leave", "Back", show=False, id="leave"),
    ]

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        signs = self.host.symbols
        yield TabBar(
            (
                Tab("backups", "1", signs.backups_icon, "Backups"),
                Tab("schedules", "2", signs.schedules_icon, "Schedules"),
                Tab("restore", "3", signs.restore_icon, "Restore"),
            ),
            id="tabs",
        )
        yield Line(id="safety")
        yield Line(id="figures")
        yield Line(id="state")
        yield PlainInput(placeholder="text to look for", id="filter")
        with ContentSwitcher(initial="backups", id="panes"):
            for name, pane in PANES.items():
                yield pane(id=name)
        yield Line(Content(signs.rule * 500), id="rule")
        yield DetailPane(id="detail")
        yield KeyBar(id="keys")
        with Vertical(id="no-room"):
            yield Line(id="no-room-safety")
            yield text("Make the terminal larger: 40 columns and 12 lines at least. q leaves.", classes="prose")

    def on_mount(self) -> None:
        """Show what is known already."""
        self.call_after_refresh(self._first_show)

    def _first_show(self) -> None:
        self.open_tab("backups")

    def show_panes(self) -> None:
        """Bring the open tab up to date with the board, and the others when they are opened or time is left."""
        for pane in self.query(Pane):
            self._later(pane)
        self.pane.show_all()

    @property
    def pane(self) -> Pane:
        """The open tab's pane."""
        current = self.query_one("#panes", ContentSwitcher).current or "backups"
        return self.query_one(f"#{current}", Pane)

    @property
    def detail(self) -> DetailPane:
        """The pane under the table."""
        return self.query_one("#detail", DetailPane)

    def keep(self, message: PaneMessage) -> None:
        """Show a message until it is read."""
        self.detail.push(message)

    # -- what is shown ------------------------------------------------------------------------------------------

    def open_tab(self, name: str) -> None:
        """Open one of the three tabs."""
        self.query_one("#panes", ContentSwitcher).current = name
        self.query_one("#tabs", TabBar).activate(name)
        self._close_filter()
        # Rows that changed while another screen lay on top: what opens the tab may put the cursor on one of them.
        self.pane.show_all()
        self.pane.table.focus()
        self.show_bars()

    def show_bars(self) -> None:
        """Headline, state line, detail pane and keys: each repaints only when it differs."""
        board, signs = self.host.board, self.host.symbols
        first, second = safety_lines(board, signs, self.size.width)
        self.query_one("#safety", Line).show(first)
        self.query_one("#no-room-safety", Line).show(first)
        self.query_one("#figures", Line).show(second)
        who = board.identity
        title = f"tui-backup  {who.tenant_name} ({who.role})" if who else "tui-backup"
        self.query_one("#tabs", TabBar).show_title(title)
        self.query_one("#state", Line).show(state_content(board, self.pane, signs, read_only=self.host.read_only))
        self.detail.show_row(self.pane.row_message())
        self.query_one("#keys", KeyBar).show_hints(self._hints())

    def _hints(self) -> list[KeyHint]:
        names = self.host.key_names
        found: list[KeyHint] = []
        for id_ in ("help", *self.pane.hints):
            action = BY_ID[id_]
            if action.changes and self.host.read_only:
                continue
            enabled = not self.why_not(id_)
            found.append(KeyHint(id_, action.key_text(names), action.label, enabled))
        return found

    # -- what happens -------------------------------------------------------------------------------------------

    def on_board_changed(self, message: BoardChanged) -> None:
        """Rows changed: repaint what differs."""
        if self.host.board.paused:
            self.show_bars()
            return
        for pane in self.query(Pane):
            if message.id is not None:
                pane.show_one(message.subject, message.id)
            elif pane is self.pane:
                pane.show_all(message.subject)
            elif pane.concerns(message.subject):
                self._later(pane)
        if message.subject in ("connection", "sources"):
            for pane in self.query(Pane):
                pane.show_state()
        self.show_bars()

    def on_screen_resume(self) -> None:
        """Seen again: what changed meanwhile."""
        if self.is_mounted and not self.host.board.paused:
            self.show_panes()
        self.show_bars()

    def on_tick(self, message: Tick) -> None:
        """A second has passed: elapsed times of running rows, and once a minute the ages of all."""
        if not self.host.board.paused:
            if message.new_minute:
                for pane in self.query(Pane):
                    if pane is self.pane:
                        pane.show_ages()
                    else:
                        pane.forget_ages()
                        self._later(pane)
            else:
                self.pane.show_running()
        self.pane.show_state()
        self.show_bars()

    def _later(self, pane: Pane) -> None:
        """A tab that is not open takes over what changed a moment later, when the open one has been painted: opening
        it then costs no more than painting it."""
        pane.is_behind = True
        if not self._is_catching_up:
            self._is_catching_up = True
            self.set_timer(CATCH_UP_S, self._catch_up)

    def _catch_up(self) -> None:
        """One tab at a time, so that keys come between."""
        self._is_catching_up = False
        behind = [pane for pane in self.query(Pane) if pane.is_behind]
        # On top again, or no longer paused, everything is asked for again.
        if behind and self.is_current and not self.host.board.paused:
            behind[0].show_all()
            if len(behind) > 1:
                self._later(behind[1])

    def on_resize(self) -> None:
        """Fit the bars into the new width."""
        self.show_bars()

    @on(LiveTable.Highlighted)
    def _highlighted(self) -> None:
        self.pane.show_state()
        self.show_bars()

    @on(LiveTable.Selected)
    def _selected(self, event: LiveTable.Selected) -> None:
        if event.table.id == "completed-table" and not self.host.read_only:
            self.action_restore()
        else:
            self.action_details()

    @on(LiveTable.EndReached)
    def _end_reached(self, event: LiveTable.EndReached) -> None:
        if event.table.id in ("backup-table", "completed-table") and not self.host.board.all_jobs_loaded:
            self.load_older()

    @on(TabBar.Pressed)
    def _tab_pressed(self, event: TabBar.Pressed) -> None:
        self.open_tab(event.tab)

    @on(KeyBar.Pressed)
    async def _key_pressed(self, event: KeyBar.Pressed) -> None:
        await self.run_action(event.action)

    def on_descendant_focus(self) -> None:
        """Another table: other keys."""
        if self.is_mounted:
            self.show_bars()

    # -- tabs and filter ----------------------------------------------------------------------------------------

    def action_show_backups(self) -> None:
        """First tab."""
        self.open_tab("backups")

    def action_show_schedules(self) -> None:
        """Second tab."""
        self.open_tab("schedules")

    def action_show_restore(self) -> None:
        """Third tab."""
        self.open_tab("restore")

    def action_filter(self) -> None:
        """Open the filter's field."""
        field = self.query_one("#filter", Input)
        self._filtered = self.pane.table
        field.value = self._filtered.model.filter
        self.add_class("-filtering")
        field.focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        if self.has_class("-filtering"):
            self._filtered.set_filter(event.value)
            self.pane.show_state()
            if self._filtered.id in ("backup-table", "completed-table"):
                self.find_older(event.value)

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self._close_filter()
        self._filtered.focus()
        self.show_bars()

    def _close_filter(self) -> None:
        self.remove_class("-filtering")

    def action_leave(self) -> None:
        """Esc: leave the field and clear the filter, else mark the message read, else clear the filter."""
        if self.has_class("-filtering"):
            self._close_filter()
            self._filtered.set_filter("")
            self._filtered.focus()
        elif self.detail.dismiss_message():
            pass
        else:
            self.pane.table.set_filter("")
        self.pane.show_state()
        self.show_bars()
