"""What may be written as a location."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui_backup.errors import ValidationError
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.location import DirectoryLocation, S3Location, describe_location, parse_location
from tui_backup.repository.open import open_store
from tui_backup.repository.s3 import S3Store


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("/srv/backup", DirectoryLocation(Path("/srv/backup"))),
        ("  /srv/back up/ ", DirectoryLocation(Path("/srv/back up"))),
        ("s3://bucket", S3Location("bucket")),
        ("s3://bucket/", S3Location("bucket")),
        ("s3://my.bucket-1/a/b/", S3Location("my.bucket-1", "a/b")),
        (
            "s3://b-1/p?endpoint=https://s3.example.com:9000/&region=eu-west-1&style=virtual&profile=ops",
            S3Location("b-1", "p", "https://s3.example.com:9000", "eu-west-1", "virtual", "ops"),
        ),
        ("s3://bucket?endpoint=http%3A%2F%2F[::1]:9000", S3Location("bucket", "", "http://[::1]:9000")),
    ],
)
def test_what_is_understood(text: str, meant: object) -> None:
    assert parse_location(text) == meant
    assert parse_location(describe_location(text)) == meant


def test_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert describe_location("~/backup") == "/home/somebody/backup"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "absolute path"),
        ("backup", "not an absolute"),
        ("./backup", "not an absolute"),
        ("~nosuchuser12345/x", "no such user"),
        ("/", "root directory"),
        ("/srv/../etc", r"'\.\.'"),
        ("/srv/\nx", "absolute path"),
        ("/srv/\x00x", "absolute path"),
        ("ftp://host/x", "not supported"),
        ("https://bucket.s3.amazonaws.com/", "not supported"),
        ("S3://bucket", "not supported"),
        ("s3://", "bucket name"),
        ("s3://a", "bucket name"),
        ("s3://-bucket/x", "bucket name"),
        ("s3://bucket:9000/x", "bucket name"),
        ("s3://key:secret@bucket/x", "credentials"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket/../b", "prefix"),
        ("s3://bucket/a b", "prefix"),
        ("s3://bucket/x#y", "'#'"),
        ("s3://bucket/x?endpoint", "cannot be read"),
        ("s3://bucket/x?endpoint=", "http"),
        ("s3://bucket/x?endpoint=s3.example.com", "http"),
        ("s3://bucket/x?endpoint=http://host:port", "http"),
        ("s3://bucket/x?endpoint=http://host/path", "http"),
        ("s3://bucket/x?endpoint=http://u:p@host", "credentials"),
        ("s3://bucket/x?style=dns", "path nor virtual"),
        ("s3://bucket/x?region=eu west", "region"),
        ("s3://bucket/x?profile=", "profile"),
        ("s3://bucket/x?endpoit=http://host", "endpoit"),
        ("s3://bucket/x?region=a&region=b", "twice"),
        ("s3://bucket/x?access_key=AKIA", "access_key"),
    ],
)
def test_nonsense_is_named(text: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as failure:
        parse_location(text)
    assert failure.value.field == "location"
    assert failure.value.hint


@pytest.mark.parametrize("text", ["s3://AKIA123:topsecret@bucket/x", "s3://bucket/x?secret_key=topsecret"])
def test_a_secret_is_not_repeated(text: str) -> None:
    with pytest.raises(ValidationError) as failure:
        parse_location(text)
    assert "topsecret" not in str(failure.value.to_json())
    assert "profile" in failure.value.hint


def test_the_right_store_is_opened() -> None:
    directory = open_store("/srv/backup", max_object_bytes=5)
    assert isinstance(directory, DirectoryStore)
    assert (directory.location, directory.max_object_bytes) == ("/srv/backup", 5)
    bucket = open_store("s3://bucket/p?region=eu-west-1")
    assert isinstance(bucket, S3Store)
    assert bucket.location == "s3://bucket/p?region=eu-west-1"
