"""The demo's own folder: an installation of its own that cannot meet a real one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tui_backup.config import Config, load_config
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.errors import AlreadyExistsError, RefusedError

_MARK = ".tui-backup-demo"


def default_folder(config: Config) -> Path:
    """Where the demo lives unless told otherwise."""
    return config.state_dir / "demo"


def environment(folder: Path) -> dict[str, str]:
    """What a child process needs to work in this demo's installation."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TUI_BACKUP_")}
    return {**kept, "TUI_BACKUP_CONFIG": str(folder / "config.toml")}


def demo_config(folder: Path, env: Mapping[str, str] | None = None) -> Config:
    """The configuration of the demo in ``folder``."""
    return load_config(environment(folder) if env is None else env)


def clear(folder: Path) -> None:
    """Remove everything that an earlier demo left in the folder.

    Raises:
        RefusedError: the folder holds something that no demo made.
    """
    if not folder.exists():
        return
    if not (folder / _MARK).exists():
        if any(folder.iterdir()):
            raise RefusedError(
                f"{folder} is not empty and was not made by `tui-backup demo`.", hint="Choose another --dir."
            )
        return
    EmbeddedPostgres(folder / "state").destroy()
    shutil.rmtree(folder)


@contextmanager
def occupied(folder: Path) -> Generator[Path]:
    """Make the folder, and hold it so that no second demo uses it at the same time.

    Raises:
        RefusedError: it holds something else.
        AlreadyExistsError: a demo runs in it.
    """
    if folder.exists() and not (folder / _MARK).exists() and any(folder.iterdir()):
        raise RefusedError(
            f"{folder} is not empty and was not made by `tui-backup demo`.", hint="Choose another --dir."
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = folder / _MARK
    with mark.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise AlreadyExistsError(
                f"A demo runs in {folder} already.", hint="End it first, or choose another --dir."
            ) from exc
        settings = folder / "config.toml"
        if not settings.exists():
            settings.write_text('state_dir = "state"\ndata_dir = "data"\n', encoding="utf-8")
        yield folder
