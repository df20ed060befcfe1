"""The rule for names that people give to sources and repositories."""

from __future__ import annotations

import re

from tui_backup.errors import ValidationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_name(field: str, name: str) -> None:
    """Refuse a name that would need quoting in a shell, a file name or a URL.

    Args:
        field: for the error.
        name: as typed.

    Raises:
        ValidationError: it cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise ValidationError(
            field,
            f"{name!r} cannot be a name.",
            hint="Use up to 63 letters (a-z), digits, dots, dashes and underscores, beginning with a letter or digit.",
        )
