"""Cron expressions: which are accepted, and when they fire in a zone whose clock is put forward and back.

The rule is Debian cron's. A job at a fixed time fires once a day it is due: where the clock is put back, at the first
of the two equal times; where it is put forward over that time, at the first minute after the gap. A job whose minute or
hour begins with ``*`` follows real time: it fires in both of the equal hours, and not in the missing one.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter
from croniter.croniter import CroniterBadDateError, CroniterError

from tui_backup.errors import ValidationError

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_TERM = re.compile(r"(\*|[0-9A-Za-z]+)(?:-([0-9A-Za-z]+))?(?:/([0-9]+))?")
_SPECIAL = {2: re.compile(r"l", re.IGNORECASE), 4: re.compile(r"[0-7A-Za-z]{1,3}#[1-5]|l[0-7]", re.IGNORECASE)}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {
    3: {name: number for number, name in enumerate(_MONTHS, 1)},
    4: {name: number for number, name in enumerate(_DAYS)},
}
# Further back than any clock has been put in one step in a zone of today.
_LOOK_BACK = timedelta(hours=4)
_MINUTE = timedelta(minutes=1)
_HINT = "Five fields: minute hour day month weekday, e.g. '0 2 * * *' (daily at 02:00)."


@dataclass(frozen=True, slots=True)
class Cron:
    """An accepted expression.

    Args:
        text: as people wrote it, normalised to single spaces.
        expanded: the same with every range and name written out as numbers.
        is_fixed: whether it names a time of the day, and does not follow real time.
    """

    text: str
    expanded: str
    is_fixed: bool

    def runs(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """When it fires, without end, as times of the zone.

        Args:
            zone: whose clock counts.
            after: aware; only later times are given.
        """
        instants = self._fixed(zone, after) if self.is_fixed else self._real(zone, after)
        return (instant.astimezone(zone) for instant in instants)

    def _local(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """Matching wall-clock times, naive, from a little before ``after`` on."""
        start = (after.astimezone(zone) - _LOOK_BACK).replace(tzinfo=None)
        return croniter(self.expanded, start, ret_type=datetime, implement_cron_bug=True)

    def _fixed(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        last = after.astimezone(UTC)
        for local in self._local(zone, after):
            instant = _first_valid(local, zone)
            if instant > last:
                last = instant
                yield instant

    def _real(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        waiting: list[datetime] = []
        since = after.astimezone(UTC)
        for local in self._local(zone, after):
            # what comes later on the wall clock is not earlier than this, apart from a second pass of the same hour
            sure = local.replace(tzinfo=zone).astimezone(UTC)
            while waiting and waiting[0] < sure:
                yield heapq.heappop(waiting)
            for instant in _instants(local, zone):
                if instant > since:
                    heapq.heappush(waiting, instant)


def _instants(local: datetime, zone: ZoneInfo) -> set[datetime]:
    """The moments at which a clock of the zone shows this time: none, one or two."""
    found = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return {moment for moment in found if moment.astimezone(zone).replace(tzinfo=None) == local}


def _first_valid(local: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which a clock of the zone shows this time or, in a gap, the first minute after it."""
    while not (moments := _instants(local, zone)):
        local += _MINUTE
    return min(moments)


@lru_cache(maxsize=256)
def parse_cron(text: str) -> Cron:
    """Check an expression.

    Args:
        text: five fields; names of months and weekdays are allowed, as are lists, ranges and steps, ``L`` for the
            last day of a month, and ``1#2`` (second Monday) and ``L5`` (last Friday) as weekday.

    Raises:
        ValidationError: with what is wrong (field ``cron_expression``).
    """
    fields = text.split()
    if text.strip().startswith("@"):
        raise _wrong("Shortcuts such as @daily are not taken; @reboot has no meaning here.")
    if len(fields) != 5:
        raise _wrong(f"A cron expression has five fields, not {len(fields)}.")
    expanded = _expand(fields)
    try:
        next(croniter(expanded, datetime(2024, 1, 1), ret_type=datetime, implement_cron_bug=True))
    except CroniterBadDateError as exc:
        raise _wrong("It never fires: there is no such day.") from exc
    except (CroniterError, ValueError, KeyError) as exc:
        raise _wrong("It cannot be understood.") from exc
    return Cron(" ".join(fields), expanded, not (fields[0].startswith("*") or fields[1].startswith("*")))


def _wrong(message: str) -> ValidationError:
    return ValidationError("cron_expression", message, hint=_HINT)


def _expand(fields: list[str]) -> str:
    """Write out what croniter reads in ways of its own (0-0 as a weekday is every day there)."""
    found = [_expand_field(number, field) for number, field in enumerate(fields)]
    # either day field may match, unless one begins with a star; a full one without a star therefore means every day
    starred = fields[2].startswith("*") or fields[4].startswith("*")
    if not starred and (len(found[2].split(",")) == 31 or len(found[4].split(",")) == 7):
        found[2] = found[4] = "*"
    return " ".join(found)


def _expand_field(number: int, field: str) -> str:
    terms = [_expand_term(number, term) for term in field.split(",")]
    # what begins with a star keeps it: it decides how the two day fields go together
    if field.startswith("*"):
        return field
    return ",".join(sorted(set(",".join(terms).split(",")), key=lambda text: (not text.isdigit(), text.zfill(2))))


def _expand_term(number: int, term: str) -> str:
    name, low, high = _FIELDS[number]
    special = _SPECIAL.get(number)
    if special and special.fullmatch(term):
        return term
    match = _TERM.fullmatch(term)
    if not match or (match[1] == "*" and match[2]):
        raise _wrong(f"The {name} {term!r} cannot be understood.")
    first = low if match[1] == "*" else _number(number, match[1])
    last = _number(number, match[2]) if match[2] else first
    if not (low <= first <= high and low <= last <= high):
        raise _wrong(f"The {name} must be {low} to {high}.")
    if last < first:
        raise _wrong(f"The range {term!r} of the {name} runs backwards.")
    if match[3] is not None and not 1 <= int(match[3]) <= high:
        # */90 minutes would fire every hour, which nobody means
        raise _wrong(f"The step /{match[3]} of the {name} must be 1 to {high}.")
    if match[1] == "*" or (match[3] and not match[2]):
        last = high
    values = range(first, last + 1, int(match[3] or 1))
    # Sunday has two numbers
    return ",".join(str(value % 7 if number == 4 else value) for value in values)


def _number(number: int, text: str) -> int:
    if text.isdigit() and len(text) <= 2:
        return int(text)
    value = _NAMES.get(number, {}).get(text.lower())
    if value is None:
        name, low, high = _FIELDS[number]
        raise _wrong(f"The {name} {text!r} is neither {low} to {high} nor a known name.")
    return value


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def parse_zone(name: str) -> ZoneInfo:
    """The zone of this IANA name.

    Raises:
        ValidationError: there is none; the hint names some that are spelt alike (field ``timezone``).
    """
    if name not in _zones():
        by_low = {zone.lower(): zone for zone in _zones()}
        near = get_close_matches(name.lower(), by_low, n=3, cutoff=0.6)
        cities = [zone for low, zone in by_low.items() if name and low.endswith("/" + name.lower().replace(" ", "_"))]
        found = list(dict.fromkeys([*cities, *(by_low[low] for low in near)]))[:3]
        hint = f"Did you mean {' or '.join(found)}?" if found else "Use an IANA name such as Europe/Berlin or UTC."
        raise ValidationError("timezone", f"There is no time zone {name!r}.", hint=hint)
    return ZoneInfo(name)


def zone_names() -> list[str]:
    """All zones, sorted, for suggestions."""
    return sorted(_zones())
