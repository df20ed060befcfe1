"""What of an archive belongs to some tables."""

from __future__ import annotations

from tui_backup.engine.logical.archive import parse_listing, select_entries

LISTING = """\
;
; Archive created at 2026-11-23 18:49:44 UTC
;     dbname: depends on: 5
;     TOC Entries: 9
;
6; 2615 16385 SCHEMA - s postgres
220; 1259 16386 TABLE s parent postgres
;	depends on: 6
221; 1259 16394 SEQUENCE s child id_seq postgres
;	depends on: 223 6
223; 1259 16396 TABLE s child postgres
;	depends on: 6 220
224; 1259 16412 VIEW s both postgres
;	depends on: 220 225 6
225; 1259 16413 FOREIGN TABLE s other postgres
;	depends on: 6
300; 0 0 COMMENT s TABLE other postgres
;	depends on: 225
301; 0 0 ACL s TABLE child postgres
;	depends on: 223
302; 1259 16500 INDEX s other_idx postgres
;	depends on: 225
"""


def test_listing_is_read() -> None:
    entries = parse_listing(LISTING)
    assert [entry.id for entry in entries] == [6, 220, 221, 223, 224, 225, 300, 301, 302]
    by_id = {entry.id: entry for entry in entries}
    assert by_id[224].depends == (220, 225, 6)
    assert by_id[225].is_table
    assert not by_id[302].is_relation
    assert by_id[301].is_acl
    assert by_id[221].label == "SEQUENCE s child id_seq postgres"


def test_everything_without_a_choice() -> None:
    selection = select_entries(parse_listing(LISTING), None)
    assert len(selection.ids) == 9
    assert not selection.excluded


def test_what_hangs_on_others_stays_away_and_what_is_needed_comes() -> None:
    selection = select_entries(parse_listing(LISTING), {16396})
    assert selection.ids == {6, 220, 221, 223, 301}
    assert selection.empty == ("TABLE s parent postgres",)
    assert set(selection.excluded) == {
        "VIEW s both postgres",
        "FOREIGN TABLE s other postgres",
        "COMMENT s TABLE other postgres",
        "INDEX s other_idx postgres",
    }
