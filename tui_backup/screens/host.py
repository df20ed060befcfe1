"""What a screen may ask of the application, as a protocol: screens do not import the app that imports them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, cast

from textual.dom import DOMNode
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from tui_backup.config import Config
from tui_backup.screens.backend import Backend
from tui_backup.screens.board import Board
from tui_backup.screens.feed import Feed
from tui_backup.widgets.detail_pane import PaneMessage
from tui_backup.widgets.symbols import Symbols

Result = TypeVar("Result")


class Host(Protocol):
    """The running dashboard."""

    backend: Backend
    board: Board
    feed: Feed
    symbols: Symbols
    read_only: bool
    key_names: Mapping[str, str]

    @property
    def config(self) -> Config: ...

    def toast(self, text: str, tone: str = "") -> None:
        """Show a short text for a few seconds."""
        ...

    def keep(self, message: PaneMessage) -> None:
        """Put a message into the detail pane, where it stays until it is read."""
        ...

    def report(self, error: BaseException, doing: str = "") -> None:
        """Show a failure as toast and kept message, and write it to the dashboard's log."""
        ...

    def copy(self, text: str, what: str) -> None:
        """Send a text to the terminal's clipboard and show it."""
        ...

    def open_screen(self, screen: Screen[Result], then: Callable[[Result | None], object] | None = None) -> None:
        """Put a screen on top, and do something with its result."""
        ...

    def leave(self) -> None:
        """End the dashboard."""
        ...

    def start_feed(self) -> None:
        """Open the catalog and follow it (again)."""
        ...


def host_of(node: DOMNode) -> Host:
    """The application of a node, by what screens may know of it."""
    return cast(Host, node.app)  # pyright: ignore[reportUnknownMemberType]


def report_worker(node: DOMNode, event: Worker.StateChanged) -> None:
    """Show the failure of a worker: it must neither end the app nor be lost."""
    worker = cast(Worker[object], event.worker)  # pyright: ignore[reportUnknownMemberType]
    if event.state is WorkerState.ERROR and worker.error is not None:
        host_of(node).report(worker.error, doing=worker.description)
