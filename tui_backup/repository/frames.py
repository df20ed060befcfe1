"""Frames and packs as bytes: see FORMAT.md.

A frame is one zstd frame with a checksum. A pack is frames one after the other and, last, a skippable frame
that lists them, which every zstd reader passes over.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from dataclasses import dataclass

import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL = zstd.CompressionParameter.compression_level
_CHECKSUM = zstd.CompressionParameter.checksum_flag
_SKIPPABLE_MAGIC = 0x184D2A5B
_HEAD = struct.Struct("<II")
_FOOT = struct.Struct("<I4s")
_FOOT_MAGIC = b"tbpk"
INDEX_FOOT_BYTES = _FOOT.size
_INDEX_BYTES_PER_BLOB = 100
_MAX_INDEX_BYTES = 64 * 1024 * 1024


class FrameError(ValueError):
    """Bytes that are no frame or no index of ours; the caller knows what they belong to."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A finished frame. ``id`` is the SHA-256 (hex) of its raw content."""

    id: str
    data: bytes
    raw_bytes: int


class FrameCompressor:
    """Gathers raw bytes and makes one frame of them at a time; to be used again for the next one.

    A frame is compressed from one piece of memory. Fed block by block (tried with 64 and 256 KiB), zstd copies
    each into a window of its own and needs about an eighth more time; results are the same.

    Args:
        level: of zstd.
        capacity: the most raw bytes a frame can hold.
    """

    def __init__(self, level: int, capacity: int) -> None:
        self._compressor = zstd.ZstdCompressor(options={_LEVEL: level, _CHECKSUM: 1})
        self._raw = memoryview(bytearray(capacity))
        self.raw_bytes = 0

    @property
    def room(self) -> int:
        """How many raw bytes the open frame still takes."""
        return len(self._raw) - self.raw_bytes

    def feed(self, block: memoryview) -> None:
        """Append raw bytes, at most as many as there is room for."""
        end = self.raw_bytes + len(block)
        self._raw[self.raw_bytes : end] = block
        self.raw_bytes = end

    def finish(self) -> Frame:
        """End the open frame and start the next one."""
        raw = self._raw[: self.raw_bytes]
        data = self._compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)
        frame = Frame(hashlib.sha256(raw).hexdigest(), data, self.raw_bytes)
        self.raw_bytes = 0
        return frame

    def clear(self) -> None:
        """Forget the open frame."""
        self.raw_bytes = 0


def decompress(data: bytes | bytearray | memoryview, raw_bytes: int) -> bytes:
    """Decompress exactly one frame.

    Args:
        data: the frame, no byte more.
        raw_bytes: what must come out; memory is bounded by it.

    Raises:
        FrameError: it is not one whole frame of that length, or its checksum does not match.
    """
    try:
        decompressor = zstd.ZstdDecompressor()
        raw = decompressor.decompress(data, max_length=raw_bytes + 1)
    except zstd.ZstdError as error:
        raise FrameError(str(error)) from error
    if len(raw) != raw_bytes or not decompressor.eof or decompressor.unused_data:
        raise FrameError("the frame has another length than was written")
    return raw


def compress_whole(data: bytes, level: int) -> bytes:
    """One frame of bytes that are all there, with its content size and checksum."""
    return zstd.compress(data, options={_LEVEL: level, _CHECKSUM: 1})


def decompress_whole(data: bytes, max_raw_bytes: int) -> bytes:
    """Decompress one frame of unknown length.

    Raises:
        FrameError: it is not one whole frame, is longer than the bound, or its checksum does not match.
    """
    try:
        decompressor = zstd.ZstdDecompressor()
        raw = decompressor.decompress(data, max_length=max_raw_bytes + 1)
    except zstd.ZstdError as error:
        raise FrameError(str(error)) from error
    if len(raw) > max_raw_bytes:
        raise FrameError(f"more than {max_raw_bytes} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise FrameError("not one whole frame")
    return raw


def most_frame_bytes(raw_bytes: int) -> int:
    """The most that a frame of this many raw bytes can take, with its entry in the index."""
    return raw_bytes + raw_bytes // 128 + 1024 + _INDEX_BYTES_PER_BLOB


# -- the index at a pack's end ------------------------------------------------------------------------------


class PackIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The frames of a pack in order, as (id, stored bytes, raw bytes). ``salt`` only makes a pack's name
    differ."""

    blobs: list[tuple[str, int, int]]
    salt: str = ""

    def spans(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(id, offset) -> (stored bytes, raw bytes)."""
        found: dict[tuple[str, int], tuple[int, int]] = {}
        offset = 0
        for blob, stored_bytes, raw_bytes in self.blobs:
            found[blob, offset] = (stored_bytes, raw_bytes)
            offset += stored_bytes
        return found


def encode_index(index: PackIndex) -> bytes:
    """The index as a skippable frame whose last eight bytes tell its length."""
    body = msgspec.json.encode(index)
    length = _HEAD.size + len(body) + _FOOT.size
    return _HEAD.pack(_SKIPPABLE_MAGIC, length - _HEAD.size) + body + _FOOT.pack(length, _FOOT_MAGIC)


def index_bytes(foot: bytes) -> int:
    """The length of the index, from a pack's last eight bytes.

    Raises:
        FrameError: these are not the last bytes of a pack.
    """
    if len(foot) != _FOOT.size:
        raise FrameError("too short for a pack")
    length, magic = _FOOT.unpack(foot)
    if magic != _FOOT_MAGIC or not _HEAD.size + _FOOT.size <= length <= _MAX_INDEX_BYTES:
        raise FrameError("no index at the end")
    return length


def decode_index(frame: bytes) -> PackIndex:
    """Read an index frame.

    Raises:
        FrameError: it is none.
    """
    magic, _ = _HEAD.unpack_from(frame)
    if magic != _SKIPPABLE_MAGIC:
        raise FrameError("no index at the end")
    try:
        return msgspec.json.decode(frame[_HEAD.size : -_FOOT.size], type=PackIndex)
    except msgspec.MsgspecError as error:
        raise FrameError(str(error)) from error
