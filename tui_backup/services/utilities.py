"""Small pure helpers for everything that shows something to people."""

from __future__ import annotations

import re

import humanize
from cron_descriptor import ExpressionDescriptor, FormatError, MissingFieldError, Options, WrongArgumentError

from tui_backup.services.cron import parse_cron

_COLOURS = {
    "completed": "green",
    "running": "blue",
    "pending": "default",
    "late": "yellow",
    "missed": "yellow",
    "failed": "red",
    "cancelled": "dim",
}
# C0 with DEL, C1, zero-width and bidirectional controls, line and paragraph separators, lone surrogates
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def format_bytes(n: int | None) -> str:
    """Size for people, in powers of 1024.

    Args:
        n: bytes; None when unknown.
    """
    if n is None:
        return "-"
    return humanize.naturalsize(n, binary=True, format="%.1f").replace(" Bytes", " B").replace(" Byte", " B")


def format_duration(seconds: float | None) -> str:
    """Duration as ``hh:mm:ss``; the hours may have more than two digits.

    Args:
        seconds: None when unknown.
    """
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    return f"{whole // _HOUR:02}:{whole % _HOUR // _MINUTE:02}:{whole % _MINUTE:02}"


def format_age(seconds: float | None) -> str:
    """Age in one unit, minutes at the finest: a shown age must not change every second (UX.md, "Slow links").

    Args:
        seconds: None when unknown.
    """
    if seconds is None:
        return "-"
    if seconds < _MINUTE:
        return "<1m"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)}m"
    if seconds < 2 * _DAY:
        return f"{int(seconds // _HOUR)}h"
    return f"{int(seconds // _DAY)}d"


def validate_cron_expression(text: str) -> None:
    """Refuse what is not a five-field cron expression that fires some day.

    Raises:
        ValidationError: with what is wrong (field ``cron_expression``).
    """
    parse_cron(text)


def describe_cron(text: str) -> str:
    """The expression in words: ``At 02:00``.

    Raises:
        ValidationError: it is not a cron expression.
    """
    cron = parse_cron(text)
    # the locale is named: the describer would ask the machine's
    options = Options(use_24hour_time_format=True, locale_code="en_US")
    try:
        words = ExpressionDescriptor(cron.text, options).get_description()
    except (FormatError, MissingFieldError, WrongArgumentError):
        # valid, but beyond the describer's words
        return cron.text
    return f"{words}, every day" if cron.text.endswith(" * * *") and words.startswith("At ") else words


def get_status_color(status: str) -> str:
    """Colour name of a status word; words say more than colours, so an unknown one is only yellow."""
    return _COLOURS.get(str(status), "yellow")


def clean_text(text: str) -> str:
    """Replace what a terminal would obey, or what would reorder a row, by a visible mark.

    Args:
        text: from a database, a file name, an error: anything from outside.
    """
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)
