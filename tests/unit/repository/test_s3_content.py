"""What a store's answer about an object's content is worth."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tui_backup.repository.s3_content import Content, matches

DATA = bytes(range(256)) * 50
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
SHA256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
OTHER = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
PARTS = hashlib.md5(
    b"".join(hashlib.md5(DATA[at : at + 5000], usedforsecurity=False).digest() for at in range(0, len(DATA), 5000)),
    usedforsecurity=False,
).hexdigest()


@pytest.mark.parametrize(
    ("sha256", "tag", "verdict"),
    [
        (SHA256, "", True),
        (OTHER, f'"{MD5}"', False),
        (None, f'"{MD5}"', True),
        (None, f'"{MD5.upper()}"', True),
        (None, f'"{PARTS}-3"', True),
        # a digest of digests, no digest at all, another number of parts: no judgement
        (f"{SHA256}-3", "", None),
        ("not base64!", "", None),
        (None, '"' + "0" * 32 + '"', None),
        (None, f'"{PARTS}-4"', None),
        (None, '"opaque"', None),
        (None, "", None),
    ],
)
def test_the_verdict(sha256: str | None, tag: str, verdict: bool | None) -> None:
    assert matches(Content(memoryview(DATA)), sha256, tag, 5000) is verdict
