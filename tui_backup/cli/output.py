"""Where a command's words go: text for people, or JSON and nothing else on stdout."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tui_backup.cli import text
from tui_backup.cli.text import Cell, Column
from tui_backup.errors import TuiBackupError


def plain(value: Any) -> Any:
    """What JSON can hold: ISO times with zone, UUIDs and paths as strings, dataclasses as objects."""
    import msgspec

    return msgspec.to_builtins(value, enc_hook=_encode)


def _encode(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


class Output:
    """stdout and stderr of one command.

    Args:
        is_json: JSON on stdout, a JSON error on stderr, no other word.
        env: environment that says what the terminal can show.
    """

    def __init__(self, *, is_json: bool = False, env: Mapping[str, str] | None = None) -> None:
        env = os.environ if env is None else env
        self.is_json = is_json
        self.symbols = text.is_utf8_locale(env)
        self.is_terminal = sys.stdout.isatty()
        self.colours = self.is_terminal and not env.get("NO_COLOR") and env.get("TERM", "") not in ("", "dumb")

    # -- stdout -------------------------------------------------------------------------------------------------

    def data(self, value: Any) -> None:
        """Print one JSON value; ASCII only, so no locale and no terminal can be hurt by what it holds."""
        json.dump(plain(value), sys.stdout, indent=2, ensure_ascii=True)
        sys.stdout.write("\n")

    def lines(self, lines: Sequence[str]) -> None:
        """Print lines that hold nothing from outside, or only cleaned text."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    def line(self, line: str = "") -> None:
        """Print one line."""
        self.lines([line])

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]], *, empty: str) -> None:
        """Print a table, or the sentence that says what to do where there are no rows."""
        if not rows:
            self.line(empty)
            return
        width = shutil.get_terminal_size().columns if self.is_terminal else None
        self.lines(text.table(columns, rows, width=width, ellipsis=self.ellipsis, colours=self.colours))

    def facts(self, facts: Sequence[tuple[str, str | Cell]]) -> None:
        """Print one thing as ``name  value`` lines."""
        width = max(len(name) for name, _ in facts)
        for name, value in facts:
            shown = value if isinstance(value, str) else self.paint(value)
            self.line(f"{text.pad(name, width)}  {shown}".rstrip())

    # -- how things look ----------------------------------------------------------------------------------------

    @property
    def ellipsis(self) -> str:
        """What marks a cut value."""
        return "…" if self.symbols else "..."

    def status(self, word: str, more: str = "") -> Cell:
        """A status as glyph and word."""
        glyph = text.GLYPHS.get(word, text.GLYPHS["unknown"])[0 if self.symbols else 1]
        return Cell(f"{glyph} {word}{' ' + more if more else ''}", word)

    def paint(self, cell: Cell) -> str:
        """A cell as text, coloured where the terminal shows colours."""
        return text.colour(cell.text, cell.word) if self.colours else cell.text

    # -- stderr -------------------------------------------------------------------------------------------------

    def note(self, sentence: str) -> None:
        """Tell people something beside the result; silent with JSON."""
        if not self.is_json:
            self._to_stderr(sentence)

    def error(self, error: TuiBackupError) -> None:
        """Report a failure: what, and what to do."""
        self.failure(error.to_json())

    def failure(self, body: Mapping[str, Any]) -> None:
        """Report a failure given as the error object: ``error``, ``message``, ``hint`` and perhaps ``details``."""
        if self.is_json:
            self._to_stderr(json.dumps(plain(body), ensure_ascii=True))
            return
        from tui_backup.services.utilities import clean_text

        lines = [f"error: {clean_text(str(body['message']))}"]
        lines += [f"  {clean_text(line)}" for line in _detail_lines(body.get("details") or {})]
        if body.get("hint"):
            lines.append(f"hint: {clean_text(str(body['hint']))}")
        self._to_stderr("\n".join(lines))

    def interrupted(self, sentence: str, hint: str) -> None:
        """Report Ctrl-C."""
        if self.is_json:
            body = {"error": "interrupted", "message": sentence, "hint": hint}
            self._to_stderr(json.dumps(body, ensure_ascii=True))
            return
        self._to_stderr("\n".join(part for part in (sentence, hint) if part))

    @staticmethod
    def _to_stderr(sentence: str) -> None:
        sys.stderr.write(sentence + "\n")
        sys.stderr.flush()


def _detail_lines(details: Mapping[str, Any]) -> list[str]:
    """Lists in an error's details (tables, grants), one entry a line, so that they can be read and copied."""
    lines: list[str] = []
    for name, value in details.items():
        if isinstance(value, list | tuple):
            lines.append(f"{name}:")
            lines += [f"  {entry}" for entry in value]  # pyright: ignore[reportUnknownVariableType]
    return lines
