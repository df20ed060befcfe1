"""Outside text made safe and cut to a width. Everything a widget draws goes through here."""

from __future__ import annotations

import unicodedata
from typing import Literal

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from tui_backup.services.utilities import clean_text

Align = Literal["left", "right"]

LEFT_TO_RIGHT_MARK = "\u200e"


def shown(text: str) -> str:
    """Outside text as it may be drawn: no controls, and a mark that keeps right-to-left words in their column."""
    cleaned = clean_text(text)
    if cleaned.isascii():
        return cleaned
    if any(unicodedata.bidirectional(char) in ("R", "AL") for char in cleaned):
        return cleaned + LEFT_TO_RIGHT_MARK
    return cleaned


def fit(text: str, width: int, *, align: Align = "left", ellipsis: str = "…") -> str:
    """Cut or pad to exactly ``width`` cells."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        # A mark at the end must survive the cut, or the cell reorders its neighbours.
        mark = LEFT_TO_RIGHT_MARK if text.endswith(LEFT_TO_RIGHT_MARK) else ""
        return set_cell_size(text, width - 1) + ellipsis + mark
    padding = " " * (width - length)
    return padding + text if align == "right" else text + padding


def line(*parts: str | tuple[str, str]) -> Content:
    """One piece of content from plain parts and (text, style) parts, with no markup read in them."""
    return Content.assemble(*parts)
