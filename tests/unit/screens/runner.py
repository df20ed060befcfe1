"""Runs the dashboard on a fake backend in this terminal: ``python -m tests.unit.screens.runner [scenario]``.

Scenarios: ``idle`` (nothing changes), ``running`` (one job makes progress each second), ``ignore-hup`` (idle, with
SIGHUP ignored as under nohup), ``crash`` (an unexpected error after the first paint), ``setup`` (nothing is set up).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.unit.screens.fakes import NOW, FakeBackend, World, made_id, make_progress
from tui_backup.app import DashboardApp, run_app
from tui_backup.model import JobStatus
from tui_backup.screens import terminal
from tui_backup.screens.board import Board


def make_world(scenario: str) -> World:
    """What the fake catalog holds."""
    world = World.example()
    if scenario != "running":
        job = world.jobs[made_id("job running")]
        world.jobs[job.id] = replace(job, status=JobStatus.FAILED, error_message="x", progress=None)
    return world


async def progress_forever(backend: FakeBackend) -> None:
    """One step a second, as an agent writes it."""
    job = backend.world.jobs[made_id("job running")]
    for step in range(100_000):
        await asyncio.sleep(1.0)
        backend.put(replace(job, progress=make_progress(0.4 + step % 500 / 1000)))


class RunnerApp(DashboardApp):
    """Starts the scenario once the first paint is done."""

    scenario = ""

    async def on_mount(self) -> None:
        """Begin."""
        if self.scenario == "running":
            self._feeder = asyncio.create_task(progress_forever(self.backend))
        elif self.scenario == "crash":
            self.set_timer(1.0, self._explode)

    def _explode(self) -> None:
        raise RuntimeError("password=hunter2")


def main(scenario: str) -> int:
    """Run until the user leaves."""
    terminal.check_terminal(os.environ)
    if scenario == "ignore-hup":
        terminal.handle_signals = lambda loop, leave: signal.signal(signal.SIGHUP, signal.SIG_IGN)
        import tui_backup.app

        tui_backup.app.handle_signals = terminal.handle_signals
    colour = terminal.uses_colour(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        backend = FakeBackend(Path(folder), make_world(scenario), set_up=scenario != "setup")
        app = RunnerApp(backend, board=Board(wall=lambda: NOW), colour=colour)
        app.scenario = scenario
        return run_app(app, mouse=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "idle"))
