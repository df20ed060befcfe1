"""Incrementals beside each other and beside the deletion of their parent: a correct backup, or a clean failure.

Nothing is left to timing: the store stops an incremental at a named step, and goes on when the other has acted.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.engine.restore.helpers import Recorder, Repository, dropped, restore
from tests.servers import TestServer
from tui_backup.agent.parents import choose_parent
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.errors import DamagedError
from tui_backup.manifest import FORMAT_VERSION, Contents, JobFacts, Manifest
from tui_backup.model import StopFlag
from tui_backup.repository.check import verify_files
from tui_backup.repository.format import ref_of
from tui_backup.repository.keys import holds_prefix, manifest_key, pack_key, packs_prefix
from tui_backup.repository.manifests import list_manifests, read_manifest
from tui_backup.repository.packs import PackReader
from tui_backup.repository.run import backup_run
from tui_backup.repository.store import ObjectStat, Store
from tui_backup.repository.sweep import delete_backup

ROWS = 4000
_WAIT_S = 60.0
Step = Callable[[str, str], bool]


class StoppingStore:
    """Passes everything on; the first call for which ``step`` is true waits until it is told to go on."""

    def __init__(self, store: Store, step: Step) -> None:
        self._store, self._step = store, step
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def _stop_at(self, action: str, key: str) -> None:
        if not self.reached.is_set() and self._step(action, key):
            self.reached.set()
            assert self.go_on.wait(_WAIT_S)

    def get(self, key: str) -> bytes:
        self._stop_at("get", key)
        return self._store.get(key)

    def put(self, key: str, data: bytes | bytearray | memoryview) -> ObjectStat:
        self._stop_at("put", key)
        return self._store.put(key, data)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        self._stop_at("list", prefix)
        return self._store.list(prefix)


class Shop:
    """A database, its repository, and backups as the agent makes them."""

    def __init__(self, server: TestServer, folder: Path) -> None:
        self.server = server
        self.database = server.create_database()
        self.repository = Repository(folder / "repository")
        self.store, self.tenant = self.repository.store, self.repository.tenant
        server.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);"
            f"INSERT INTO t SELECT g, repeat(md5(g::text), 3) || g FROM generate_series(1, {ROWS}) g",
            self.database,
        )

    def change(self) -> None:
        """One chunk of many."""
        self.server.execute("UPDATE t SET v = 'changed' WHERE id = 7", self.database)

    def back_up(self, parent: uuid.UUID | None = None, store: Store | None = None) -> Manifest:
        """A full backup, or an incremental upon a parent, blocking."""
        store, now, job = store or self.store, datetime.now(UTC), uuid.uuid4()
        kind = "incremental" if parent else "full"
        candidates = [parent] if parent else []
        stop = StopFlag()
        with backup_run(store, self.tenant, job, "shop", parents=candidates, stop=stop) as writing:
            request = BackupRequest(
                conninfo=self.server.dsn(self.database),
                chunk_blocks=4,
                workers=2,
                parent=choose_parent({"job_type": kind}, candidates, writing.parents),
            )
            contents = backup_database(request, writing.sink, progress=Recorder(), stop=stop)
            facts = JobFacts(
                id=job,
                tenant_id=self.tenant,
                source_name="shop",
                job_type=kind,
                created_at=now,
                started_at=now,
                completed_at=now,
                parent_job_id=contents.reuse.parent_job_id if contents.reuse else None,
            )
            manifest = Manifest(format_version=FORMAT_VERSION, program="test", job=facts, contents=contents)
            writing.finish(manifest)
        return manifest

    def rows_of(self, contents: Contents) -> bytes:
        """The stored text of the one table."""
        reader = PackReader(self.store, self.tenant)
        (table,) = contents.tables
        return b"".join(reader.read_blob(ref_of(blob)) for chunk in table.chunks for blob in chunk.blobs)

    def is_right(self, manifest: Manifest) -> bool:
        """Whether it is there, whole, and byte for byte what a full backup made now would hold."""
        there = read_manifest(self.store, self.tenant, manifest.job.id)
        assert there == manifest
        if not verify_files(self.store, manifest, deep=True).is_whole:
            return False
        full = self.back_up()
        same = self.rows_of(manifest.contents) == self.rows_of(full.contents)
        self.delete(full)
        return same

    def comes_back(self, manifest: Manifest) -> bool:
        """Whether it can be restored."""
        name = f"{self.database}_back"
        with dropped(self.server, name):
            result = restore(self.server, manifest.contents, self.repository, name)
            (found,) = self.server.execute("SELECT count(*), count(*) FILTER (WHERE v = 'changed') FROM t", name)
        return result.compare is not None and result.compare.identical and found == (ROWS, 1)

    def delete(self, manifest: Manifest) -> str | None:
        """Delete a backup; why its packs were kept."""
        return delete_backup(self.store, self.tenant, manifest.job.id).kept_because

    @property
    def jobs(self) -> set[uuid.UUID]:
        return {entry.job_id for entry in list_manifests(self.store, self.tenant)}

    @property
    def packs(self) -> set[str]:
        return {found.key.rsplit("/", 1)[-1] for found in self.store.list(packs_prefix(self.tenant))}


@pytest.fixture
def shop(pg: TestServer, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(pg, tmp_path)
    yield made
    pg.drop_database(made.database)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def _named(contents: Contents) -> set[str]:
    return {blob.pack for _, blob in contents.all_blobs()}


def _at(action: str, prefix: str, call: int = 1) -> Step:
    """The call-th action on a key that starts so."""
    seen = 0

    def step(done: str, key: str) -> bool:
        nonlocal seen
        seen += done == action and key.startswith(prefix)
        return seen == call

    return step


def _begin(
    pool: ThreadPoolExecutor, shop: Shop, parent: Manifest, step: Step
) -> tuple[StoppingStore, Future[Manifest]]:
    """An incremental that has come as far as the step."""
    store = StoppingStore(shop.store, step)
    running = pool.submit(shop.back_up, parent.job.id, store)
    while not store.reached.wait(0.05):
        assert not running.done(), running.result()
    return store, running


def test_two_incrementals_upon_one_parent_at_once(shop: Shop, pool: ThreadPoolExecutor) -> None:
    parent = shop.back_up()
    shop.change()
    # both have read everything and taken everything over before either one exists
    manifests = f"{shop.tenant}/manifests/"
    begun = [_begin(pool, shop, parent, _at("put", manifests)) for _ in range(2)]
    for store, _ in begun:
        store.go_on.set()
    one, two = (running.result(_WAIT_S) for _, running in begun)
    for each in (one, two):
        reuse = each.contents.reuse
        assert reuse is not None and (reuse.parent_job_id, reuse.chunks_read) == (parent.job.id, 1)
        # what was not read lies where the parent put it
        assert _named(each.contents) & _named(parent.contents)
        assert shop.is_right(each) and shop.comes_back(each)
    assert shop.packs == _named(parent.contents) | _named(one.contents) | _named(two.contents)
    for going, left in ((parent, (one, two)), (one, (two,))):
        assert shop.delete(going) is None
        for each in left:
            assert shop.is_right(each)
    shop.delete(two)
    assert shop.packs == set() and shop.jobs == set()


@pytest.mark.parametrize("moment", ["before choosing", "while writing", "before the packs are checked", "at the end"])
def test_the_parent_is_deleted_in_the_middle(shop: Shop, pool: ThreadPoolExecutor, moment: str) -> None:
    parent = shop.back_up()
    shop.change()
    packs, manifests = packs_prefix(shop.tenant), f"{shop.tenant}/manifests/"
    step = {
        # the parent's manifest is read, which of its frames are there is not known yet
        "before choosing": _at("list", packs),
        "while writing": _at("put", packs),
        "before the packs are checked": _at("list", packs, call=2),
        "at the end": _at("put", manifests),
    }[moment]
    store, running = _begin(pool, shop, parent, step)
    kept = shop.delete(parent)
    assert kept is not None and "a backup is running" in kept
    assert shop.jobs == set(), "the parent is gone at once"
    store.go_on.set()
    child = running.result(_WAIT_S)
    assert child.contents.reuse is not None
    assert (child.contents.reuse.chunks_read, child.contents.reuse.parent_job_id) == (1, parent.job.id)
    assert shop.jobs == {child.job.id}
    assert shop.is_right(child) and shop.comes_back(child)
    assert not list(shop.store.list(holds_prefix(shop.tenant)))


def test_the_parent_is_deleted_before_it_is_read(shop: Shop, pool: ThreadPoolExecutor) -> None:
    parent = shop.back_up()
    shop.change()
    store, running = _begin(pool, shop, parent, _at("get", manifest_key(shop.tenant, parent.job.id)))
    shop.delete(parent)
    store.go_on.set()
    child = running.result(_WAIT_S)
    reuse = child.contents.reuse
    assert reuse is not None and reuse.chunks_reused == 0 and reuse.parent_job_id is None
    assert reuse.reason == f"the manifest of backup {parent.job.id} cannot be read"
    assert shop.is_right(child) and shop.comes_back(child)


@pytest.mark.parametrize("moment", ["before choosing", "while writing", "before the packs are checked"])
def test_somebody_else_deletes_the_parents_packs_in_the_middle(
    shop: Shop, pool: ThreadPoolExecutor, moment: str
) -> None:
    """A lifecycle rule, another program: what heeds no hold. No manifest may name what is not there."""
    parent = shop.back_up()
    shop.change()
    packs = packs_prefix(shop.tenant)
    step = {
        "before choosing": _at("list", packs),
        "while writing": _at("put", packs),
        "before the packs are checked": _at("list", packs, call=2),
    }[moment]
    store, running = _begin(pool, shop, parent, step)
    for pack in _named(parent.contents):
        shop.store.delete(pack_key(shop.tenant, pack))
    store.go_on.set()
    if moment == "before choosing":
        # found missing before it was taken over: read again
        child = running.result(_WAIT_S)
        assert child.contents.reuse is not None and child.contents.reuse.chunks_reused == 0
        assert shop.is_right(child)
        return
    with pytest.raises(DamagedError, match="vanished") as caught:
        running.result(_WAIT_S)
    assert caught.value.details["problem"] == "missing" and caught.value.hint
    assert shop.jobs == {parent.job.id}
    assert shop.packs == set(), "what the failed run put is taken away"
    again = shop.back_up(parent.job.id)
    assert again.contents.reuse is not None and again.contents.reuse.chunks_reused == 0
    assert shop.is_right(again) and shop.comes_back(again)


def test_a_full_backup_beside_an_incremental(shop: Shop, pool: ThreadPoolExecutor) -> None:
    """The full one shares frames with the incremental's parent, which goes while the incremental is open."""
    parent = shop.back_up()
    shop.change()
    store, running = _begin(pool, shop, parent, _at("put", f"{shop.tenant}/manifests/"))
    full = shop.back_up()
    shop.delete(parent)
    shop.delete(full)
    store.go_on.set()
    child = running.result(_WAIT_S)
    assert shop.jobs == {child.job.id}
    assert shop.is_right(child) and shop.comes_back(child)
