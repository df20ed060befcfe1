"""``python -m tests.acceptance.incremental [--steps N] [--seed S] [--restore-each N]``: as long as it takes."""

from __future__ import annotations

import argparse
import sys
import time

from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.acceptance.incremental.machine import LONG, SETTINGS, Figures, make_machine, seed_of
from tests.fetch_postgres import find
from tests.servers import TestServer


def main() -> None:
    """Run, print the figures, end with 1 at the first failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.incremental")
    parser.add_argument("--steps", type=int, default=20_000, help="statements and events (default: %(default)s)")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--restore-each", type=int, default=1, help="restore one of so many backups (default: all)")
    parser.add_argument("--major", type=int, default=18)
    given = parser.parse_args()
    binaries = find(given.major)
    if binaries is None:
        sys.exit(f"PostgreSQL {given.major} is missing: python -m tests.fetch_postgres")
    figures, since = Figures(), time.monotonic()
    start = given.seed if given.seed is not None else seed_of({})
    print(f"seed {start}", flush=True)
    server = TestServer(binaries, settings=SETTINGS)
    try:
        server.start()
        while figures.steps < given.steps:
            machine = seed(start)(make_machine(server, figures, restore_each=given.restore_each))
            run_state_machine_as_test(machine, settings=settings(LONG, max_examples=20))
            start += 1
            print(f"{figures}, {time.monotonic() - since:.0f} s", flush=True)
    finally:
        server.close()


if __name__ == "__main__":
    main()
