"""Everything at once, with faults on purpose: agents, schedules, restores, deletions, and what must hold after.

``python -m tests.chaos --minutes 5 --seed 1`` prints what it did and what was violated; exit status 1 then.
"""
