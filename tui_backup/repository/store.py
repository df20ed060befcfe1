"""The port that every place for backups implements: named objects, written once, never overwritten.

Keys are ``/``-separated relative names of the characters ``[A-Za-z0-9._-]``; no part starts with a dot. All
methods are synchronous (they run in worker threads), thread-safe, bounded in time, and raise only errors of
:mod:`tui_backup.errors`: ``StoreUnavailableError`` (retryable), ``StoreDeniedError``, ``StoreFullError``,
``StorePublicError``, ``ObjectMissingError``, ``ObjectTooLargeError``, ``DamagedError`` (the content is not
what was written), ``StoreError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

DEFAULT_MAX_OBJECT_BYTES = 100 * 1024 * 1024
"""No object of a repository is larger, unless the repository is given another limit."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a store says of an object.

    Args:
        key: the object's name.
        size_bytes: its length.
        sha256: hex, None where the store cannot tell without a full read.
        modified_at: when it was written, by the store's own clock; None where the store does not say.
    """

    key: str
    size_bytes: int
    sha256: str | None = None
    modified_at: datetime | None = None


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

    def check(self, *, create: bool = False) -> None:
        """Prove that it is there, private, readable and writable; leave nothing behind.

        Args:
            create: make the place when it is missing. Only the setting up of a repository asks for this: a
            folder
                whose disk is not mounted must never be made anew by a backup.
        """
        ...

    def put(self, key: str, data: bytes | bytearray | memoryview) -> ObjectStat:
        """Write atomically and durably; return what the store itself then says of it (read back, never
        assumed).

        An object that already exists under the key with the same content is left alone; with other content
        it is a ``DamagedError`` and stays as it was.
        """
        ...

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read exactly ``length`` bytes from ``offset``; fewer there is a ``DamagedError`` (truncated)."""
        ...

    def stat(self, key: str) -> ObjectStat | None:
        """Size, and checksum where it is cheap; None when there is no such object."""
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
