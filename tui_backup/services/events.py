"""Live changes of the catalog for the screens: LISTEN, with a slow poll as a net.

A message is an id and nothing else; what it stands for is read under row security, so another tenant's changes show as
nothing. Bursts are gathered: a subject is told of at most about twice a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, LiteralString, TypeAlias
from uuid import UUID

from psycopg.rows import DictRow

from tui_backup.catalog import rows
from tui_backup.catalog.listener import Listener
from tui_backup.errors import CatalogUnavailableError, TuiBackupError
from tui_backup.model import BackupJob, BackupRestoreLog, BackupSchedule, Source, Verification
from tui_backup.services import lookup
from tui_backup.services.session import Session
from tui_backup.services.statistics import end_lost_runs

Kind = Literal["job", "restore", "schedule", "verification", "source", "gone"]
Row: TypeAlias = BackupJob | BackupRestoreLog | BackupSchedule | Verification | Source

_GATHER_S = 0.05
_SUBJECT_EVERY_S = 0.5
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
# A transaction may commit long after the time that its rows carry.
_OVERLAP = timedelta(seconds=60)
_FOREIGN_FOR_S = 60.0
_FOREIGN_MOST = 10_000

_READERS: Mapping[Kind, tuple[str, LiteralString, Callable[[DictRow], Row]]] = {
    "job": ("jobs", "j.id = ANY (%(ids)s)", rows.backup_job),
    "restore": ("restores", "l.id = ANY (%(ids)s)", rows.restore_log),
    "schedule": ("schedules", "c.id = ANY (%(ids)s)", rows.backup_schedule),
    "verification": ("verifications", "v.id = ANY (%(ids)s)", rows.verification),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One row is new, changed or gone. ``row`` is None when it is gone; the kind is ``gone`` when it was never seen
    here (such an id may be another tenant's: ignore what you do not show)."""

    kind: Kind
    id: UUID
    row: Row | None


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """The catalog is followed (again), or was lost. ``since`` is by this machine's clock, UTC."""

    connected: bool
    since: datetime
    error: TuiBackupError | None = None


@dataclass(frozen=True, slots=True)
class Resync:
    """Changes may have been missed: read everything that is shown again."""

    reason: str


Event: TypeAlias = Change | ConnectionState | Resync


async def watch(session: Session, *, poll_s: float = 5.0) -> AsyncGenerator[Event, None]:
    """Yield changes until the caller stops; a catalog that goes away is waited for.

    Args:
        session: open.
        poll_s: how often to look for changes that no message told of.

    Yields:
        ConnectionState when following begins, is lost and is back; Change for rows; Resync when something may have
        been missed. Read what you show after the first ConnectionState: what changes later is told.

    Raises:
        AuthenticationError: the catalog does not let us in any more.
    """
    tries = 0
    was_lost = False
    while True:
        follower = _Follower(session, poll_s)
        try:
            async with aclosing(follower.follow()) as events:
                async for event in events:
                    if isinstance(event, ConnectionState):
                        tries = 0
                    yield event
                    if isinstance(event, ConnectionState) and was_lost:
                        was_lost = False
                        yield Resync("reconnected")
        except CatalogUnavailableError as exc:
            if not was_lost:
                was_lost = True
                yield ConnectionState(False, datetime.now(UTC), exc)
        await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
        tries += 1


class _Follower:
    """Follows one connection until it breaks."""

    def __init__(self, session: Session, poll_s: float) -> None:
        self._session = session
        self._poll_s = poll_s
        self._listener = Listener(session.catalog)
        self._kinds: dict[UUID, Kind] = {}
        self._told: dict[UUID, float] = {}
        self._versions: dict[UUID, datetime] = {}
        self._foreign: dict[UUID, float] = {}
        self._pending: set[UUID] = set()

    async def follow(self) -> AsyncGenerator[Event, None]:
        try:
            await self._listener.open()
            since = await self._clock() - _OVERLAP
            await self._missed(since)
            yield ConnectionState(True, datetime.now(UTC))
            next_poll = time.monotonic() + self._poll_s
            while True:
                self._pending |= await self._listener.ids(self._wait(next_poll))
                if self._pending:
                    self._pending |= await self._listener.ids(_GATHER_S)
                for change in await self._changes():
                    yield change
                if time.monotonic() >= next_poll:
                    since, missed = await self._poll(since)
                    if missed:
                        yield Resync("changes that no message told of")
                    next_poll = time.monotonic() + self._poll_s
        finally:
            await self._listener.close()

    def _wait(self, next_poll: float) -> float:
        """Until the next poll, or until a subject that waits may be told of again."""
        now = time.monotonic()
        due = [self._told.get(one, 0.0) + _SUBJECT_EVERY_S for one in self._pending]
        return max(0.0, min([next_poll, *due]) - now)

    async def _clock(self) -> datetime:
        return (await self._session.catalog.one("catalog_clock"))["now"]

    async def _poll(self, since: datetime) -> tuple[datetime, bool]:
        await self._listener.probe()
        await end_lost_runs(self._session)
        now = await self._clock()
        missed = await self._missed(since)
        self._forget_foreign()
        return now - _OVERLAP, missed

    async def _missed(self, since: datetime) -> bool:
        """Whether rows changed of which neither a message told nor one is waiting to be read."""
        found = await self._session.catalog.rows("subjects_changed", {"since": since})
        # a message may have come in while we asked
        self._pending |= await self._listener.ids(0.0)
        missed = False
        for row in found:
            known = self._versions.get(row["id"])
            if row["id"] not in self._pending and (known is None or known < row["updated_at"]):
                missed = True
            self._kinds[row["id"]] = row["kind"]
            self._versions[row["id"]] = row["updated_at"]
        current = {row["id"] for row in found}
        # what is older than the overlap cannot come again
        self._versions = {one: at for one, at in self._versions.items() if one in current}
        return missed

    async def _changes(self) -> list[Change]:
        now = time.monotonic()
        due = {one for one in self._pending if self._told.get(one, 0.0) + _SUBJECT_EVERY_S <= now}
        self._pending -= due
        due = {one for one in due if self._foreign.get(one, 0.0) < now}
        if not due:
            return []
        await self._find_kinds(due)
        changes: list[Change] = []
        for kind in ("job", "restore", "schedule", "verification", "source"):
            wanted = [one for one in due if self._kinds.get(one) == kind]
            if wanted:
                changes += await self._read(kind, wanted)
        for one in due:
            if one not in self._kinds:
                self._foreign[one] = now + _FOREIGN_FOR_S
                changes.append(Change("gone", one, None))
            self._told[one] = time.monotonic()
        self._told = {one: at for one, at in self._told.items() if at > now - 60}
        return changes

    async def _find_kinds(self, ids: Iterable[UUID]) -> None:
        unknown = [one for one in ids if one not in self._kinds]
        if unknown:
            for row in await self._session.catalog.rows("subject_kinds", {"ids": unknown}):
                self._kinds[row["id"]] = row["kind"]

    async def _read(self, kind: Kind, ids: Sequence[UUID]) -> list[Change]:
        found: dict[UUID, Row | None] = {}
        for row in await self._rows(kind, ids):
            self._versions[row["id"]] = row["updated_at"]
            # a deleted backup's row is only kept for the restores that used it
            is_deleted = row.get("deleted_at") is not None
            convert = _READERS[kind][2] if kind in _READERS else rows.source
            found[row["id"]] = None if is_deleted else convert(row)
        for one in ids:
            if one not in found:
                self._kinds.pop(one, None)
                self._foreign[one] = time.monotonic() + _FOREIGN_FOR_S
        return [Change(kind, one, found.get(one)) for one in ids]

    async def _rows(self, kind: Kind, ids: Sequence[UUID]) -> list[DictRow]:
        if kind == "source":
            wanted = set(ids)
            return [row for row in await self._session.catalog.rows("sources") if row["id"] in wanted]
        name, condition, _ = _READERS[kind]
        params: dict[str, Any] = {"ids": list(ids)}
        return await lookup.read(self._session, name, [condition], params)

    def _forget_foreign(self) -> None:
        now = time.monotonic()
        self._foreign = {one: until for one, until in self._foreign.items() if until > now}
        if len(self._foreign) > _FOREIGN_MOST:
            self._foreign.clear()
