"""A store as one tenant's run may use it: nothing is written, read or deleted under another tenant's prefix.

Keys are made from the run's tenant anyway; this is the wall behind it, so that a slip in one place (a manifest of
another tenant, a key put together wrongly) is an error and never a write.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from tui_backup.repository.keys import CONFIG_KEY, check_tenant_key, tenant_prefix
from tui_backup.repository.store import ObjectStat, Store


class TenantStore:
    """A store whose keys must lie under one tenant's prefix; what the repository says of itself may be read.

    Args:
        store: the whole repository's.
        tenant_id: the tenant of the job that runs.
    """

    def __init__(self, store: Store, tenant_id: UUID) -> None:
        self._store = store
        self._tenant_id = tenant_id

    @property
    def location(self) -> str:
        """Where this is."""
        return self._store.location

    @property
    def max_object_bytes(self) -> int:
        """No object may be larger."""
        return self._store.max_object_bytes

    def check(self, *, create: bool = False) -> None:
        """Prove that it is there; leaves nothing behind."""
        self._store.check(create=create)

    def put(self, key: str, data: bytes | bytearray | memoryview) -> ObjectStat:
        """Write under the tenant's prefix."""
        check_tenant_key(self._tenant_id, key)
        return self._store.put(key, data)

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        self._check_read(key)
        return self._store.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read a part."""
        self._check_read(key)
        return self._store.get_range(key, offset, length)

    def stat(self, key: str) -> ObjectStat | None:
        """Size and checksum."""
        self._check_read(key)
        return self._store.stat(key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Objects under the tenant's prefix; an empty prefix means all of them."""
        prefix = prefix or tenant_prefix(self._tenant_id)
        check_tenant_key(self._tenant_id, prefix)
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        """Remove under the tenant's prefix."""
        check_tenant_key(self._tenant_id, key)
        self._store.delete(key)

    def free_bytes(self) -> int | None:
        """Room left."""
        return self._store.free_bytes()

    def close(self) -> None:
        """Release connections."""
        self._store.close()

    def _check_read(self, key: str) -> None:
        if key != CONFIG_KEY:
            check_tenant_key(self._tenant_id, key)
