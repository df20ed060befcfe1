"""Finds the style sheets: in the package when installed, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path, PurePath

PACKAGE = Path(__file__).resolve().parent.parent


def style_paths() -> list[str | PurePath]:
    """All style sheets, the base first.

    Raises:
        FileNotFoundError: the installation lacks them.
    """
    for folder in (PACKAGE / "styles", PACKAGE.parent / "styles"):
        base = folder / "base.tcss"
        if base.is_file():
            return [base, *sorted(path for path in folder.glob("*.tcss") if path != base)]
    raise FileNotFoundError(f"styles/base.tcss, looked for beside and in {PACKAGE}")
