"""Speed against the peers (BENCHMARKS.md); run by hand: ``python -m tests.benchmarks``."""

import os

# where it is set, each of our programs compiles itself anew, which no installation does
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
