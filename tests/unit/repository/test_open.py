"""Setting a repository up and recognising it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.repository.fakes import MemoryStore
from tui_backup.errors import (
    DamagedError,
    RefusedError,
    RepositoryVersionError,
    StoreUnavailableError,
    TuiBackupError,
)
from tui_backup.repository.open import initialize, load_config, open_store
from tui_backup.repository.store import ObjectStat


def test_set_up_and_recognised(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "repo"))
    made = initialize(store)
    assert made.format_version == 1
    assert made.max_object_bytes == store.max_object_bytes
    assert initialize(store) == made
    assert load_config(open_store(str(tmp_path / "repo"))) == made


def test_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: initialize(open_store(str(tmp_path / "repo"))), range(8)))
    assert len(set(made)) == 1


def test_by_another_process_in_the_same_moment() -> None:
    class Overtaken(MemoryStore):
        def stat(self, key: str) -> ObjectStat | None:
            found = super().stat(key)
            if found is None and key == "config":
                self.objects[key] = (
                    b'{"format_version":1,"max_object_bytes":7,"created_at":"2026-01-01T00:00:00Z","program":"other"}'
                )
            return found

        def list(self, prefix: str = "") -> Iterator[ObjectStat]:
            return iter(())

    assert initialize(Overtaken()).program == "other"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        load_config(open_store(str(tmp_path / "none")))
    with pytest.raises(StoreUnavailableError, match="holds no repository"):
        load_config(MemoryStore())


def test_a_newer_format_is_refused() -> None:
    store = MemoryStore()
    store.objects["config"] = json.dumps({"format_version": 2, "new": "things"}).encode()
    for use in (load_config, initialize):
        with pytest.raises(RepositoryVersionError, match="format 2") as failure:
            use(store)
        assert failure.value.exit_status == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format_version":1}', b"\xff\xfe"])
def test_a_damaged_config(content: bytes) -> None:
    store = MemoryStore()
    store.objects["config"] = content
    with pytest.raises(DamagedError):
        load_config(store)


def test_a_prefix_that_holds_other_objects() -> None:
    store = MemoryStore()
    store.objects["holiday.jpg"] = b"x"
    with pytest.raises(RefusedError, match=r"holiday\.jpg"):
        initialize(store)
    assert list(store.objects) == ["holiday.jpg"]


def test_every_failure_says_what_to_do() -> None:
    for kind in TuiBackupError.__subclasses__():
        assert kind.default_hint


def test_a_directory_needs_no_boto3() -> None:
    code = "import sys; from tui_backup.repository.open import open_store; open_store('/x'); open_store('s3://bucket')"
    code += "; sys.exit(any(name in sys.modules for name in ('boto3', 'botocore')))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
