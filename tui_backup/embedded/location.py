"""Where the embedded server of a state folder lives.

Usually in the state folder itself. A server that runs under another account (see ``account.py``) cannot pass a
private parent such as /root, and no folder of the user is opened for it: then the server lives in
/var/lib/tui-backup, under a name made from the state folder's path. A token in both places ties the two together, so
that a state folder removed and made anew does not find the data of the one before it.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tui_backup.embedded.account import Account, can_reach, service_account
from tui_backup.embedded.postmaster import stop_server
from tui_backup.errors import EmbeddedServerError

log = logging.getLogger(__name__)

SYSTEM_ROOT = Path("/var/lib/tui-backup")


@dataclass(frozen=True, slots=True)
class ServerHome:
    """The folder of one embedded server and what lies in it.

    Args:
        path: the folder; ours, the account may only pass it.
        token_file: in the state folder; names the home that belongs to it. None where the home lies inside.
    """

    path: Path
    token_file: Path | None = None

    @property
    def data_dir(self) -> Path:
        """The server's data."""
        return self.path / "data"

    @property
    def socket_dir(self) -> Path:
        """The unix socket's folder; its name is short because the whole path is limited."""
        return self.path / "s"

    @property
    def log_dir(self) -> Path:
        """The server's logs."""
        return self.path / "log"

    @property
    def passfile(self) -> Path:
        """Passwords in libpq's format, mode 0600."""
        return self.path / "pgpass"

    @property
    def port_file(self) -> Path:
        """The TCP port that was used last."""
        return self.path / "port"

    @property
    def is_ours(self) -> bool:
        """Whether this home was made for this state folder and not for an earlier one at the same path."""
        if self.token_file is None:
            return True
        try:
            return self.token_file.read_text() == (self.path / "token").read_text()
        except (FileNotFoundError, NotADirectoryError):
            return False


def find_home(state_dir: Path, *, system_root: Path = SYSTEM_ROOT) -> ServerHome:
    """Say where the server of a state folder lives or would live; makes nothing.

    Args:
        state_dir: absolute path.
        system_root: where servers live whose account cannot reach the state folder.

    Raises:
        EmbeddedServerError: the path cannot be used.
    """
    if "\n" in str(state_dir):
        raise EmbeddedServerError(
            "the state folder's path holds a line break, which PostgreSQL's own files cannot express",
            hint="Choose another folder with XDG_STATE_HOME.",
        )
    inside = ServerHome(state_dir / "postgres")
    name = hashlib.sha256(str(state_dir).encode(errors="surrogateescape")).hexdigest()[:16]
    outside = ServerHome(system_root / name, token_file=state_dir / "postgres.token")
    try:
        if inside.data_dir.exists():
            # refuses a folder of somebody else, whose files could not be read
            service_account(inside.data_dir)
            return inside
        if outside.data_dir.exists() and outside.is_ours:
            return outside
        account = service_account()
        # a state folder that does not exist yet will be made private
        fits = account is None or (state_dir.exists() and can_reach(account, state_dir))
    except PermissionError as error:
        raise EmbeddedServerError(
            f"the state folder {state_dir} cannot be read: {error.strerror}",
            hint="Run the program as its owner, or choose another folder with XDG_STATE_HOME.",
        ) from error
    return inside if fits else outside


def prepare(home: ServerHome, account: Account | None) -> None:
    """Make the home's folders; a home left by an earlier state folder is stopped and moved aside, never deleted.

    Raises:
        EmbeddedServerError: a folder cannot be made.
    """
    if home.path.exists() and not home.is_ours:
        stop_server(home.data_dir)
        aside = home.path.with_name(f"{home.path.name}.orphan-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        log.warning("a server of an earlier state folder was found in %s; moved to %s", home.path, aside)
        home.path.rename(aside)
    try:
        home.path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        home.path.mkdir(mode=0o700, exist_ok=True)
        if home.token_file is not None and not home.is_ours:
            token = secrets.token_hex(16)
            home.token_file.write_text(token)
            (home.path / "token").write_text(token)
        for folder in (home.socket_dir, home.log_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
            if account is not None:
                account.give(folder)
        if account is not None:
            home.path.chmod(0o711)
    except OSError as error:
        raise EmbeddedServerError(
            f"cannot make the folder {error.filename}: {error.strerror}",
            hint="Choose another state folder with XDG_STATE_HOME.",
        ) from error
    if not can_reach(account, home.path):
        raise EmbeddedServerError(
            f"the account {account.name if account else ''} of the server cannot reach {home.path}",
            hint="Let other users pass its parent folders (chmod o+x).",
        )
