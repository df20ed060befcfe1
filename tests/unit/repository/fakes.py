"""A store in memory, held by the same suite as the real ones, and faults to put around any store."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tui_backup.errors import DamagedError, ObjectMissingError, ObjectTooLargeError
from tui_backup.model import BlobRef
from tui_backup.repository.keys import check_key, check_prefix
from tui_backup.repository.manifests import earlier_manifests, known_blobs
from tui_backup.repository.store import DEFAULT_MAX_OBJECT_BYTES, ObjectStat, Store


class MemoryStore:
    """Objects in a dict. ``objects`` may be tampered with; ``clock`` is the store's own."""

    def __init__(self, *, max_object_bytes: int = DEFAULT_MAX_OBJECT_BYTES) -> None:
        self.objects: dict[str, bytes] = {}
        self.times: dict[str, datetime] = {}
        self.clock_ahead = timedelta()
        self._max_object_bytes = max_object_bytes
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        return "memory"

    @property
    def max_object_bytes(self) -> int:
        return self._max_object_bytes

    def check(self, *, create: bool = False) -> None:
        """Always there."""

    def put(self, key: str, data: bytes | bytearray | memoryview) -> ObjectStat:
        check_key(key)
        content = bytes(data)
        if len(content) > self._max_object_bytes:
            raise ObjectTooLargeError(f"{key} is too large")
        with self._lock:
            if self.objects.setdefault(key, content) != content:
                raise DamagedError(f"{key} exists with other content", details={"problem": "exists"})
            self.times.setdefault(key, datetime.now(UTC) + self.clock_ahead)
            return ObjectStat(key, len(content), hashlib.sha256(content).hexdigest(), self.times[key])

    def get(self, key: str) -> bytes:
        check_key(key)
        try:
            return self.objects[key]
        except KeyError as error:
            raise ObjectMissingError(f"{key} is missing", details={"problem": "missing"}) from error

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        data = self.get(key)[offset : offset + length]
        if len(data) != length:
            raise DamagedError(f"{key} is truncated", details={"problem": "truncated"})
        return data

    def stat(self, key: str) -> ObjectStat | None:
        check_key(key)
        if key not in self.objects:
            return None
        return ObjectStat(key, len(self.objects[key]), None, self.times.get(key))

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        check_prefix(prefix)
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield ObjectStat(key, len(self.objects[key]), None, self.times.get(key))

    def delete(self, key: str) -> None:
        check_key(key)
        self.objects.pop(key, None)
        self.times.pop(key, None)

    def free_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        """Nothing to release."""


class BreakingStore(MemoryStore):
    """Calls ``before`` ahead of each operation, with its name and the key; what that raises is the fault."""

    def __init__(self, before: Callable[[str, str], None]) -> None:
        super().__init__()
        self._before = before

    def put(self, key: str, data: bytes | bytearray | memoryview) -> ObjectStat:
        self._before("put", key)
        return super().put(key, data)

    def get(self, key: str) -> bytes:
        self._before("get", key)
        return super().get(key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        self._before("list", prefix)
        return super().list(prefix)

    def delete(self, key: str) -> None:
        self._before("delete", key)
        super().delete(key)


def known(store: Store, tenant: UUID, source: str, newest: int = 5) -> dict[str, BlobRef]:
    """The frames that a next backup of the source would not write again."""
    return known_blobs(store, tenant, earlier_manifests(store, tenant, source, newest=newest))
