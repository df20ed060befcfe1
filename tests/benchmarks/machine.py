"""What a table must say about where it comes from: the machine and the versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tests.fetch_postgres import VERSIONS, find
from tui_backup import __version__

PEERS = ("pgbackrest", "restic")
"""Besides PostgreSQL's own programs."""


def facts() -> dict[str, object]:
    """The machine, the versions and the day, for the JSON."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "cpu": cpu_model(),
        "memory_gb": round(memory / 2**30),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": versions(),
        "missing_peers": [peer for peer in PEERS if shutil.which(peer) is None],
        "date": datetime.now(UTC).date().isoformat(),
    }


def cpu_model() -> str:
    """The processor's name."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except FileNotFoundError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of ours, and of the peers that are installed."""
    found = {"tui-backup": __version__, "Python": platform.python_version()}
    newest = find(max(VERSIONS))
    if newest is not None:
        found["PostgreSQL"] = newest.version
    for peer in PEERS:
        if program := shutil.which(peer):
            answer = subprocess.run([program, "version"], capture_output=True, text=True, check=True, timeout=60)
            number = re.search(r"\d+(\.\d+)+", answer.stdout)
            found[peer] = number[0] if number else "?"
    return found
