"""How the board's rows become rows of live tables; the columns of each kind are in the modules ``*_rows``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from tui_backup.model import BackupJob, BackupRestoreLog, JobStatus, Verification
from tui_backup.screens.formats import percent
from tui_backup.widgets.rows import Cell, Row
from tui_backup.widgets.symbols import DIM, Symbols, status_tone

NOTHING = Cell("-", DIM)


class Known(Protocol):
    """Something of the catalog."""

    @property
    def id(self) -> UUID: ...


Subject = TypeVar("Subject", bound=Known)


@dataclass(frozen=True, slots=True)
class Look:
    """What the texts depend on besides the row: the catalog's clock and the set of signs."""

    now: Callable[[], datetime]
    symbols: Symbols


@dataclass(slots=True)
class View(Generic[Subject]):
    """What a row's cells are made of. A backup's newest check of its files goes with it."""

    of: Subject
    check: Verification | None
    look: Look


class RowCache(Generic[Subject]):
    """Keeps the rows of one table: what was made of the same objects stays, with the cells that it has made.

    Args:
        make: makes a row.
    """

    def __init__(self, make: Callable[[View[Subject]], Row], look: Look) -> None:
        self._make = make
        self._look = look
        self._made: dict[UUID, tuple[Subject, Verification | None, Row]] = {}

    def row(self, subject: Subject, check: Verification | None = None) -> Row:
        """The row of this. The board replaces what changes and never changes it, so that the same object is the
        same row."""
        known = self._made.get(subject.id)
        if known is not None and known[0] is subject and known[1] is check:
            return known[2]
        row = self._make(View(subject, check, self._look))
        self._made[subject.id] = (subject, check, row)
        return row


def status_cell(row: BackupJob | BackupRestoreLog, symbols: Symbols) -> Cell:
    """Sign, word and, while it runs, how far it is."""
    word = symbols.status(row.status)
    if row.status is JobStatus.RUNNING:
        word = f"{word} {percent(row.progress)}".rstrip()
    return Cell(word, status_tone(row.status), sort=str(row.status))
