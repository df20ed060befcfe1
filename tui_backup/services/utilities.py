"""Small pure helpers for everything that shows something to people."""

from __future__ import annotations


def format_bytes(n: int | None) -> str:
    """Size for people: ``12.4 GiB``."""
    raise NotImplementedError


def format_duration(seconds: float | None) -> str:
    """Duration for people: ``00:04:10``."""
    raise NotImplementedError


def format_age(seconds: float | None) -> str:
    """Age for people: ``3d``, ``31h``, ``5m``, ``<1m``."""
    raise NotImplementedError


def validate_cron_expression(text: str) -> None:
    """Refuse what is not a five-field cron expression that fires."""
    raise NotImplementedError


def describe_cron(text: str) -> str:
    """The expression in words."""
    raise NotImplementedError


def get_status_color(status: str) -> str:
    """Colour name of a status word."""
    raise NotImplementedError


def clean_text(text: str) -> str:
    """Replace what a terminal would obey or reorder by."""
    raise NotImplementedError
