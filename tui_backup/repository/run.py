"""One backup's use of a repository from its hold to its manifest."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from tui_backup.errors import AlreadyExistsError
from tui_backup.manifest import Manifest
from tui_backup.model import StopFlag
from tui_backup.repository.holds import Hold
from tui_backup.repository.keys import manifest_key, object_name, pack_key
from tui_backup.repository.manifests import earlier_manifests, known_blobs, write_manifest
from tui_backup.repository.packs import PackWriter
from tui_backup.repository.store import ObjectStat, Store
from tui_backup.repository.sweep import discard
from tui_backup.repository.tenant_store import TenantStore


class BackupRun:
    """What a job works with: a sink, the manifests it asked for, and the act that makes the backup exist."""

    def __init__(self, store: Store, sink: PackWriter, parents: Mapping[UUID, Manifest]) -> None:
        self._store = store
        self.sink = sink
        self.parents = parents
        self.finished = False
        self.stored: dict[str, int] = {}
        """What this run has put, by :func:`object_name`, with sizes in bytes; complete once it has finished."""

    def finish(self, manifest: Manifest) -> ObjectStat:
        """Write the manifest, after everything it names was confirmed.

        Raises:
            TuiBackupError: the run was stopped, or the repository does not hold what it must; the backup
            does not exist.
            RefusedError: the manifest is of another tenant.
        """
        self.sink.flush()
        said = write_manifest(self._store, manifest)
        self.finished = True
        tenant_id = manifest.job.tenant_id
        self.stored = {
            object_name(tenant_id, pack_key(tenant_id, pack)): size for pack, size in self.sink.stored_packs.items()
        }
        self.stored[object_name(tenant_id, said.key)] = said.size_bytes
        return said


@contextmanager
def backup_run(
    store: Store,
    tenant_id: UUID,
    job_id: UUID,
    source_name: str,
    *,
    parents: Sequence[UUID] = (),
    stop: StopFlag | None = None,
    level: int = 1,
) -> Generator[BackupRun]:
    """Hold the repository for one backup; when it does not finish, what it put is taken away again.

    Args:
        store: an initialised repository.
        tenant_id: whose backup.
        job_id: the job; its manifest will have this name.
        source_name: frames of earlier backups of this source are not written again.
        parents: jobs whose manifests are wanted; those that can be read are in the run's ``parents``.
        stop: ends every wait, and is set when a put fails.
        level: of zstd.

    Raises:
        AlreadyExistsError: an earlier attempt of this job wrote its manifest and died before it could say
        so. That
            backup is complete: read_manifest() has the facts to record. It is never written a second time,
            since this attempt may be the late one.
    """
    store = TenantStore(store, tenant_id)
    hold = Hold(store, tenant_id, job_id)
    run: BackupRun | None = None
    try:
        hold.take(stop)
        if store.stat(manifest_key(tenant_id, job_id)) is not None:
            raise AlreadyExistsError(
                f"The backup of job {job_id} is already in {store.location}", hint="Nothing to do: it is complete."
            )
        earlier = earlier_manifests(store, tenant_id, source_name, also=parents)
        known = known_blobs(store, tenant_id, earlier)
        sink = PackWriter(store, tenant_id, known=known, stop=stop, level=level, heartbeat=hold.renew_if_due)
        run = BackupRun(store, sink, {each.job.id: each for each in earlier if each.job.id in parents})
        del earlier
        try:
            yield run
        finally:
            sink.close()
    finally:
        hold.release()
        if run is not None and not run.finished and run.sink.packs:
            discard(store, tenant_id, run.sink.packs)
