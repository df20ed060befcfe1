"""Cron expressions: what is refused, and firing times against an independent implementation over many zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tui_backup.errors import ValidationError
from tui_backup.services.cron import parse_cron, parse_zone, zone_names
from tui_backup.services.schedules import PRESETS, next_runs

# every kind of clock change there is: an hour, half an hour, at midnight, on a Friday, on the southern side, none
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "Africa/Cairo",
    "America/Santiago",
    "Pacific/Chatham",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "America/Havana",
    "Asia/Riyadh",
    "UTC",
)
# changed at midnight, or at or by a part of an hour
ODD_CHANGES = {
    *("Australia/Lord_Howe", "Pacific/Chatham"),
    *("Asia/Beirut", "Africa/Cairo", "America/Santiago", "Atlantic/Azores", "America/Havana"),
}


def part(low: int, high: int, *, star: bool = True) -> st.SearchStrategy[str]:
    """One field: a star, a step, numbers, a range."""
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    choices = [
        number.map(str),
        st.lists(number, min_size=1, max_size=3, unique=True).map(lambda found: ",".join(map(str, found))),
        ranges,
        # the oracle reads 5-5/2 as 5/2, so a range with a step has two ends here
        st.tuples(st.integers(low, high - 1), st.integers(1, high), st.integers(1, high)).map(
            lambda three: f"{three[0]}-{max(three[0] + 1, three[1])}/{three[2]}"
        ),
    ]
    if star:
        choices += [st.just("*"), st.integers(1, high).map(lambda step: f"*/{step}")]
    return st.one_of(choices)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Five fields; the days mostly open, so that something fires near the clock changes."""
    minute, hour = draw(part(0, 59)), draw(part(0, 23))
    day = draw(st.one_of(st.just("*"), st.just("*"), part(1, 28)))
    month = draw(st.one_of(st.just("*"), st.just("*"), part(1, 12)))
    weekday = draw(st.one_of(st.just("*"), st.just("*"), part(0, 6)))
    return f"{minute} {hour} {day} {month} {weekday}"


def _transitions(zone: ZoneInfo) -> list[datetime]:
    """The clock changes of two years, to the hour, UTC."""
    found: list[datetime] = []
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    while moment.year < 2028:
        later = moment + timedelta(hours=1)
        if moment.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            found.append(moment)
        moment = later
    return found


TRANSITIONS = {name: _transitions(ZoneInfo(name)) for name in ZONES}


@settings(max_examples=400, deadline=None)
@given(expression=expressions(), zone=st.sampled_from(ZONES), which=st.integers(0, 9), minutes=st.integers(-2000, 300))
def test_it_fires_as_debians_cron_does(expression: str, zone: str, which: int, minutes: int) -> None:
    # the oracle has no rule of its own here: it steps by whole hours of real time, and from midnight to midnight
    assume(parse_cron(expression).is_fixed or zone not in ODD_CHANGES)
    changes = TRANSITIONS[zone] or [datetime(2026, 3, 1, tzinfo=UTC)]
    after = changes[which % len(changes)] + timedelta(minutes=minutes)
    start = after.astimezone(ZoneInfo(zone))
    ours = next_runs(expression, zone, count=4, after=after)
    # the oracle's fixed-time mode begins with the wall clock, so it may first repeat an hour that has passed
    oracle = (moment.astimezone(UTC) for moment in CronSim(expression, start))
    expected = list(islice((moment for moment in oracle if moment > after), 4))
    assert [moment.astimezone(UTC) for moment in ours] == expected, (expression, zone, after)


@pytest.mark.parametrize("zone", ZONES)
def test_a_nightly_backup_fires_once_a_day_whatever_the_clock_does(zone: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for expression in ("30 2 * * *", "30 0 * * *", "0 1 * * *", "15 3 * * *"):
        runs = next_runs(expression, zone, count=730, after=start)
        days = [moment.date() for moment in runs]
        assert len(set(days)) == len(days), (expression, zone)
        assert (days[-1] - days[0]).days == len(days) - 1, (expression, zone)


def test_the_autumn_hour_counts_once_for_a_fixed_time_and_twice_for_a_step() -> None:
    before = datetime(2026, 10, 24, 22, 59, tzinfo=UTC)
    fixed = next_runs("15,45 2 * * *", "Europe/Berlin", count=3, after=before)
    assert [moment.isoformat() for moment in fixed] == [
        "2026-10-25T02:15:00+02:00",
        "2026-10-25T02:45:00+02:00",
        "2026-10-26T02:15:00+01:00",
    ]
    hourly = next_runs("0 * * * *", "Europe/Berlin", count=4, after=before)
    assert [moment.isoformat() for moment in hourly] == [
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_a_step_follows_real_time_over_a_gap_at_midnight() -> None:
    # Santiago goes from 23:59 to 01:00: there is no hour 0 on that day, and a step does not make one up
    before = datetime(2026, 9, 6, 3, 0, tzinfo=UTC)
    (run,) = next_runs("*/30 0 * * *", "America/Santiago", count=1, after=before)
    assert run.isoformat() == "2026-09-07T00:00:00-03:00"
    (run,) = next_runs("30 0 * * *", "America/Santiago", count=1, after=before)
    assert run.isoformat() == "2026-09-06T01:00:00-03:00"


def test_half_an_hour_counts_too() -> None:
    # at 02:00 the clock is put back to 01:30
    before = datetime(2026, 4, 4, 14, 0, tzinfo=UTC)
    runs = next_runs("*/15 1 * * *", "Australia/Lord_Howe", count=6, after=before)
    assert [moment.strftime("%H:%M %z") for moment in runs] == [
        "01:15 +1100",
        "01:30 +1100",
        "01:45 +1100",
        "01:30 +1030",
        "01:45 +1030",
        "01:00 +1030",
    ]
    (run,) = next_runs("* 0 * * *", "Australia/Lord_Howe", count=1, after=before)
    assert run.isoformat() == "2026-04-06T00:00:00+10:30"


def test_a_fixed_time_in_the_spring_gap_fires_once_right_after_it() -> None:
    runs = next_runs("15,45 2 * * *", "Europe/Berlin", count=2, after=datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert [moment.isoformat() for moment in runs] == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:15:00+02:00"]


def test_a_full_field_without_a_star_means_every_day() -> None:
    for expression in ("0 2 1 * 0-6", "0 2 1-31 * 0", "0 2 5 * 0,1,2,3,4,5,6"):
        days = [moment.day for moment in next_runs(expression, "UTC", after=datetime(2026, 1, 1, 12, tzinfo=UTC))]
        assert days == [2, 3, 4, 5, 6], expression


def test_a_run_at_the_very_moment_is_not_given_again() -> None:
    (run,) = next_runs("0 2 * * *", "UTC", count=1, after=datetime(2026, 1, 1, 2, tzinfo=UTC))
    assert run == datetime(2026, 1, 2, 2, tzinfo=UTC)


def test_every_preset_is_good() -> None:
    assert [preset.cron for preset in PRESETS] == [
        "0 2 * * *",
        "0 */6 * * *",
        "0 */12 * * *",
        "0 2 * * 0",
        "0 2 1 * *",
    ]
    for preset in PRESETS:
        assert len(next_runs(preset.cron, "UTC")) == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "0 2 31 2 *",
        "0 2 30 2 *",
        "0 2 31 4,6,9,11 *",
        "@reboot",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "*/0 * * * *",
        "*/90 * * * *",
        "0 22-3 * * *",
        "5-1 * * * *",
        "R R * * *",
        "H 2 * * *",
        "? 2 * * *",
        "0 2 * * mondays",
        "0 2 W * *",
        "*-5 2 * * *",
        "1,,2 * * * *",
        "-1 * * * *",
        "0 2 * * 5#6",
        "०\u0661 2 * * *",
        "0\x002 * * * *",
        "x" * 10_000,
    ],
)
def test_nonsense_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_cron(text)
    assert caught.value.field == "cron_expression"
    assert caught.value.message.endswith(".") and caught.value.hint


@pytest.mark.parametrize(
    "text", ["0 2 L * *", "0 2 * * 5#1", "0 2 * * L5", "0 2 * jan-mar mon", "5/15 * * * *", "0 0 29 2 *"]
)
def test_what_people_write_elsewhere_is_taken(text: str) -> None:
    assert len(list(islice(parse_cron(text).runs(ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC)), 2))) == 2


@given(st.text(max_size=40))
def test_any_text_is_taken_or_refused_and_nothing_else(text: str) -> None:
    try:
        parse_cron(text)
    except ValidationError as exc:
        assert exc.exit_status == 2


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "europe/berlin", "UTC\0"]
)
def test_a_wrong_zone_is_refused(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_zone(name)
    assert caught.value.field == "timezone"


def test_a_mistyped_zone_is_answered_with_the_right_one() -> None:
    for typed, meant in (
        ("berlin", "Europe/Berlin"),
        ("Europe/Berln", "Europe/Berlin"),
        ("new york", "America/New_York"),
    ):
        with pytest.raises(ValidationError) as caught:
            parse_zone(typed)
        assert meant in caught.value.hint
    assert {"UTC", "Asia/Riyadh"} <= set(zone_names())
