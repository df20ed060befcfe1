"""Scroll bars in ASCII, for a terminal whose locale is not UTF-8."""

from __future__ import annotations

from textual.scrollbar import ScrollBar, ScrollBarRender

from tui_backup.widgets.symbols import Symbols


class PlainScrollBarRender(ScrollBarRender):
    """Scroll bars without block elements."""

    VERTICAL_BARS = [" "] * 8
    HORIZONTAL_BARS = [" "] * 8


def use_symbols(symbols: Symbols) -> None:
    """Draw scroll bars in ASCII where that is asked for; a scroll bar takes its renderer from its class."""
    ScrollBar.renderer = PlainScrollBarRender if symbols.is_ascii else ScrollBarRender
