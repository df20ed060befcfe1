"""An order-independent hash over rows, taken from their COPY text while it passes by.

The sum, modulo 2**128, of BLAKE2b-128 over each row's line without its end: the same rows give the same hash in
whatever order and however the stream is cut, and the hashes of two streams add up to that of both.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from operator import methodcaller

_MODULUS = 1 << 128
_of_line = partial(blake2b, digest_size=16)
_digest = methodcaller("digest")


class RowHash:
    """Hashes one stream; everything per row runs in C (about 0.7 µs a row of 150 bytes)."""

    def __init__(self) -> None:
        self._sum = 0
        self._rest = b""

    def update(self, block: bytes | bytearray | memoryview) -> None:
        """Take the next bytes, which may end within a row."""
        data = self._rest + bytes(block) if self._rest else bytes(block)
        end = data.rfind(b"\n")
        self._rest = data[end + 1 :]
        if end >= 0:
            # a line break within a value is written as \n: a raw one ends the row
            lines = data[:end].split(b"\n")
            self._sum = (self._sum + sum(map(int.from_bytes, map(_digest, map(_of_line, lines))))) % _MODULUS

    @property
    def value(self) -> int:
        """The hash so far.

        Raises:
            ValueError: the stream ended within a row.
        """
        if self._rest:
            raise ValueError("the stream ended within a row")
        return self._sum


def add_hashes(values: list[int]) -> str:
    """The hash of several streams together, as 32 hexadecimal digits."""
    return f"{sum(values) % _MODULUS:032x}"
