"""``python -m tests.chaos --minutes N --seed S``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.checks import Watch, check_all, settle
from tests.chaos.faults import Faults
from tests.chaos.work import Work
from tests.chaos.world import World


def run(minutes: float, seed: int, *, agents: int = 3, rows: int = 20_000, keep: bool = False) -> dict[str, Any]:
    """Let chaos loose and look what it has done.

    Args:
        minutes: of faults; settling and restoring everything comes on top.
        seed: the order of faults and wishes; when they meet is the machine's.
        agents: processes.
        rows: of ballast in each source.
        keep: leave the folder where something was violated.

    Returns:
        Figures, and ``violations``: sentences.
    """
    folder = Path(tempfile.mkdtemp(prefix="tb-chaos-", dir="/tmp"))
    folder.chmod(0o711)
    world = World(folder, agents=agents, rows=rows)
    try:
        for agent in world.agents:
            world.start_agent(agent)
        work, faults, watch = Work(world, seed), Faults(world, seed), Watch(world)
        work.schedules()
        begin = world.query("SELECT now() AS now")[0]["now"]
        for part in (watch, work, faults):
            part.start()
        try:
            time.sleep(minutes * 60)
        finally:
            faults.stop()
            work.stop()
        world.query("UPDATE tui_backup.backup_schedules SET is_enabled = false")
        end = world.query("SELECT now() AS now")[0]["now"]
        violations = settle(world)
        watch.stop()
        violations += watch.violations
        ends = world.query(
            "SELECT status, count(*)::int AS n FROM tui_backup.backup_jobs WHERE deleted_at IS NULL GROUP BY status"
        )
        more, figures = check_all(world, begin, end)
        violations += more
        for agent in world.agents:
            if not agent.end():
                violations.append(f"agent {agent.number} did not end when it was asked to")
        if violations and keep:
            _keep(world)
        return {
            "minutes": minutes,
            "seed": seed,
            "agents": agents,
            "faults": dict(sorted(faults.done.items())),
            "can_fill_disk": world.can_fill,
            "asked": dict(sorted(work.asked.items())),
            "transfers": work.transfers,
            "jobs": {row["status"]: row["n"] for row in ends},
            "longest_without_owner_s": round(watch.longest_s),
            **figures,
            "violations": violations,
        }
    finally:
        world.close()


def _keep(world: World) -> None:
    """Print what tells most before it is taken away."""
    for agent in world.agents:
        log = agent.folder / "log" / "agent.log"
        print(f"== agent {agent.number}\n{log.read_text() if log.exists() else '(no log)'}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--logs", action="store_true", help="print the agents' logs when something is violated")
    given = parser.parse_args(argv)
    report = run(given.minutes, given.seed, agents=given.agents, keep=given.logs)
    print(json.dumps(report, indent=2))
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
