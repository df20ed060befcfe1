"""Bad input, part one: sources that cannot be read. Part two is test_bad_input_repository, part three
test_bad_input_restore; test_s3_story has the buckets.

Every command here is a real process, the agent and the servers are real. After each test ``Bench.assert_settled()``
proves that nothing was lost or left: no row is stuck, a job without success has no manifest and a hint, no database was
made or lost, the live tables are as they were, and no password is in the output, a log, a row of the catalog or an
argument list.

What the issue's section "Bad input" names, and who proves it (i = tests/integration, u = tests/unit):

========================================  =============================================================================
a DSN that does not answer                here; i/engine/backup/test_connection
wrong password, unknown database          here; i/agent/test_backup_runs::test_a_wrong_password_is_not_tried_again
TLS demanded                              here, by either side; i/engine/backup/test_connection::test_tls and following
server too old                            here, by a fake that speaks the start of the protocol
client tools older than the server        here, by a real build of 14; i/engine/backup/test_faults, u/engine/test_tools
repository missing, read-only             part two; u/repository/test_directory
repository full, at any byte              part two; u/repository/test_directory::test_full_at_any_byte
repository removed in the middle          part two; u/repository/test_directory::test_removed_in_the_middle
two backups of one source at once         here; i/agent/test_backup_runs::test_two_backups_of_one_source_run_one_after…
the server restarted in the middle        here (tried again and complete); i/engine/backup/test_faults
a connection cut in the middle of COPY    here; i/agent/test_backup_runs::test_a_cut_line_is_tried_again_and_counted
a table dropped or altered in the middle  here (it waits, or the backup, within bounds); i/engine/backup/test_faults
a job id that does not exist              part three; test_cli_story::test_bad_input_is_a_clear_error
a job id of another tenant                i/cli/test_catalog_on_server::test_another_tenants_rows_do_not_exist
a job that is not completed               part three
a restore without --confirm               part three; test_cli_story::test_restore_needs_the_confirmation_and_shows_…
a target that exists                      part three; i/engine/restore/test_restore, test_sideschema
a target that has sessions                part three; i/engine/restore/test_inplace, test_swap
a target that lacks space                 part three, before and in the middle; i/engine/restore/test_restore
a damaged manifest                        part three; u/repository/test_manifests flips every bit
wrong cron, zone, e-mail, name            part three; test_cli_story; u/services/test_cron, test_schedules
a catalog that goes away                  i/cli/test_catalog_on_server::test_a_catalog_that_is_down_is_a_clear_error,
                                          i/agent/test_crashes; under the open dashboard: the tests of the screens
========================================  =============================================================================
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from tests.acceptance.bench import ORDERS, Bench
from tests.acceptance.fake_postgres import FakePostgres
from tests.fetch_postgres import find
from tests.integration.repository.fault_proxy import Fault, FaultProxy


@pytest.fixture
def proxy(bench: Bench) -> Iterator[FaultProxy]:
    """A network between the product and the server, good until told otherwise."""
    made = FaultProxy(bench.server.port)
    yield made
    made.close()


def _both_fail(bench: Bench, code: str, *said: str, **settings: str | int) -> None:
    """A source with such settings fails a trial and a backup in the same way."""
    bad = bench.add_source(**settings)
    tried = bench.fails(1, code, "source", "test", bad)
    failed = bench.failed_backup(code, bad)
    for words in said:
        assert words in tried.message + tried.hint and words in failed.message + failed.hint


@pytest.mark.slow
def test_a_server_that_is_not_there(bench: Bench) -> None:
    _both_fail(bench, "connection_failed", "refused", "Is the server up", port=1)


@pytest.mark.slow
def test_a_server_that_never_answers(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        _both_fail(bench, "connection_failed", "timeout", port=port, connect_timeout=2)


def test_a_wrong_password(bench: Bench) -> None:
    wrong = bench.secret()
    _both_fail(bench, "login_failed", "password", host="localhost", password=wrong)


def test_an_unknown_database(bench: Bench) -> None:
    _both_fail(bench, "login_failed", "no_such_shop", "database", dbname="no_such_shop")


def test_tls_demanded_of_a_server_without(bench: Bench) -> None:
    _both_fail(bench, "tls_required", "sslmode", sslmode="require")


def test_a_server_that_is_too_old(bench: Bench) -> None:
    with FakePostgres("13.21") as old:
        _both_fail(bench, "server_version", "13.21", "14 or newer", port=old.port)


@pytest.fixture
def tls_only(bench: Bench, tmp_path: Path) -> Iterator[None]:
    """For the time of the test the server takes the login ``bench`` by TLS only."""
    bench.server.needs("TLS")
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    data = bench.server.data_dir
    owner = data.stat()
    for path in (certificate, key):
        copy = data / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
        os.chown(copy, owner.st_uid, owner.st_gid)
    rules = data / "pg_hba.conf"
    before = rules.read_text()
    try:
        rules.write_text("hostnossl all bench 127.0.0.1/32 reject\n" + before)
        bench.server.execute("ALTER SYSTEM SET ssl = on")
        bench.server.execute("SELECT pg_reload_conf()")
        bench.wait_for(lambda: bench.server.execute("SHOW ssl") == [("on",)])
        yield
    finally:
        rules.write_text(before)
        bench.server.execute("ALTER SYSTEM RESET ssl")
        bench.server.execute("SELECT pg_reload_conf()")
        bench.wait_for(lambda: bench.server.execute("SHOW ssl") == [("off",)])


@pytest.mark.slow
def test_tls_demanded_by_the_server(bench: Bench, tls_only: None) -> None:
    _both_fail(bench, "tls_required", "sslmode", sslmode="disable")
    encrypted = bench.add_source(sslmode="require")
    assert bench.ok("source", "test", encrypted)["tls"] is True


@pytest.mark.slow
def test_client_tools_older_than_the_server(bench: Bench) -> None:
    old = find(14)
    if old is None:
        pytest.skip("PostgreSQL 14 is not on this machine: python -m tests.fetch_postgres 14")
    tools = {"TUI_BACKUP_TOOLS_BIN_DIR": str(old.bin_dir)}
    tried = bench.run("source", "test", "shop", **tools)
    assert tried.returncode == 1 and "postgresql-client-18" in tried.stdout
    with bench.agent(**tools):
        failed = bench.failed_backup("client_tools", "shop")
    assert str(old.bin_dir) in failed.message and "14." in failed.message and "postgresql-client-18" in failed.hint


def test_a_connection_that_is_cut_while_rows_are_copied(bench: Bench, proxy: FaultProxy) -> None:
    proxy.fault = Fault(bytes_per_second=400_000)
    before = bench.objects(bench.repository, "packs")
    with bench.running("backup", bench.add_source(port=proxy.port), "--wait") as waiting:
        bench.wait_for(bench.is_reading)
        proxy.fault = Fault(cut_answer_after=0)
        proxy.cut_all()
        failure = waiting.fails(1, "connection_failed")
    bench.is_failed(failure)
    assert "source test" in failure.hint
    assert bench.objects(bench.repository, "packs") == before


@pytest.mark.slow
def test_a_server_that_restarts_in_the_middle(bench: Bench, proxy: FaultProxy) -> None:
    proxy.fault = Fault(bytes_per_second=400_000)
    with (
        bench.agent(TUI_BACKUP_AGENT_MAX_RETRIES="3"),
        bench.running("backup", bench.add_source(port=proxy.port), "--wait") as waiting,
    ):
        bench.wait_for(bench.is_reading)
        proxy.fault = None
        bench.server.restart("immediate")
        job = waiting.ok()
    # more than one when the server takes its time to come back
    assert job["retry_count"] >= 1
    assert (job["status"], job["rows_count"]) == ("completed", ORDERS + 100)
    bench.ok("verify", job["id"], "--files")


def test_tables_altered_and_dropped_in_the_middle(bench: Bench, proxy: FaultProxy) -> None:
    """The schema change waits for the backup and is not in it."""
    bench.server.execute("CREATE TABLE late AS SELECT g FROM generate_series(1, 500) g", bench.shop)
    proxy.fault = Fault(bytes_per_second=2_000_000)
    with bench.running("backup", bench.add_source(port=proxy.port), "--wait") as waiting:
        bench.wait_for(bench.is_reading)
        with bench.server.connect(bench.shop) as conn:
            conn.execute("ALTER TABLE late ADD COLUMN added int; DROP TABLE late")
        job = waiting.ok()
    assert job["rows_count"] == ORDERS + 600
    tables = {table["name"]: table["rows"] for table in bench.ok("job", "show", job["id"], "--tables")["tables"]}
    assert tables["public.late"] == 500


def test_a_table_that_somebody_keeps_locked(bench: Bench) -> None:
    with bench.server.connect(bench.shop) as holder:
        holder.execute("BEGIN; ALTER TABLE customers ADD COLUMN late int")
        failed = bench.failed_backup("lock_timeout", "shop")
        assert "public.customers" in failed.message and f"{holder.info.backend_pid}" in failed.message
        holder.execute("ROLLBACK")


@pytest.mark.slow
def test_two_backups_of_one_source_at_once(bench: Bench) -> None:
    with bench.running("backup", "shop", "--wait") as one, bench.running("backup", "shop", "--wait") as other:
        first, second = sorted((one.ok(), other.ok()), key=lambda job: job["started_at"])
    assert (first["status"], second["status"]) == ("completed", "completed")
    assert second["started_at"] >= first["completed_at"]
    assert second["metadata"]["blobs_reused"] > 0


def test_what_the_terminal_shows(bench: Bench) -> None:
    """People get the same as scripts: what went wrong, and what to do."""
    done = bench.run("backup", bench.add_source(port=1), "--wait")
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: No connection to the server") and hint.startswith("hint: Is the server up")


def test_a_dsn_that_is_none_is_not_repeated(bench: Bench) -> None:
    word = bench.secret()
    for dsn in (f"host=x password={word} y z", f"postgresql://u:{word}@h:port/x?bogus=1"):
        bench.fails(2, "invalid_value", "source", "add", "bad", "--dsn", "-", stdin=dsn)
    with_service = make_conninfo("", service="x", password=word)
    bench.fails(2, "invalid_value", "source", "add", "bad", "--dsn", "-", stdin=with_service)
    assert bench.catalog("SELECT * FROM tui_backup.sources WHERE source_name = 'bad'") == []
