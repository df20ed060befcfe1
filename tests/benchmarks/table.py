"""The rows as Markdown, ready for the README."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tests.benchmarks.measure import Row

_HEAD = ("measure", "peer", "cores", "reach", "median (min–max)", "ours", "peer", "reached")


@dataclass(frozen=True)
class _Console:
    """How a row of the console's measures, which has no peer's figures in the usual places, is shown."""

    peer: str
    ours: str
    reached: Callable[[Mapping[str, Any]], bool]


_CONSOLE = {
    "T1": _Console("python -c 'import textual'", "", lambda row: row["ratio_median"] <= 2.5),
    "T2": _Console("", "p50 {p50_ms} ms, p99 {p99_ms} ms", lambda row: row["p99_ms"] <= 50),
    "T3": _Console(
        "",
        "{terminal_bytes} bytes, {cpu_percent} % CPU in {seconds:g} s",
        lambda row: row["terminal_bytes"] <= 4096 and row["cpu_percent"] <= 1,
    ),
    "T4": _Console(
        "",
        "{execution_median_ms} ms, {scan}",
        lambda row: row["execution_median_ms"] < 5 and not row["sequential_scan"],
    ),
    "T5": _Console(
        "",
        "ready in {ready_median_s} s, idle {idle_cpu_percent} % CPU",
        lambda row: row["ready_median_s"] <= 1.5 and row["idle_cpu_percent"] <= 1,
    ),
}


def markdown(rows: Sequence[Row], machine: Mapping[str, Any], *, scale: float, pairs: int) -> str:
    """The table, and below it what it was made on, with what, and which peers were not there."""
    lines = [_line(_HEAD), "|" + "---|" * len(_HEAD)]
    lines += [_line(_cells(row)) for row in rows]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines += [
        "",
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB RAM, {machine['system']}; {versions};"
        f" scale {scale:g}, {pairs} pairs, {machine['date']}. Ratios are ours by peer, pair by pair; CPU is the"
        " client's + the server's seconds.",
    ]
    if machine["missing_peers"]:
        lines += ["", f"Not installed, so not measured: {', '.join(machine['missing_peers'])}."]
    return "\n".join(lines)


def verdict(row: Row) -> str:
    """``yes``, ``no``, ``report`` (nothing is asked for), ``failed`` or ``not measured``."""
    if "failed" in row:
        return "failed"
    if "missing" in row:
        return "not measured"
    if row.get("reach") == "report":
        return "report"
    console = _CONSOLE.get(str(row["measure"])[:2])
    reached = console.reached(row) if console else row.get("reached")
    if reached is None:
        return "report"
    return "yes" if reached else "no"


def _cells(row: Row) -> tuple[str, ...]:
    named = (str(row["measure"]), _peer(row), str(row.get("cores", "")), _reach(row))
    if "failed" in row or "missing" in row:
        return (*named, str(row.get("failed", "")), "", "", verdict(row))
    return (*named, _ratio(row), _side(row, "ours"), _side(row, "peer"), verdict(row))


def _peer(row: Row) -> str:
    if "missing" in row:
        return str(row["missing"])
    console = _CONSOLE.get(str(row["measure"])[:2])
    return console.peer if console else str(row.get("peer", ""))


def _reach(row: Row) -> str:
    return str(row.get("reach", "")).replace("<=", "≤")


def _ratio(row: Row) -> str:
    if "growth" in row:
        return f"{row['growth']} × that of a tenth"
    if "ratio_median" not in row:
        return ""
    median, least, most = (row.get(f"ratio_{name}") for name in ("median", "min", "max"))
    if least is None:
        return f"**{_number(median)}**"
    return f"**{_number(median)}** ({_number(least)}–{_number(most)})"


def _number(ratio: object) -> str:
    value = cast("float", ratio)
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _side(row: Row, who: str) -> str:
    """Ours or the peer's own figures."""
    console = _CONSOLE.get(str(row["measure"])[:2])
    if console and console.ours:
        return console.ours.format(**row) if who == "ours" else ""
    if f"{who}_wall_s" in row:
        cpu = [str(row[key]) for key in (f"{who}_cpu_s", f"{who}_server_cpu_s") if key in row]
        return f"{row[f'{who}_wall_s']} s, CPU {' + '.join(cpu)}"
    if f"{who}_bytes" in row:
        return f"{cast('int', row[f'{who}_bytes']) / 1e6:.1f} MB"
    if who == "ours" and "backup_mb" in row:
        return f"backup {row['backup_mb']} MB, restore {row['restore_mb']} MB"
    if f"{who}_mb" in row:
        return f"{row[f'{who}_mb']} MB"
    return ""


def _line(cells: Sequence[str]) -> str:
    # a bar would end the cell, also inside of code
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
