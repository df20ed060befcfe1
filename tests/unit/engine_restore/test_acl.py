"""Access lists and settings as PostgreSQL stores them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui_backup.engine.logical.acl import Grant, parse_acl_item, split_list_setting
from tui_backup.errors import DamagedError


@pytest.mark.parametrize(
    ("item", "grant"),
    [
        ("=r/postgres", Grant("", (("SELECT", False),))),
        ("alice=rw*/bob", Grant("alice", (("SELECT", False), ("UPDATE", True)))),
        ('"odd ""=name"=w/"x/y"', Grant('odd "=name', (("UPDATE", False),))),
        ("nobody=/postgres", Grant("nobody", ())),
    ],
)
def test_acl_items(item: str, grant: Grant) -> None:
    assert parse_acl_item(item) == grant


@pytest.mark.parametrize("item", ["", "alice", "alice=q/bob", "alice=r"])
def test_no_acl_item(item: str) -> None:
    with pytest.raises(DamagedError):
        parse_acl_item(item)


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ('"$user", public', ["$user", "public"]),
        ('"a,b", "c""d" , e', ["a,b", 'c"d', "e"]),
        ("", []),
        ('""', [""]),
    ],
)
def test_list_settings(value: str, items: list[str]) -> None:
    assert split_list_setting(value) == items


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
def test_quoted_lists_come_back(items: list[str]) -> None:
    quoted = ", ".join('"' + item.replace('"', '""') + '"' for item in items)
    assert split_list_setting(quoted) == items
