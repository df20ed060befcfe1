"""What a schedule's form may hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tui_backup.model import BackupScheduleInsert, JobType
from tui_backup.services.schedules import validate_schedule

GOOD = BackupScheduleInsert(schedule_name="nightly", source="shop", cron_expression="0 2 * * *")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"retention_days": None, "max_backups_count": None},
        {"notification_emails": ["ops@example.org", "a.b+c@sub.example.co", "ü@bücher.example"]},
        {"timezone": "Asia/Riyadh", "schedule_name": "ليلي"},
    ],
)
def test_good(changes: dict[str, Any]) -> None:
    assert validate_schedule(replace(GOOD, **changes)) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", ""),
        ("schedule_name", "  "),
        ("schedule_name", "a\x1b[31m"),
        ("schedule_name", "x" * 101),
        ("cron_expression", "0 2 31 2 *"),
        ("timezone", "Mars/Olympus"),
        ("retention_days", 0),
        ("retention_days", -1),
        ("max_backups_count", 0),
        ("max_backups_count", 10**9),
        ("job_type", JobType.SNAPSHOT),
        ("job_type", JobType.SNAPSHOT),
        *(
            ("notification_emails", [bad])
            for bad in ("", "ops", "ops@", "@example.org", "a b@example.org", "ops@localhost")
        ),
        *(
            ("notification_emails", [bad])
            for bad in ("a@b.org\nBcc: x@y.org", "a@b.org,c@d.org", "<a@b.org>", "a@-b.org")
        ),
    ],
)
def test_each_wrong_field_is_named(field: str, value: object) -> None:
    problems = validate_schedule(replace(GOOD, **{field: value}))
    assert list(problems) == [field]
    assert problems[field].endswith((".", "?"))


def test_all_wrong_fields_are_named_at_once() -> None:
    wrong = BackupScheduleInsert(schedule_name="", source="", cron_expression="x", timezone="x", retention_days=0)
    assert list(validate_schedule(wrong)) == [
        "source",
        "schedule_name",
        "cron_expression",
        "timezone",
        "retention_days",
    ]
