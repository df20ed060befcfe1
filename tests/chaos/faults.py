"""The faults, one after another in a seeded order, each undone after a while."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psycopg

from tests.chaos.world import Agent, World

_PAUSE_S = (1.0, 6.0)
_MODES = ("fast", "immediate")


class Faults:
    """A thread that breaks things until it is stopped.

    Args:
        world: what is broken.
        seed: decides what, when and for how long.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.done: Counter[str] = Counter()
        self.catalog_away_since: float | None = None
        self._random = random.Random(f"faults {seed}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._break, name="faults")
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and put everything right again.

        Raises:
            BaseException: what ended the thread before its time.
        """
        self._stop.set()
        self._thread.join()
        for _, undo in sorted(self._later, key=lambda each: each[0]):
            undo()
        self._later.clear()
        for server in self.world.servers.values():
            server.start()
        self.world.free_disk()
        for agent in self.world.agents:
            agent.signal(signal.SIGCONT)
            agent.is_stopped = False
            if not agent.is_alive:
                self.world.start_agent(agent)
        if self.error is not None:
            raise self.error

    def _break(self) -> None:
        kinds: dict[str, tuple[int, Callable[[], bool]]] = {
            "kill -9": (5, self._kill),
            "SIGSTOP": (3, self._hold),
            "SIGTERM": (2, self._terminate),
            "machine folder removed": (2, self._remove_machine),
            "connections cut": (4, self._cut),
            "catalog restarted": (2, self._restart_catalog),
            "source restarted": (2, self._restart_source),
        }
        if self.world.can_fill:
            kinds["disk full"] = (3, self._fill)
        names, weights = list(kinds), [weight for weight, _ in kinds.values()]
        try:
            while not self._stop.is_set():
                name = self._random.choices(names, weights)[0]
                if kinds[name][1]():
                    self.done[name] += 1
                self._wait(self._random.uniform(*_PAUSE_S))
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again by stop()
            self.error = error

    def _wait(self, seconds: float) -> None:
        """Let time pass, and undo what is due."""
        until = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < until:
            for entry in [each for each in self._later if each[0] <= time.monotonic()]:
                self._later.remove(entry)
                entry[1]()
            self._stop.wait(0.1)

    def _after(self, low: float, high: float, undo: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + self._random.uniform(low, high), undo))

    # -- agents -------------------------------------------------------------------------------------------------------

    def _one(self) -> Agent | None:
        alive = [agent for agent in self.world.agents if agent.is_alive]
        return self._random.choice(alive) if alive else None

    def _again(self, agent: Agent) -> None:
        if not agent.is_alive and not agent.is_stopped:
            self.world.start_agent(agent)

    def _kill(self) -> bool:
        if (agent := self._one()) is None:
            return False
        agent.signal(signal.SIGKILL)
        self._after(0, 30, lambda: self._again(agent))
        return True

    def _hold(self) -> bool:
        if (agent := self._one()) is None:
            return False
        process = agent.process
        agent.signal(signal.SIGSTOP)

        def go_on() -> None:
            if agent.process is process:
                agent.signal(signal.SIGCONT)
                agent.is_stopped = False
                self._again(agent)

        self._after(2, 45, go_on)
        return True

    def _terminate(self) -> bool:
        if (agent := self._one()) is None:
            return False
        agent.signal(signal.SIGTERM)
        self._after(20, 40, lambda: self._again(agent))
        return True

    def _remove_machine(self) -> bool:
        if (agent := self._one()) is None:
            return False
        agent.signal(signal.SIGKILL)
        assert agent.process is not None
        agent.process.wait()
        shutil.rmtree(agent.folder)
        self._after(0, 20, lambda: self._again(agent))
        return True

    # -- everything else ----------------------------------------------------------------------------------------------

    def _fill(self) -> bool:
        if self.world.filler.exists():
            return False
        self.world.fill_disk()
        self._after(3, 15, self.world.free_disk)
        return True

    def _cut(self) -> bool:
        server = self.world.servers[self._random.choice(list(self.world.servers))]
        with suppress(psycopg.Error):
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            return True
        return False

    def _restart_catalog(self) -> bool:
        catalog = self.world.servers["catalog"]
        self.catalog_away_since = time.monotonic()
        catalog.stop(self._random.choice(_MODES))
        self._wait(self._random.uniform(0, 8))
        catalog.start()
        self.catalog_away_since = None
        return True

    def _restart_source(self) -> bool:
        server = self.world.servers[self._random.choice([name for name in self.world.servers if name != "catalog"])]
        server.stop(self._random.choice(_MODES))
        self._wait(self._random.uniform(0, 8))
        server.start()
        return True
