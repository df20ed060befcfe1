"""Messages that cross screens: what the feed found, sent to every open screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from textual.message import Message

from tui_backup.errors import TuiBackupError

Subject = Literal["jobs", "restores", "schedules", "verifications", "safety", "sources", "connection"]


@dataclass
class BoardChanged(Message, bubble=False):
    """Rows of one kind changed on the board; ``id`` None means any number of them."""

    subject: Subject
    id: UUID | None = None


@dataclass
class NotSetUp(Message):
    """There is no catalog on this machine yet."""

    error: TuiBackupError


@dataclass
class Tick(Message, bubble=False):
    """One second has passed; ``new_minute`` when shown ages may have changed."""

    new_minute: bool = False
