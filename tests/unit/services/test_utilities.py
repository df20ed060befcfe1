"""Text for people."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui_backup.errors import ValidationError
from tui_backup.model import JobStatus
from tui_backup.services.utilities import (
    clean_text,
    describe_cron,
    format_age,
    format_bytes,
    format_duration,
    get_status_color,
    validate_cron_expression,
)


@pytest.mark.parametrize(
    ("n", "text"),
    [(None, "-"), (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (13314398617, "12.4 GiB")],
)
def test_bytes(n: int | None, text: str) -> None:
    assert format_bytes(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0, "00:00:00"), (250, "00:04:10"), (0.4, "00:00:00"), (360000, "100:00:00")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-3, "<1m"),
        (59.9, "<1m"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (31 * 3600, "31h"),
        (3 * 86400, "3d"),
    ],
)
def test_ages_change_once_a_minute_at_most(seconds: float | None, text: str) -> None:
    assert format_age(seconds) == text


def test_cron_in_words() -> None:
    assert describe_cron("0 2 * * *") == "At 02:00, every day"
    assert describe_cron("0 */6 * * *") == "Every 6 hours"
    assert describe_cron("0 2 * * 0") == "At 02:00, only on Sunday"
    for text in ("0 2 31 2 *", "nonsense"):
        for function in (describe_cron, validate_cron_expression):
            with pytest.raises(ValidationError):
                function(text)


def test_every_status_has_its_colour() -> None:
    assert get_status_color(JobStatus.FAILED) == "red"
    assert get_status_color("completed") == "green"
    assert get_status_color("who knows") == "yellow"
    assert len({get_status_color(status) for status in JobStatus}) == 5


@given(st.text())
def test_clean_text_leaves_nothing_that_a_terminal_obeys(text: str) -> None:
    cleaned = clean_text(text)
    assert len(cleaned) == len(text)
    for char in cleaned:
        assert unicodedata.category(char) not in ("Cc", "Cs"), repr(char)
        assert unicodedata.bidirectional(char) not in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def test_clean_text_keeps_what_people_write() -> None:
    for text in ("orders", "[/x]", "نسخة احتياطية", "日本語", "émoji 👍", "a\u200dd"):
        assert clean_text(text) == text
    assert clean_text("\x1b]0;x\x07\u202e") == "\ufffd]0;x\ufffd\ufffd"
