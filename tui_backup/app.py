"""The dashboard's application: wiring, themes, terminal. What is on the screens is in :mod:`tui_backup.screens`."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ClassVar, TypeVar

from rich.text import Text
from textual import work
from textual.app import App, ScreenStackError
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from tui_backup.actions import BY_ID
from tui_backup.config import Config
from tui_backup.errors import TuiBackupError
from tui_backup.messages import BoardChanged, NotSetUp, Tick
from tui_backup.screens import later
from tui_backup.screens.backend import Backend, ServiceBackend
from tui_backup.screens.board import Board
from tui_backup.screens.crash import error_words, open_log, trace
from tui_backup.screens.feed import Feed
from tui_backup.screens.main import MainScreen
from tui_backup.screens.stylesheets import style_paths
from tui_backup.screens.terminal import (
    HangupWatch,
    check_terminal,
    follow_the_size,
    handle_signals,
    uses_colour,
    wants_ascii,
)
from tui_backup.widgets.detail_pane import PaneMessage
from tui_backup.widgets.scroll_bars import use_symbols
from tui_backup.widgets.symbols import ASCII, BAD, UNICODE, WARN
from tui_backup.widgets.text import shown, use_ascii

Result = TypeVar("Result")

TOAST_S = 6.0
STALL_S = 3.0
SETTLED_S = 2.0


class DashboardApp(App[int]):
    """Holds backend, board and feed for the screens.

    Args:
        backend: the services, or what stands for them in a test.
        ascii: symbols in ASCII; by the configuration and the locale when None.
        read_only: leave out what changes anything; by the configuration when None.
        notice: a hint that stays on the first screen until it is read.
        board: the rows; a test gives one with its own clock.
        colour: whether colours may be used.
    """

    TITLE = "tui-backup"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="quit"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, id="suspend"),
        Binding("ctrl+c", "help_quit", show=False, system=True),
    ]

    def __init__(
        self,
        backend: Backend,
        *,
        ascii: bool | None = None,
        read_only: bool | None = None,
        notice: str = "",
        board: Board | None = None,
        colour: bool = True,
    ) -> None:
        settings = backend.config.settings.dashboard
        # Without colour the terminal's own foreground and background stay; reverse and bold remain.
        super().__init__(css_path=style_paths(), ansi_color=None if colour else True)
        self.animation_level = "none"
        plain = (settings.ascii or wants_ascii()) if ascii is None else ascii
        self.symbols = ASCII if plain else UNICODE
        use_symbols(self.symbols)
        use_ascii(plain)
        self.backend = backend
        self.board = board or Board()
        self.read_only = settings.read_only if read_only is None else read_only
        self.key_names: Mapping[str, str] = {k: v for k, v in settings.keys.items() if k in BY_ID}
        self.feed = Feed(backend, self.board, tell=self.post_message, notice=self._on_notice, on_error=self.report)
        self._notice = notice
        self._log_file = backend.config.log_dir / "dashboard.log"
        self.events = open_log(self._log_file)
        self._ticked_at = time.monotonic()
        self._minute: int | None = None
        self._pending: list[PaneMessage] = []
        self._main = MainScreen()
        self.set_keymap(dict(settings.keys))

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self.backend.config

    # -- life ---------------------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """The first screen is the lowest: a blank one below it would be painted again with every message."""
        return self._main

    def on_load(self) -> None:
        """Open the catalog while the first screen is made: its server answers meanwhile."""
        self.start_feed()

    async def on_mount(self) -> None:
        """Begin to count the time."""
        self.app_resume_signal.subscribe(self, self._resumed)  # pyright: ignore[reportUnknownMemberType]
        if self._notice:
            self._pending.append(PaneMessage(self._notice))
        self.board.connection.since = self.board.monotonic()
        self.set_interval(1.0, self._tick)
        if not gc.isenabled():
            self.set_timer(SETTLED_S, self._collect_garbage)
        self.call_after_refresh(self._begin)

    def _collect_garbage(self) -> None:
        """Begin to collect garbage, but never look at what the start has made: that alone stops keys for 50 ms."""
        gc.freeze()
        gc.enable()

    def _begin(self) -> None:
        """The first screen is there: show what waited for it."""
        waiting, self._pending = self._pending, []
        for message in waiting:
            self.keep(message)

    async def on_unmount(self) -> None:
        """Close the catalog; nothing that runs depends on it."""
        try:
            async with asyncio.timeout(3):
                await self.backend.close()
        except (TuiBackupError, TimeoutError) as error:
            self.events.info("closing: %s", error)

    def start_feed(self) -> None:
        """Open the catalog and follow it (again)."""
        self._follow()

    @work(group="feed", exclusive=True, exit_on_error=False, description="following the catalog")
    async def _follow(self) -> None:
        while True:
            try:
                await self.feed.run()
                return
            except Exception as error:  # noqa: BLE001 - the boundary: shown, logged, and tried again
                self.report(error, doing="following the catalog")
                await asyncio.sleep(5)

    def _resumed(self, _app: App[int]) -> None:
        self.refresh(layout=True)
        self.screen.refresh(layout=True)

    def _tick(self) -> None:
        gap = time.monotonic() - self._ticked_at
        self._ticked_at = time.monotonic()
        if gap > STALL_S and self.board.loaded:
            # The terminal did not read, or the machine slept: changes were missed.
            self.start_feed()
        minute = int(self.board.monotonic() // 60)
        new_minute = self._minute is not None and minute != self._minute
        self._minute = minute
        self._tell_top(Tick(new_minute=new_minute))

    # -- messages of the feed -----------------------------------------------------------------------------------

    def on_board_changed(self, message: BoardChanged) -> None:
        """Tell the screen on top. Those below read the board when they are seen again.

        Textual (8.2.8) paints the whole terminal for each message that a screen below the top one handles.
        """
        self._tell_top(BoardChanged(message.subject, message.id))

    def _tell_top(self, message: Message) -> None:
        with suppress(ScreenStackError):  # the app is ending: its screens are gone, its timers and messages not yet
            self.screen.post_message(message)

    def on_not_set_up(self, message: NotSetUp) -> None:
        """Offer to set up."""
        self.open_screen(later.SetupDialog(message.error.message), lambda made: self.start_feed() if made else None)

    def _on_notice(self, text: str) -> None:
        self.keep(PaneMessage(text))
        self.events.info("%s", text)

    # -- for the screens ----------------------------------------------------------------------------------------

    def toast(self, text: str, tone: str = "") -> None:
        """Show a short text for a few seconds."""
        severity = "warning" if tone == WARN else "error" if tone == BAD else "information"
        self.notify(shown(" ".join(text.split())), severity=severity, timeout=TOAST_S, markup=False)

    def keep(self, message: PaneMessage) -> None:
        """Put a message into the detail pane, where it stays until it is read."""
        if self._main.is_mounted:
            self._main.keep(message)
        else:
            self._pending.append(message)

    def report(self, error: BaseException, doing: str = "") -> None:
        """Show a failure as toast and kept message, and write it to the dashboard's log."""
        what, hint = error_words(error)
        known = isinstance(error, (TuiBackupError, TimeoutError))
        self.events.error("%s: %s%s", doing, what, "" if known else "\n" + trace(error))
        where = "" if known else f" {self._log_file}"
        self.keep(PaneMessage(f"{doing}: {what}" if doing else what, f"{hint}{where}", BAD))
        self.toast(what, BAD)

    def copy(self, text: str, what: str) -> None:
        """Send a text to the terminal's clipboard. No terminal answers, so say sent and show the text too."""
        self.copy_to_clipboard(text)
        self.toast(f"Sent the {what} to the terminal's clipboard.")
        self.keep(PaneMessage(text, f"({what}, sent to the clipboard; in tmux it needs set-clipboard on)"))

    def open_screen(self, screen: Screen[Result], then: Callable[[Result | None], object] | None = None) -> None:
        """Put a screen on top, and do something with its result."""

        async def call(result: Result | None) -> None:
            outcome = then(result) if then is not None else None
            # A worker that was started goes on by itself.
            if inspect.iscoroutine(outcome):
                await outcome

        self.push_screen(screen, call)

    # -- leaving ------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Leave at once."""
        self.exit(0)

    async def action_quit(self) -> None:
        """Leave at once."""
        self.exit(0)

    def parting_words(self) -> str:
        """What goes on after leaving, for the shell."""
        running = sum(1 for job in self.board.jobs.values() if not job.status.is_final)
        running += sum(1 for log in self.board.restores.values() if not log.status.is_final)
        return f"{running} job(s) go on without the dashboard." if running else ""

    def action_help_quit(self) -> None:
        """ctrl+c does not leave: it is pressed by habit."""
        self.toast("q leaves. Jobs go on without the dashboard.")

    def _handle_exception(self, error: Exception) -> None:
        """End after a crash without printing variables, which may be secrets, and with an exit code."""
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()  # pyright: ignore[reportUnknownMemberType]
        self.events.critical("crash\n%s", trace(error))
        self.panic(
            Text(
                f"tui-backup: the dashboard ended on an error it did not expect ({type(error).__name__}).\n"
                f"Jobs go on. The details are in {self._log_file}."
            )
        )


def run_dashboard(
    config: Config,
    *,
    ascii: bool | None = None,
    mouse: bool | None = None,
    read_only: bool = False,
    notice: str = "",
) -> int:
    """Run the dashboard until the user leaves.

    Args:
        config: where the catalog is.
        ascii: symbols in ASCII; by configuration and locale when None.
        mouse: take mouse events; by the configuration when None.
        read_only: leave out what changes anything.
        notice: a hint that stays on the first screen until it is read.

    Returns:
        The exit code.

    Raises:
        UsageError: there is no terminal to draw on.
    """
    check_terminal(os.environ)
    colour = uses_colour(os.environ)
    app = DashboardApp(
        ServiceBackend(config),
        ascii=ascii,
        read_only=True if read_only else None,
        notice=notice,
        colour=colour,
    )
    return run_app(app, mouse=config.settings.dashboard.mouse if mouse is None else mouse)


def run_app(app: DashboardApp, *, mouse: bool) -> int:
    """Run an application on this terminal, with its signals and the watch for a lost line."""
    outcome: list[int] = []
    follow_the_size(os.environ)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def leave(code: int) -> None:
            outcome.append(code)
            app.exit(code)

        handle_signals(loop, leave)
        watch = HangupWatch(lambda: loop.call_soon_threadsafe(leave, 129), sys.stdin.fileno())
        watch.start()
        try:
            await app.run_async(mouse=mouse)
        finally:
            watch.stop()

    asyncio.run(run())
    if outcome:
        return outcome[0]
    if app.return_code:
        return app.return_code
    if words := app.parting_words():
        print(words)
    return 0
