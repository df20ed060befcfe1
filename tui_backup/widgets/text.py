"""Outside text made safe and cut to a width. Everything a widget draws goes through here."""

from __future__ import annotations

import unicodedata
from typing import Literal

from rich.cells import cell_len, set_cell_size

from tui_backup.services.utilities import clean_text

Align = Literal["left", "right"]

LEFT_TO_RIGHT_MARK = "\u200e"


_ascii_only = False


def use_ascii(on: bool) -> None:
    """Draw outside text in ASCII alone, for a terminal whose locale is not UTF-8."""
    global _ascii_only  # noqa: PLW0603
    _ascii_only = on


def shown(text: str) -> str:
    """Outside text as it may be drawn: no controls, and a mark that keeps right-to-left words in their column."""
    if text.isascii() and text.isprintable():
        return text
    cleaned = clean_text(text.removesuffix(LEFT_TO_RIGHT_MARK))
    if cleaned.isascii():
        return cleaned
    if _ascii_only:
        return cleaned.encode("ascii", "replace").decode("ascii")
    if any(unicodedata.bidirectional(char) in ("R", "AL") for char in cleaned):
        return cleaned + LEFT_TO_RIGHT_MARK
    return cleaned


def shown_lines(text: str) -> str:
    """The same for prose whose line breaks are meant."""
    return "\n".join(shown(part) for part in text.splitlines())


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
