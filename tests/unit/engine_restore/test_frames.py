"""The check of a stream against a backup's frames."""

from __future__ import annotations

import hashlib
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui_backup.engine.logical.compare_rows import FrameCheck, OrderBroken
from tui_backup.engine.logical.frames import run_workers
from tui_backup.errors import CancelledError
from tui_backup.manifest import Blob, Chunk
from tui_backup.model import StopFlag


def _chunk(frames: list[bytes]) -> Chunk:
    blobs = [Blob(hashlib.sha256(data).hexdigest(), "p", 0, 1, len(data)) for data in frames]
    return Chunk(first_block=0, end_block=None, rows=1, raw_bytes=sum(map(len, frames)), blobs=blobs)


def _feed(check: FrameCheck, stream: bytes, cuts: list[int]) -> None:
    borders = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in pairwise(borders):
        check.feed(stream[start:end])
    check.finish()


CHUNKS = st.lists(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=3), max_size=4)


@given(CHUNKS, st.lists(st.integers(0, 1000)))
def test_the_same_stream_however_it_is_cut(chunks: list[list[bytes]], cuts: list[int]) -> None:
    stream = b"".join(b"".join(frames) for frames in chunks)
    check = FrameCheck([_chunk(frames) for frames in chunks])
    _feed(check, stream, cuts)
    assert check.bytes_seen == len(stream)
    assert check.chunk is None


@given(CHUNKS.filter(bool), st.lists(st.integers(0, 1000)), st.integers(0, 10000), st.integers(1, 255))
def test_a_changed_byte_is_found_in_its_chunk(
    chunks: list[list[bytes]], cuts: list[int], place: int, change: int
) -> None:
    stream = bytearray(b"".join(b"".join(frames) for frames in chunks))
    place %= len(stream)
    stream[place] ^= change
    check = FrameCheck([_chunk(frames) for frames in chunks])
    with pytest.raises(OrderBroken):
        _feed(check, bytes(stream), cuts)
    lengths = [sum(map(len, frames)) for frames in chunks]
    expected = next(number for number in range(len(chunks)) if place < sum(lengths[: number + 1]))
    assert check.chunk == expected


@given(CHUNKS.filter(bool), st.binary(min_size=1, max_size=5))
def test_more_or_less_is_found(chunks: list[list[bytes]], more: bytes) -> None:
    stream = b"".join(b"".join(frames) for frames in chunks)
    for wrong in (stream + more, stream[:-1]):
        with pytest.raises(OrderBroken):
            _feed(FrameCheck([_chunk(frames) for frames in chunks]), wrong, [])


def test_workers_do_all_and_the_first_failure_is_raised() -> None:
    done: set[int] = set()
    run_workers(range(50), lambda item, _: done.add(item), workers=4, stop=StopFlag())
    assert done == set(range(50))

    def failing(item: int, flag: StopFlag) -> None:
        if item == 3:
            raise ValueError(item)
        flag.wait(0.001)

    with pytest.raises(ValueError, match="3"):
        run_workers(range(1000), failing, workers=4, stop=StopFlag())


def test_workers_stop() -> None:
    stop = StopFlag()
    started = threading.Event()

    def work(_: int, flag: StopFlag) -> None:
        started.set()
        assert flag.wait(10)

    threading.Timer(0.1, stop.set, [CancelledError("stopped by the test")]).start()
    with pytest.raises(CancelledError):
        run_workers(range(8), work, workers=2, stop=stop)
    assert started.is_set()
