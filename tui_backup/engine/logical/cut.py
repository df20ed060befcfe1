"""Cutting a table into block ranges, and the query that reads one of them."""

from __future__ import annotations

from collections.abc import Sequence

from tui_backup.engine.logical.names import qualified, quote

CHUNK_BLOCKS = 256
"""2 MiB of heap. Over days with 1 % of the rows changed, chunks of 128 / 256 / 512 / 1,024 blocks made incrementals add
6.4 / 6.9 / 8.5 / 8.5 MB a day, a full backup no larger, and took the same time."""

LARGE_CHUNK_BLOCKS = 1024
_LARGE_TABLE_BLOCKS = 2**20
"""From 8 GiB on a table is cut into larger chunks: a manifest names every chunk, and has to stay handy."""

BlockRange = tuple[int, int | None]

# Block numbers are 32 bits wide.
_LAST_BLOCK = 2**32 - 2


def cut(blocks: int, chunk_blocks: int | None = None) -> list[BlockRange]:
    """Cut a table of so many blocks into ranges (first, end), end exclusive and None for the last one.

    The last range is open ended: blocks appended after the size was taken hold no row that the snapshot sees, but
    nothing has to depend on that. Borders are multiples of ``chunk_blocks`` from block 0, so that the chunks of two
    backups of one table line up. A table without blocks has no rows that the snapshot could see, and no range.

    Args:
        blocks: of the table.
        chunk_blocks: of a chunk; by the table's size when None.

    Raises:
        ValueError: no such table or chunk can be.
    """
    if chunk_blocks is None:
        chunk_blocks = LARGE_CHUNK_BLOCKS if blocks >= _LARGE_TABLE_BLOCKS else CHUNK_BLOCKS
    if chunk_blocks < 1:
        raise ValueError(chunk_blocks)
    if blocks > _LAST_BLOCK:
        raise ValueError(blocks)
    starts = range(0, blocks, chunk_blocks)
    return [(first, None if first + chunk_blocks >= blocks else first + chunk_blocks) for first in starts]


def select_range(columns: str, table: tuple[str, str], block_range: BlockRange) -> str:
    """A query over one block range of a table.

    Args:
        columns: the select list, as SQL.
        table: schema and name.
        block_range: see :func:`cut`; (0, None) reads without a range.
    """
    # ONLY: the rows of inheritance children and partitions are theirs
    query = f"SELECT {columns} FROM ONLY {qualified(*table)}"
    conditions = in_range(block_range)
    return f"{query} WHERE {' AND '.join(conditions)}" if conditions else query


def in_range(block_range: BlockRange, *, alias: str | None = None) -> list[str]:
    """The conditions that a row lies in a block range; none for (0, None)."""
    first, end = block_range
    if block_range == (0, None):
        return []
    ctid = f"{alias}.ctid" if alias else "ctid"
    conditions = [f"{ctid} >= '({first},0)'::pg_catalog.tid"]
    if end is not None:
        conditions.append(f"{ctid} < '({end},0)'::pg_catalog.tid")
    return conditions


def select_rows(
    table: tuple[str, str], columns: Sequence[str], block_range: BlockRange, condition: str | None = None
) -> str:
    """The query whose COPY is one chunk.

    Args:
        table: schema and name.
        columns: in the order of the stream; none is a table without (stored) columns.
        block_range: see :func:`cut`; (0, None) reads without a range.
        condition: the WHERE clause of an extension's configuration table, with its WHERE.
    """
    if condition and block_range != (0, None):
        raise ValueError("a table with a condition is read in one piece")
    query = select_range(", ".join(quote(column) for column in columns), table, block_range)
    return f"{query} {condition}" if condition else query


def copy_out(query: str, encoding: str) -> str:
    """The COPY statement around a query, its stream in the database's own encoding: no byte is converted or checked."""
    return f"COPY ({query}) TO STDOUT WITH (FORMAT text, ENCODING '{encoding}')"
