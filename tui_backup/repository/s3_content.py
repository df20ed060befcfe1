"""Checksums of an S3 object: what is sent with it, and whether the store's answer agrees."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from functools import cached_property

_MD5_TAG = re.compile(r"[0-9a-f]{32}")
_PARTS_TAG = re.compile(r"[0-9a-f]{32}-([0-9]+)")


class Content:
    """Bytes to send, with their digests (each computed once, when asked for)."""

    def __init__(self, view: memoryview) -> None:
        self.view = view

    @property
    def size_bytes(self) -> int:
        """Length."""
        return len(self.view)

    @cached_property
    def sha256(self) -> str:
        """Hex."""
        return hashlib.sha256(self.view).hexdigest()

    @cached_property
    def md5(self) -> str:
        """Hex. No protection against malice, only what S3 itself uses against transmission errors."""
        return hashlib.md5(self.view, usedforsecurity=False).hexdigest()

    @property
    def sha256_base64(self) -> str:
        """As the x-amz-checksum-sha256 header wants it."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()

    @property
    def md5_base64(self) -> str:
        """As the Content-MD5 header wants it."""
        return base64.b64encode(bytes.fromhex(self.md5)).decode()

    def parts(self, part_bytes: int) -> Iterator[Content]:
        """The content cut for a multipart upload."""
        for start in range(0, len(self.view), part_bytes):
            yield Content(self.view[start : start + part_bytes])


def matches(content: Content, sha256_base64: str | None, entity_tag: str, part_bytes: int) -> bool | None:
    """Compare with what HEAD says.

    Args:
        content: what should be there.
        sha256_base64: the store's checksum, if it keeps one of the whole object.
        entity_tag: the store's ETag.
        part_bytes: the size of the parts, had it been a multipart upload of ours.

    Returns:
        None when the answer allows no judgement (an ETag that differs may be no MD5 at all: encryption by
        the store).
    """
    if sha256_base64 and "-" not in sha256_base64:
        try:
            return base64.b64decode(sha256_base64, validate=True).hex() == content.sha256
        except binascii.Error:
            return None
    tag = entity_tag.strip('"').lower()
    if _MD5_TAG.fullmatch(tag) and tag == content.md5:
        return True
    if _PARTS_TAG.fullmatch(tag):
        parts = list(content.parts(part_bytes))
        together = hashlib.md5(b"".join(bytes.fromhex(part.md5) for part in parts), usedforsecurity=False)
        if tag == f"{together.hexdigest()}-{len(parts)}":
            return True
    return None
