"""Plain text for people: widths, tables, times, and what the terminal can show."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

# word -> (glyph, ASCII glyph)
GLYPHS = {
    "completed": ("✓", "+"),
    "running": ("●", "*"),
    "pending": ("○", "."),
    "late": ("▲", "!"),
    "missed": ("▲", "!"),
    "failed": ("✗", "X"),
    "cancelled": ("-", "-"),
    "unknown": ("?", "?"),
    "ok": ("✓", "+"),
    "warning": ("▲", "!"),
    "refused": ("✗", "X"),
    "SAFE": ("✓", "+"),
    "AT RISK": ("▲", "!"),
    "NOT SAFE": ("✗", "X"),
    "UNKNOWN": ("?", "?"),
}

_COLOURS = {
    "completed": "32",
    "ok": "32",
    "SAFE": "32",
    "running": "34",
    "late": "33",
    "missed": "33",
    "warning": "33",
    "unknown": "33",
    "UNKNOWN": "33",
    "AT RISK": "33",
    "failed": "1;31",
    "refused": "1;31",
    "NOT SAFE": "1;31",
    "cancelled": "2",
}

_MIN_FLEXIBLE = 8
_GAP = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell whose colour follows a status word."""

    text: str
    word: str


@dataclass(frozen=True, slots=True)
class Column:
    """A table column.

    Args:
        title: heading.
        right: align to the right.
        flexible: may be cut where a terminal is too narrow.
        hide: may be left out there, the lowest number first; 0 never.
    """

    title: str
    right: bool = False
    flexible: bool = False
    hide: int = 0


def is_utf8_locale(env: Mapping[str, str]) -> bool:
    """Whether the user's locale shows UTF-8.

    Python itself sets LC_CTYPE=C.UTF-8 where the locale is plain C, so that value alone proves nothing.
    """
    lang = env.get("LANG", "")
    if env.get("LC_ALL"):
        value = env["LC_ALL"]
    elif env.get("LC_CTYPE") == "C.UTF-8" and lang in ("", "C", "POSIX"):
        value = lang
    else:
        value = env.get("LC_CTYPE") or lang
    return value.lower().replace("-", "").endswith("utf8")


def display_width(text: str) -> int:
    """Cells that a terminal takes for the text."""
    if text.isascii():
        return len(text)
    cells = 0
    for char in text:
        if unicodedata.category(char) in ("Mn", "Me", "Cf"):
            continue
        cells += 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
    return cells


def cut(text: str, width: int, ellipsis: str) -> str:
    """Shorten to ``width`` cells, marked by the ellipsis."""
    if display_width(text) <= width:
        return text
    room = max(0, width - display_width(ellipsis))
    kept: list[str] = []
    for char in text:
        room -= display_width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + ellipsis


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill up with spaces to ``width`` cells."""
    space = " " * max(0, width - display_width(text))
    return space + text if right else text + space


def colour(text: str, word: str) -> str:
    """Wrap in the colour of a status word, if it has one."""
    code = _COLOURS.get(word)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Cell]],
    *,
    width: int | None = None,
    ellipsis: str = "…",
    colours: bool = False,
) -> list[str]:
    """Aligned lines with a heading.

    Args:
        columns: headings and alignment.
        rows: cells, already cleaned.
        width: cells of the terminal, None to cut nothing.
        ellipsis: what marks a cut value.
        colours: colour the :class:`Cell` ones.
    """
    widths = [
        max(display_width(text) for text in (column.title, *(_text(row[at]) for row in rows)))
        for at, column in enumerate(columns)
    ]
    if width is not None:
        columns, rows, widths = _without_hidden(columns, rows, widths, width)
        _shrink(columns, widths, width)
    lines = [_line(columns, [column.title for column in columns], widths, ellipsis, colours)]
    lines += [_line(columns, row, widths, ellipsis, colours) for row in rows]
    return lines


def _text(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


def _without_hidden(
    columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]], widths: list[int], width: int
) -> tuple[Sequence[Column], Sequence[Sequence[str | Cell]], list[int]]:
    """Leave columns out until the narrowest form of the others fits."""

    def narrowest(at: int) -> int:
        return min(widths[at], _MIN_FLEXIBLE) if columns[at].flexible else widths[at]

    shown = list(range(len(columns)))
    while sum(narrowest(at) for at in shown) + _GAP * (len(shown) - 1) > width:
        hidable = [at for at in shown if columns[at].hide]
        if not hidable:
            break
        shown.remove(min(hidable, key=lambda at: columns[at].hide))
    return [columns[at] for at in shown], [[row[at] for at in shown] for row in rows], [widths[at] for at in shown]


def _shrink(columns: Sequence[Column], widths: list[int], width: int) -> None:
    """Take cells from the widest flexible column until the row fits."""
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        candidates = [at for at, column in enumerate(columns) if column.flexible and widths[at] > _MIN_FLEXIBLE]
        if not candidates:
            return
        widths[max(candidates, key=lambda at: widths[at])] -= 1


def _line(
    columns: Sequence[Column], row: Sequence[str | Cell], widths: Sequence[int], ellipsis: str, colours: bool
) -> str:
    parts: list[str] = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        part = pad(cut(_text(cell), width, ellipsis), width, right=column.right)
        parts.append(colour(part, cell.word) if colours and isinstance(cell, Cell) else part)
    return (" " * _GAP).join(parts).rstrip()


def time_column(title: str, moments: Sequence[datetime | None], *, hide: int = 0) -> tuple[Column, list[str]]:
    """A column of times in this machine's zone, the zone named once where all share it.

    Args:
        title: heading.
        moments: one a row, ``-`` for none.
        hide: as in :class:`Column`.
    """
    there = [moment.astimezone() if moment else None for moment in moments]
    zones = {moment.tzname() for moment in there if moment}
    if len(zones) > 1:
        return Column(title, hide=hide), [local_time(moment) for moment in moments]
    heading = f"{title}, {zones.pop()}" if zones else title
    return Column(heading, hide=hide), [f"{moment:%Y-%m-%d %H:%M}" if moment else "-" for moment in there]


def local_time(moment: datetime | None) -> str:
    """A time in this machine's zone, the zone named; ``-`` for none."""
    if moment is None:
        return "-"
    there = moment.astimezone()
    return f"{there:%Y-%m-%d %H:%M} {there.tzname()}"
