"""B6: peak memory of the agent, a real one, at a tenth of the scale and at the scale."""

from __future__ import annotations

import time

from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import RUN_LIMIT_S, Row, clear
from tests.benchmarks.processes import forget_peak, peak_bytes
from tests.integration.agent.installation import Installation

LIMIT_MB = 150
FLAT = 1.25
"""Ten times the data may need this many times the memory: chance decides how many blocks wait for one another."""
LEAST = 0.1
"""Scale from which on the buffers are full, so that growth says something."""


def memory(bench: Bench, measure: str, work: str) -> list[Row]:
    """The agent backs up and restores (with comparison); it is the largest process of ours."""
    small, small_mb = bench.scale / 10, (0.0, 0.0)
    rows: list[Row] = []
    for scale in (small, bench.scale):
        name = bench.database(work, scale)
        backup_mb, restore_mb = _agent(bench, name)
        dump_mb = bench.dump(name).peak_bytes / 1e6
        clear(bench.folder / "dump")
        if scale == small:
            small_mb = (backup_mb, restore_mb)
            bench.drop(name)
            bench.made.discard(name)
        growth = max(backup_mb / small_mb[0], restore_mb / small_mb[1])
        tells = scale != small >= LEAST
        rows.append(
            {
                "measure": f"{measure} peak memory of the agent, {work} at scale {scale:g}",
                "peer": "pg_dump",
                "backup_mb": round(backup_mb),
                "restore_mb": round(restore_mb),
                "peer_mb": round(dump_mb),
                **({"growth": round(growth, 2)} if scale != small else {}),
                "reach": f"<= {LIMIT_MB} MB" + (f", <= {FLAT} of a tenth's" if tells else ""),
                "reached": max(backup_mb, restore_mb) <= LIMIT_MB and (growth <= FLAT or not tells),
            }
        )
    return rows


def _agent(bench: Bench, name: str) -> tuple[float, float]:
    """Peak megabytes of a backup, and of the restore that the same agent does next."""
    folder = bench.folder / "agent"
    clear(folder)
    folder.mkdir(mode=0o700)
    installation = Installation(bench.server, folder)
    try:
        installation.query(
            "UPDATE tui_backup.sources SET conninfo = %(conninfo)s WHERE id = %(id)s",
            {"conninfo": bench.conninfo(name), "id": installation.source_id},
        )
        with installation.config_file.open("a") as stream:
            stream.write(f"[tools]\nbin_dir = {str(bench.tools)!r}\n")
        agent = installation.start_agent()
        job = installation.backup()
        _end(installation, "backup_jobs", job)
        backup = _peak_mb(agent.pid)
        forget_peak(agent.pid)
        log = installation.restore(job, "new_database", target_database=f"{name}_ours")
        _end(installation, "backup_restore_logs", log)
        return backup, _peak_mb(agent.pid)
    finally:
        installation.close()
        bench.drop(f"{name}_ours")
        clear(folder)


def _end(installation: Installation, table: str, row_id: object) -> None:
    """Wait; looked at once a second, so that the looking costs nothing."""
    end = time.monotonic() + RUN_LIMIT_S
    while True:
        row = installation.query(f"SELECT * FROM tui_backup.{table} WHERE id = %(id)s", {"id": row_id})[0]
        if row["status"] == "completed":
            return
        ended = row["status"] in ("failed", "cancelled") or installation.agents[0].poll() is not None
        if ended or time.monotonic() > end:
            raise RuntimeError(f"{table} {row['status']}: {row['error_message']}")
        time.sleep(1)


def _peak_mb(pid: int) -> float:
    found = peak_bytes(pid)
    if found is None:
        raise RuntimeError("the agent's peak memory cannot be read on this system")
    return found / 1e6
