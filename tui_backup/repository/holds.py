"""What keeps a deletion from taking packs that a running backup counts on.

A backup puts a mark (a hold) before it looks at what is stored; a sweep puts a mark before it deletes. Each
then looks for the other's: a sweep that sees a hold deletes nothing, a backup that sees a sweep waits for
its end. As both write before they read, at least one sees the other. Ages are told by the store's own clock:
one's own mark, just put, says what time it is there. Marks of programs that died count for nothing after
their time.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from tui_backup.errors import StoreUnavailableError, TuiBackupError
from tui_backup.model import StopFlag
from tui_backup.repository.keys import holds_prefix, sweeps_prefix
from tui_backup.repository.store import Store

_LOG = logging.getLogger(__name__)
HOLD_LIFE = timedelta(hours=24)
SWEEP_LIFE = timedelta(hours=1)
# a sweep stops itself long before others stop believing in it
SWEEP_WORK_S = 20 * 60.0
_RENEW_S = 3600.0
_SWEEP_WAIT_S = SWEEP_WORK_S + 60.0
_POLL_S = 0.5


class Hold:
    """A running backup's mark."""

    def __init__(self, store: Store, tenant_id: UUID, job_id: UUID) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._job_id = job_id
        self._key = ""
        self._renew_at = 0.0
        self._lock = threading.Lock()

    def take(self, stop: StopFlag | None = None) -> None:
        """Put the mark and wait until no sweep is running.

        Raises:
            StoreUnavailableError: a sweep did not end in time; try later.
        """
        now = self._put()
        deadline = time.monotonic() + _SWEEP_WAIT_S
        while _fresh(self._store, sweeps_prefix(self._tenant_id), now, SWEEP_LIFE):
            if time.monotonic() > deadline:
                self.release()
                raise StoreUnavailableError(
                    f"Old backups are being deleted in {self._store.location}", hint="Try again in some minutes."
                )
            if stop is not None and stop.wait(_POLL_S):
                self.release()
                stop.check()
            elif stop is None:
                time.sleep(_POLL_S)

    def renew_if_due(self) -> None:
        """Once an hour put a new mark and take the old one away; cheap to call often."""
        with self._lock:
            if not self._key or time.monotonic() < self._renew_at:
                return
            old = self._key
        self._put()
        self._store.delete(old)

    def release(self) -> None:
        """Take the mark away; a store that is gone keeps it, which costs a day of deletions and no data."""
        with self._lock:
            key, self._key = self._key, ""
        if not key:
            return
        try:
            self._store.delete(key)
        except TuiBackupError as error:
            _LOG.warning("the hold of job %s stays: %s", self._job_id, error.message)

    def _put(self) -> datetime | None:
        key = f"{holds_prefix(self._tenant_id)}{self._job_id}.{secrets.token_hex(8)}"
        said = self._store.put(key, key.encode())
        with self._lock:
            self._key = key
            self._renew_at = time.monotonic() + _RENEW_S
        return said.modified_at


def release_holds(store: Store, tenant_id: UUID, job_id: UUID) -> None:
    """Take away the marks of a job that is known to be over (its agent died)."""
    for found in list(store.list(f"{holds_prefix(tenant_id)}{job_id}.")):
        store.delete(found.key)


@contextmanager
def sweeping(store: Store, tenant_id: UUID) -> Generator[tuple[list[str], datetime | None]]:
    """Announce a sweep.

    Yields:
        The jobs whose holds forbid any deletion, and the store's time (None when it tells none).
    """
    key = f"{sweeps_prefix(tenant_id)}{secrets.token_hex(16)}"
    now = store.put(key, key.encode()).modified_at
    try:
        held = _fresh(store, holds_prefix(tenant_id), now, HOLD_LIFE)
        yield sorted({key.rsplit("/", 1)[-1].partition(".")[0] for key in held}), now
    finally:
        try:
            store.delete(key)
        except TuiBackupError as error:
            _LOG.warning("the mark of a sweep stays in %s: %s", store.location, error.message)


def _fresh(store: Store, prefix: str, now: datetime | None, life: timedelta) -> list[str]:
    """Marks that still count; one without a time always does."""
    return [
        found.key
        for found in store.list(prefix)
        if now is None or found.modified_at is None or now - found.modified_at < life
    ]
