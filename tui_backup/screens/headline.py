"""The two lines that answer "are we safe?"."""

from __future__ import annotations

from datetime import datetime

from rich.cells import cell_len
from textual.content import Content

from tui_backup.model import Safety
from tui_backup.screens.board import Board
from tui_backup.screens.formats import zone_name
from tui_backup.services.statistics import SafetyOverview
from tui_backup.services.utilities import format_age, format_bytes
from tui_backup.widgets.detail_pane import STYLES
from tui_backup.widgets.symbols import BAD, WARN, Symbols, safety_tone
from tui_backup.widgets.text import fit, shown

Parts = list[str | tuple[str, str]]


def safety_lines(board: Board, symbols: Symbols, width: int) -> tuple[Content, Content]:
    """Headline with the agent, and the figures; a lost connection is never a stale green."""
    overview = board.safety
    if overview is None:
        word = "UNKNOWN" if board.connection.error else "..."
        why = "the catalog cannot be read" if board.connection.error else "reading the catalog"
        return Content.assemble((f" {symbols.unknown} {word}", "bold"), f"  {why}"), Content("")
    if not board.connection.connected:
        line = Content.assemble(
            (f" {symbols.unknown} UNKNOWN", STYLES[WARN]),
            f"  the catalog is out of reach; last known {overview.safety}",
        )
        return line, _figures(board, overview, width)
    return _headline(board, overview, symbols, width), _figures(board, overview, width)


def _headline(board: Board, overview: SafetyOverview, symbols: Symbols, width: int) -> Content:
    safety = overview.safety
    alive = any(agent.is_alive for agent in overview.agents)
    agent: tuple[str, str] = (
        (f"Agent {symbols.alive} alive", "") if alive else (f"{symbols.failed} AGENT DOWN", STYLES[BAD])
    )
    failed = f"Failed {overview.failed}"
    right = cell_len(failed) + cell_len(agent[0]) + 5
    sign = f" {symbols.safety(safety)} {safety}"
    words = shown(_reason(overview))
    room = width - cell_len(sign) - 2 - right
    parts: Parts = [(sign, "bold " + STYLES.get(safety_tone(safety), "")), "  "]
    if room >= 12:
        parts += [fit(words, room, ellipsis=symbols.ellipsis), " "]
        parts += [(failed, STYLES[BAD] if overview.failed else ""), "   ", agent, " "]
    else:
        # No room for both: what is wrong with the agent goes first, then why we are not safe.
        parts += [agent, "  ", words] if not alive else [words]
    return Content.assemble(*parts)


def _reason(overview: SafetyOverview) -> str:
    """The service's own words, without the safety word that stands before them already."""
    words = overview.headline
    for safety in Safety:
        if words.upper().startswith(str(safety)):
            words = words[len(safety) :].lstrip(" :,-.")
            break
    return words


def _figures(board: Board, overview: SafetyOverview, width: int) -> Content:
    inside = sum(1 for source in overview.sources if source.safety in (Safety.SAFE, Safety.AT_RISK))
    line = f" {inside}/{len(overview.sources)} inside RPO"
    zone = zone_name(board.now())
    pieces: list[str] = []
    upcoming = overview.next_schedule
    if upcoming is not None and upcoming.next_run_at is not None:
        name = shown(upcoming.schedule_name)
        cut = fit(name, min(cell_len(name), max(12, width - 64)))
        pieces.append(f"Next {cut} {_until(upcoming.next_run_at, board.now())}")
    pieces += [f"Running {overview.running}", f"Stored {format_bytes(overview.stored_bytes)}"]
    for piece in pieces:
        # The zone is never left out: without it no time on the screen means anything.
        if cell_len(line) + cell_len(piece) + cell_len(zone) + 4 <= width:
            line += f"  {piece}"
    return Content(f"{line}  {zone}")


def _until(moment: datetime, now: datetime) -> str:
    seconds = int((moment - now).total_seconds())
    if seconds < 0:
        return f"{format_age(-seconds)} late"
    hours, minutes = divmod(seconds // 60, 60)
    if hours >= 48:
        return f"in {format_age(seconds)}"
    return f"in {hours}h{minutes:02}m" if hours else f"in {minutes}m"
