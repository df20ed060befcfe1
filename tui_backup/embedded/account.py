"""The operating system account that the embedded server runs under.

PostgreSQL refuses to run as root. Where the program itself is root (a container, a system service) the server runs
as the account ``tui-backup`` if an administrator made one, and else as ``nobody``: it exists everywhere, so nothing
has to be added to the system. The price is that other programs running as ``nobody`` could read the data folder; who
minds makes the account. A server is always started under the account that owns its data folder already.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_backup.errors import EmbeddedServerError

_CANDIDATES = ("tui-backup", "nobody")
_CHECK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """A user that is not ourselves; child processes and files are given to it."""

    name: str
    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make the account the owner of one file or folder."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


def popen_options(account: Account | None) -> dict[str, Any]:
    """Options for ``subprocess`` that run a child under the account; none when it is ourselves."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def account_by_uid(uid: int) -> Account:
    """Find an account.

    Raises:
        EmbeddedServerError: no account has this uid, and initdb needs one.
    """
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise EmbeddedServerError(
            f"no account has the uid {uid} that owns the server's data folder",
            hint="Give the folder back to its account with chown -R.",
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def service_account(data_dir: Path | None = None) -> Account | None:
    """Choose the account to run a server under.

    Args:
        data_dir: the server's data folder; where it exists its owner decides.

    Returns:
        The account, or None when the server runs as the current user.

    Raises:
        EmbeddedServerError: root has nobody to run it as, or the folder belongs to somebody else.
    """
    own_uid = os.geteuid()
    if data_dir is not None and data_dir.exists():
        owner = data_dir.stat().st_uid
        if owner == own_uid and own_uid != 0:
            return None
        if own_uid != 0:
            raise EmbeddedServerError(
                f"the server's data folder {data_dir} belongs to another user (uid {owner})",
                hint="Run the program as that user, or choose another state folder with XDG_STATE_HOME.",
            )
        if owner != 0:
            return account_by_uid(owner)
    if own_uid != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and there is no account to run it under",
        hint="Add one: useradd --system tui-backup.",
    )


def can_reach(account: Account | None, path: Path) -> bool:
    """Whether the account can pass all folders down to ``path`` and enter or execute it.

    Asked of the kernel by a child under that account, so that access lists and mount options count too.
    """
    if account is None:
        return os.access(path, os.X_OK)
    answer = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        check=False,
        text=True,
        timeout=_CHECK_TIMEOUT_S,
        **popen_options(account),
    )
    return answer.returncode == 0
