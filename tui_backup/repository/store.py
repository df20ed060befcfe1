"""The port that every place for backups implements: named objects, written once, never overwritten.

Keys are ``/``-separated relative names of the characters ``[A-Za-z0-9._-]``. All methods are synchronous (they run
in worker threads), thread-safe, bounded in time, and raise only errors of :mod:`tui_backup.errors`:
``StoreUnavailableError`` (retryable), ``StoreDeniedError``, ``StoreFullError``, ``ObjectMissingError``,
``ObjectTooLargeError``, ``DamagedError`` (the store's own checksum does not match), ``StoreError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a store says of an object. ``sha256`` (hex) is None where the store cannot tell without a full read."""

    key: str
    size_bytes: int
    sha256: str | None = None


class Store(Protocol):
    """Objects by key, durable once put() returns."""

    @property
    def location(self) -> str:
        """Where this is, for people; no secrets."""
        ...

    @property
    def max_object_bytes(self) -> int:
        """No object may be larger."""
        ...

    def check(self) -> None:
        """Prove that it is there, private, readable and writable (creates it when it can). Leaves nothing behind."""
        ...

    def put(self, key: str, data: bytes | bytearray | memoryview) -> ObjectStat:
        """Write atomically and durably; return what the store itself then says of it (read back, never assumed).

        An object that already exists under the key with the same content is left alone; with other content it is
        a ``DamagedError`` and stays as it was.
        """
        ...

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read exactly ``length`` bytes from ``offset``; fewer there is a ``DamagedError`` (truncated)."""
        ...

    def stat(self, key: str) -> ObjectStat | None:
        """Size and checksum, None when there is no such object."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Objects whose key starts with the prefix, in key order; half-written ones never show."""
        ...

    def delete(self, key: str) -> None:
        """Remove; an object that is not there is no error. Confirmed by the store, not assumed."""
        ...

    def free_bytes(self) -> int | None:
        """Room left, None when the store cannot tell."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
