"""A run touches nothing but its own tenant's prefix; a policy allows just the keys that there are."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.repository.builders import TENANT, make_manifest, rows, write_stream
from tests.unit.repository.fakes import MemoryStore
from tui_backup.errors import RefusedError
from tui_backup.repository.keys import manifest_key, manifests_prefix, pack_key, packs_prefix
from tui_backup.repository.open import initialize, load_config, open_store
from tui_backup.repository.policy import tenant_policy
from tui_backup.repository.run import backup_run
from tui_backup.repository.store import Store
from tui_backup.repository.sweep import delete_backup
from tui_backup.repository.tenant_store import TenantStore

OTHER = UUID("00000000-0000-0000-0000-00000000000b")
TOUCHES: list[Callable[[Store, str], Any]] = [
    lambda store, key: store.put(key, b"x"),
    lambda store, key: store.get(key),
    lambda store, key: store.get_range(key, 0, 1),
    lambda store, key: store.stat(key),
    lambda store, key: store.delete(key),
    lambda store, key: list(store.list(key)),
]


@pytest.mark.parametrize("touch", TOUCHES, ids=["put", "get", "get_range", "stat", "delete", "list"])
@pytest.mark.parametrize(
    "key", [manifest_key(OTHER, OTHER), packs_prefix(OTHER) + "aa/x", f"{TENANT}x/y", str(TENANT), "probe/x"]
)
def test_another_tenants_keys_are_refused(touch: Callable[[Store, str], Any], key: str) -> None:
    store = MemoryStore()
    store.put(key, b"theirs")
    with pytest.raises(RefusedError, match="is not of the tenant"):
        touch(TenantStore(store, TENANT), key)
    assert store.objects == {key: b"theirs"}


def test_a_list_of_everything_is_one_of_the_tenants_own(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r"))
    initialize(store)
    for tenant in (TENANT, OTHER):
        store.put(manifest_key(tenant, tenant), b"x")
    mine = TenantStore(store, TENANT)
    assert [found.key for found in mine.list()] == [manifest_key(TENANT, TENANT)]
    assert load_config(mine).format_version == 1
    with pytest.raises(RefusedError):
        mine.put("config", b"x")


def test_a_run_refuses_a_manifest_of_another_tenant() -> None:
    store, job = MemoryStore(), uuid4()
    with pytest.raises(RefusedError), backup_run(store, TENANT, job, "shop") as run:
        streams = {"a": write_stream(run.sink, rows(1))}
        schema = write_stream(run.sink, b"CREATE")
        run.sink.flush()
        run.finish(make_manifest(run.sink, streams, schema, job_id=job, tenant_id=OTHER))
    assert not store.objects


def test_a_runs_and_a_deletions_keys_are_what_the_policy_allows() -> None:
    """Every key that is really used, held against the document as IAM matches it."""
    used = _Noting(MemoryStore())
    job = uuid4()
    with backup_run(used, TENANT, job, "shop") as run:
        streams = {"a": write_stream(run.sink, rows(1))}
        schema = write_stream(run.sink, b"CREATE")
        run.sink.flush()
        run.finish(make_manifest(run.sink, streams, schema, job_id=job))
    delete_backup(used, TENANT, job)
    policy = tenant_policy("s3://vault/a/b", TENANT)
    assert {verb for verb, _ in used.touched} == {"PutObject", "GetObject", "DeleteObject", "ListBucket"}
    for verb, key in used.touched:
        assert allows(policy, verb, f"a/b/{key}"), (verb, key)
    for key in (manifest_key(OTHER, job), pack_key(OTHER, "aa"), f"{TENANT}x/y", "config"):
        for verb in ("PutObject", "DeleteObject"):
            assert not allows(policy, verb, f"a/b/{key}")
    assert allows(policy, "GetObject", "a/b/config") and not allows(policy, "GetObject", manifest_key(TENANT, job))
    for prefix in ("", "a/b/", f"a/b/{OTHER}/", f"a/b/{TENANT}"):
        assert not allows(policy, "ListBucket", prefix)


class _Noting(TenantStore):
    """Notes what is asked of a store, in S3's words."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, TENANT)
        self.touched: set[tuple[str, str]] = set()

    def put(self, key: str, data: Any) -> Any:
        self.touched.add(("PutObject", key))
        return super().put(key, data)

    def get(self, key: str) -> bytes:
        self.touched.add(("GetObject", key))
        return super().get(key)

    def stat(self, key: str) -> Any:
        self.touched.add(("GetObject", key))
        return super().stat(key)

    def delete(self, key: str) -> None:
        self.touched.add(("DeleteObject", key))
        super().delete(key)

    def list(self, prefix: str = "") -> Any:
        self.touched.add(("ListBucket", prefix))
        return super().list(prefix)


def allows(policy: dict[str, Any], verb: str, key: str) -> bool:
    """Whether the document allows it; only ``*`` is special in these patterns."""
    for statement in policy["Statement"]:
        if f"s3:{verb}" not in statement["Action"]:
            continue
        if verb == "ListBucket":
            patterns, text = statement["Condition"]["StringLike"]["s3:prefix"], key
        else:
            patterns, text = statement["Resource"], f"arn:aws:s3:::vault/{key}"
        if any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns):
            return True
    return False


def test_the_policys_form() -> None:
    policy = tenant_policy("s3://vault?region=cn-north-1&endpoint=https://x", TENANT)
    assert f"arn:aws-cn:s3:::vault/{TENANT}/*" in json.dumps(policy)
    assert all(manifests_prefix(OTHER) not in json.dumps(one) for one in policy["Statement"])


def test_a_directorys_folder_and_modes_are_the_real_ones(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r"))
    initialize(store)
    key = manifest_key(TENANT, uuid4())
    store.put(key, b"x")
    rule = tenant_policy(str(tmp_path / "r"), TENANT)
    folder = Path(rule["folder"])
    assert f"{folder.stat().st_mode & 0o777:04o}" == rule["folder_mode"]
    file = tmp_path / "r" / key
    assert file.is_relative_to(folder) and f"{file.stat().st_mode & 0o777:04o}" == rule["file_mode"]
