"""The two sets of one-cell signs, and the words and tones that stand beside them (UX.md, "Status")."""

from __future__ import annotations

from dataclasses import dataclass

from tui_backup.model import JobStatus, Safety

GOOD, BUSY, PLAIN, WARN, BAD, DIM = "good", "busy", "", "warn", "bad", "dim"

_TONES = {
    "completed": GOOD,
    "running": BUSY,
    "pending": PLAIN,
    "late": WARN,
    "missed": WARN,
    "failed": BAD,
    "cancelled": DIM,
    "unknown": WARN,
}


@dataclass(frozen=True, slots=True)
class Symbols:
    """One set of signs, each one cell wide."""

    completed: str
    running: str
    pending: str
    late: str
    failed: str
    cancelled: str
    unknown: str
    backups_icon: str
    schedules_icon: str
    restore_icon: str
    alive: str
    rule: str
    ellipsis: str
    ascending: str
    descending: str
    pointer: str
    is_ascii: bool = False

    def glyph(self, status: str) -> str:
        """The sign of a status word; the one for ``unknown`` when the word is not known."""
        names = {"missed": "late"}
        value = getattr(self, names.get(status, status), None) if status in _TONES else None
        return value if isinstance(value, str) else self.unknown

    def status(self, status: JobStatus | str) -> str:
        """Sign and word together."""
        return f"{self.glyph(str(status))} {status}"

    def safety(self, safety: Safety) -> str:
        """The sign of a safety headline."""
        return {
            Safety.SAFE: self.completed,
            Safety.AT_RISK: self.late,
            Safety.NOT_SAFE: self.failed,
            Safety.UNKNOWN: self.unknown,
        }[safety]


UNICODE = Symbols("✓", "●", "○", "▲", "✗", "-", "?", "▤ ", "◷ ", "↺ ", "●", "─", "…", "▴", "▾", "›")
ASCII = Symbols("+", "*", ".", "!", "X", "-", "?", "", "", "", "*", "-", "~", "^", "v", ">", is_ascii=True)


def status_tone(status: JobStatus | str) -> str:
    """The tone of a status word: colour comes last and never alone."""
    return _TONES.get(str(status), WARN)


def safety_tone(safety: Safety) -> str:
    """The tone of a safety headline."""
    return {Safety.SAFE: GOOD, Safety.AT_RISK: WARN, Safety.NOT_SAFE: BAD, Safety.UNKNOWN: WARN}[safety]


def check_tone(level: str) -> tuple[str, str]:
    """Status word for the sign, and tone, of a plan check's level."""
    return {"ok": ("completed", GOOD), "warning": ("late", WARN), "refused": ("failed", BAD)}.get(
        level, ("unknown", WARN)
    )
