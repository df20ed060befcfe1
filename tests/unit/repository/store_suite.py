"""What every store must do; a class per store inherits this and gives the ``store`` fixture (1 MiB limit)."""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tui_backup.errors import DamagedError, ObjectMissingError, ObjectTooLargeError, StoreError
from tui_backup.repository.store import Store

LIMIT = 12 * 1024 * 1024


class StoreSuite:
    """Inherited by the tests of each store."""

    def test_what_is_put_comes_back(self, store: Store) -> None:
        data = secrets.token_bytes(100_000)
        said = store.put("tenant/packs/ab/one", data)
        assert (said.key, said.size_bytes) == ("tenant/packs/ab/one", len(data))
        assert said.sha256 == hashlib.sha256(data).hexdigest()
        assert store.get("tenant/packs/ab/one") == data
        assert store.get_range("tenant/packs/ab/one", 77_000, 3) == data[77_000:77_003]
        assert store.get_range("tenant/packs/ab/one", 0, len(data)) == data

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_kind_of_bytes(self, store: Store, kind: type) -> None:
        store.put("some", kind(b"abc"))
        assert store.get("some") == b"abc"

    def test_an_empty_object(self, store: Store) -> None:
        assert store.put("empty", b"").size_bytes == 0
        assert store.get("empty") == b""
        assert store.get_range("empty", 0, 0) == b""
        found = store.stat("empty")
        assert found is not None
        assert found.size_bytes == 0

    def test_stat_tells_size_and_time(self, store: Store) -> None:
        store.put("a/b", b"12345")
        found = store.stat("a/b")
        assert found is not None
        assert found.size_bytes == 5
        assert found.modified_at is not None
        assert abs(found.modified_at - datetime.now(UTC)) < timedelta(minutes=1)
        assert store.stat("a/c") is None
        assert store.stat("x/y/z") is None

    def test_the_same_again_is_left_alone(self, store: Store) -> None:
        first = store.put("a/same", b"content")
        again = store.put("a/same", b"content")
        assert (again.size_bytes, again.sha256) == (first.size_bytes, first.sha256)

    @pytest.mark.parametrize("other", [b"CONTENT", b"cont", b""])
    def test_other_content_is_refused_and_the_old_stays(self, store: Store, other: bytes) -> None:
        store.put("a/taken", b"content")
        with pytest.raises(DamagedError) as failure:
            store.put("a/taken", other)
        assert failure.value.details["problem"] == "exists"
        assert store.get("a/taken") == b"content"

    def test_missing(self, store: Store) -> None:
        for read in (lambda: store.get("no/such"), lambda: store.get_range("no/such", 0, 1)):
            with pytest.raises(ObjectMissingError) as failure:
                read()
            assert failure.value.details["problem"] == "missing"
        store.delete("no/such")

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (5, 6), (10, 1), (500, 1)])
    def test_a_range_beyond_the_end_is_truncation(self, store: Store, offset: int, length: int) -> None:
        store.put("ten", b"0123456789")
        with pytest.raises(DamagedError) as failure:
            store.get_range("ten", offset, length)
        assert failure.value.details["problem"] == "truncated"

    def test_list_is_in_key_order_and_by_prefix(self, store: Store) -> None:
        keys = ["t/a-b", "t/a.c", "t/a/x", "t/a/y/z", "t/a0", "t/b", "u/a", "ta"]
        for key in keys:
            store.put(key, key.encode())
        assert [found.key for found in store.list()] == sorted(keys)
        assert [found.key for found in store.list("t/")] == [key for key in sorted(keys) if key.startswith("t/")]
        assert [found.key for found in store.list("t/a")] == [key for key in sorted(keys) if key.startswith("t/a")]
        assert [found.key for found in store.list("t/a/")] == ["t/a/x", "t/a/y/z"]
        assert list(store.list("nothing/")) == []
        assert next(iter(store.list("u/"))).size_bytes == 3

    def test_delete(self, store: Store) -> None:
        store.put("a/gone", b"x")
        store.put("a/stays", b"y")
        store.delete("a/gone")
        assert store.stat("a/gone") is None
        assert [found.key for found in store.list("a/")] == ["a/stays"]
        store.put("a/gone", b"now another content")
        assert store.get("a/gone") == b"now another content"

    def test_too_large(self, store: Store) -> None:
        with pytest.raises(ObjectTooLargeError):
            store.put("large", bytes(store.max_object_bytes + 1))
        assert store.stat("large") is None

    def test_as_large_as_allowed(self, store: Store) -> None:
        data = secrets.token_bytes(1024) * (LIMIT // 1024)
        assert store.max_object_bytes == LIMIT
        assert store.put("large", data).sha256 == hashlib.sha256(data).hexdigest()
        assert store.put("large", data).size_bytes == LIMIT
        assert store.get("large") == data

    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".tmp/a", "a\\b", "a b", "a\nb", "ä", "a" * 300]
    )
    def test_bad_keys_are_refused(self, store: Store, key: str) -> None:
        for use in (
            lambda: store.put(key, b""),
            lambda: store.get(key),
            lambda: store.stat(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(StoreError):
                use()

    def test_two_write_the_same_at_once(self, store: Store) -> None:
        data = secrets.token_bytes(300_000)
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(lambda _: store.put("race/one", data), range(8)))
        assert {found.sha256 for found in said} == {hashlib.sha256(data).hexdigest()}
        assert store.get("race/one") == data

    def test_many_at_once(self, store: Store) -> None:
        def work(number: int) -> bool:
            data = bytes([number]) * 10_000
            store.put(f"many/{number % 3}/{number}", data)
            return store.get(f"many/{number % 3}/{number}") == data

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(24)))
        assert len(list(store.list("many/"))) == 24

    def test_check_leaves_nothing_behind(self, store: Store) -> None:
        store.put("a", b"1")
        store.check()
        store.check(create=True)
        assert [found.key for found in store.list()] == ["a"]

    def test_close_and_use_again(self, store: Store) -> None:
        store.put("a", b"1")
        store.close()
        assert store.get("a") == b"1"
