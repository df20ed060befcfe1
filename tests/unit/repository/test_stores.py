"""The suite of stores, for those that need no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.repository.fakes import MemoryStore
from tests.unit.repository.store_suite import LIMIT, StoreSuite
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.store import Store


class TestMemory(StoreSuite):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore(max_object_bytes=LIMIT)


class TestDirectory(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        store = DirectoryStore(tmp_path / "repo", max_object_bytes=LIMIT)
        store.check(create=True)
        return store
