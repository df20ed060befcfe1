"""The systemd unit that runs the agent in production."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def unit_text(*, user: str = "tui-backup", config_file: Path | None = None) -> str:
    """The unit as text, ready for ``/etc/systemd/system/tui-backup-agent.service``.

    Args:
        user: the account that runs the agent.
        config_file: an explicit configuration file; the account's own when None.
    """
    program = shutil.which("tui-backup") or f"{sys.executable} -m tui_backup"
    environment = f'Environment="TUI_BACKUP_CONFIG={config_file}"\n' if config_file else ""
    return f"""[Unit]
Description=tui-backup agent: runs PostgreSQL backups, restores and schedules
Documentation=man:pg_dump(1)
After=network-online.target postgresql.service
Wants=network-online.target

[Service]
Type=simple
User={user}
{environment}ExecStart={program} agent run
KillMode=mixed
TimeoutStopSec=90
Restart=always
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes
UMask=0077

[Install]
WantedBy=multi-user.target
"""
