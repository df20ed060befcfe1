"""FORMAT.md's own commands, run by a shell on a repository, bring a table back with nothing of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import msgspec
import psycopg
import pytest

from tests.servers import TestServer
from tests.unit.repository.builders import TENANT, make_manifest, write_stream
from tui_backup.manifest import Column, Manifest
from tui_backup.model import PendingBlob
from tui_backup.repository.open import initialize, open_store
from tui_backup.repository.run import BackupRun, backup_run

SOURCE = '''
create table public.orders (
    id bigint generated always as identity primary key,
    "odd, name ""x""" text,
    twice bigint generated always as (amount * 2) stored,
    amount bigint not null check (amount > 0)
);
insert into public.orders ("odd, name ""x""", amount)
    select E'tab\\t line\\n \\\\. ' || g || ' é ' || repeat(md5(g::text), 60), g from generate_series(1, 20000) g;
create index on public.orders (amount);
'''


def commands() -> str:
    """The indented lines of the section."""
    text = (files("tui_backup.repository") / "FORMAT.md").read_text()
    section = text.split("## Reading it by hand with zstd and psql", 1)[1]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))


def environment(pg: TestServer) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{pg.bin_dir}:{os.environ['PATH']}",
        "PGHOST": pg.host,
        "PGPORT": str(pg.port),
        "PGUSER": pg.superuser,
        "PGPASSWORD": pg.password,
    }


def back_up(run: BackupRun, pg: TestServer, database: str, job_id: object) -> Manifest:
    dump = subprocess.run(
        ["pg_dump", "--schema-only", "-Fc", database], env=environment(pg), capture_output=True, check=True
    )
    orders: list[PendingBlob] = []
    with psycopg.connect(pg.dsn(database)) as connection, connection.cursor() as cursor:
        # two streams, as two chunks of a table are
        for low, high in ((0, 12_000), (12_000, 30_000)):
            blob = run.sink.open_blob()
            query = (
                'copy (select id, "odd, name ""x""", amount from public.orders '
                f"where id > {low} and id <= {high}) to stdout"
            )
            with cursor.copy(query) as copy:
                for block in copy:
                    blob.write(block)
            orders += blob.close()
    schema = write_stream(run.sink, dump.stdout)
    run.sink.flush()
    manifest = make_manifest(run.sink, {"orders": orders}, schema, job_id=job_id)  # type: ignore[arg-type]
    [table] = manifest.contents.tables
    columns = [
        Column(name="id", attnum=1, type="bigint"),
        Column(name='odd, name "x"', attnum=2, type="text"),
        Column(name="twice", attnum=3, type="bigint", generated="s"),
        Column(name="amount", attnum=4, type="bigint"),
    ]
    contents = msgspec.structs.replace(manifest.contents, tables=[msgspec.structs.replace(table, columns=columns)])
    return msgspec.structs.replace(manifest, contents=contents)


@pytest.mark.skipif(not (shutil.which("zstd") and shutil.which("jq")), reason="needs the zstd and jq programs")
def test_the_documented_commands_restore_a_table(pg: TestServer, tmp_path: Path) -> None:
    source, target, job_id = pg.create_database(), pg.create_database(), uuid4()
    with psycopg.connect(pg.dsn(source), autocommit=True) as connection:
        connection.execute(SOURCE)
    store = open_store(str(tmp_path / "repo"))
    initialize(store)
    with backup_run(store, TENANT, job_id, "shop") as run:
        # small packs and frames, so that the table lies in several
        run.sink._frame_raw_bytes, run.sink._pack_bytes = 600_000, 120_000  # pyright: ignore[reportPrivateUsage]
        run.finish(back_up(run, pg, source, job_id))
    assert len(list(store.list(f"{TENANT}/packs/"))) > 1

    settings = {"R": str(tmp_path / "repo"), "T": str(TENANT), "J": str(job_id), "DB": target}
    done = subprocess.run(
        ["bash", "-eu", "-c", commands()],
        env={**environment(pg), **settings},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compare = "select count(*), sum(hashtextextended(t::text, 0)) from public.orders t"
    with psycopg.connect(pg.dsn(source)) as before, psycopg.connect(pg.dsn(target)) as after:
        assert before.execute(compare).fetchone() == after.execute(compare).fetchone()
        indexes = "select count(*) from pg_indexes where tablename = 'orders'"
        assert after.execute(indexes).fetchone() == (2,)
    pg.drop_database(source)
    pg.drop_database(target)


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs the zstd program")
def test_zstd_reads_a_whole_pack(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "repo"))
    initialize(store)
    job_id = uuid4()
    with backup_run(store, TENANT, job_id, "shop") as run:
        first, second = (write_stream(run.sink, text) for text in (b"first " * 1000, b"second " * 1000))
        run.sink.flush()
        run.finish(make_manifest(run.sink, {"a": first}, second, job_id=job_id))
        [pack] = store.list(f"{TENANT}/packs/")
    path = tmp_path / "repo" / pack.key
    done = subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True)
    assert done.stdout == b"first " * 1000 + b"second " * 1000
    digest = subprocess.run(["sha256sum", str(path)], capture_output=True, check=True, text=True)
    assert digest.stdout.split()[0] == path.name
