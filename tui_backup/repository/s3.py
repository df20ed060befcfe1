"""A repository in S3 or in one of its many dialects.

What differs between the dialects, and what is done about it:

- Checksums. boto3 is told to add none of its own (old and strict stores refuse its trailers). Every request
that
  carries content has Content-MD5, which all stores check that check anything, and x-amz-checksum-sha256,
  which newer ones check, keep, and give back.
- Conditional put. It is asked for always, and a store that refuses the header is not asked again. Some
overwrite
  without a word, so a look comes before each put. Between look and put another writer may come; it writes
  the same bytes, since names are digests of the content or the id of one job.
- Read-back. What a put returns is what HEAD says afterwards: size, and SHA-256 or an MD5 entity tag. Where
neither
  can be compared, the object is read whole.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

from tui_backup.errors import (
    DamagedError,
    ObjectTooLargeError,
    StoreError,
    StorePublicError,
    StoreUnavailableError,
    TuiBackupError,
)
from tui_backup.repository.keys import check_key, check_prefix
from tui_backup.repository.location import S3Location
from tui_backup.repository.s3_client import S3Limits, make_client
from tui_backup.repository.s3_content import Content, matches
from tui_backup.repository.s3_errors import error_code, http_status, is_missing, is_not_supported, translated
from tui_backup.repository.s3_public import why_public
from tui_backup.repository.store import DEFAULT_MAX_OBJECT_BYTES, ObjectStat

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, HeadObjectOutputTypeDef

_LOG = logging.getLogger(__name__)
_READ_BYTES = 256 * 1024
_STALE_UPLOAD = timedelta(hours=24)
_GREETING_S = 10.0
_GREETINGS = 2
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class S3Store:
    """Objects below a prefix of a bucket.

    Args:
        location: bucket, prefix and how to reach them.
        max_object_bytes: no object may be larger; above half of it an upload is multipart.
        limits: time-outs and retries.
    """

    def __init__(
        self,
        location: S3Location,
        *,
        max_object_bytes: int = DEFAULT_MAX_OBJECT_BYTES,
        limits: S3Limits | None = None,
    ) -> None:
        self._at = location
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._max_object_bytes = max_object_bytes
        self._limits = limits or S3Limits()
        self._lock = threading.Lock()
        self._made: S3Client | None = None
        self._conditional = True

    @property
    def location(self) -> str:
        """The location as it stands in the catalog; holds no secret."""
        return str(self._at)

    @property
    def max_object_bytes(self) -> int:
        """No object may be larger."""
        return self._max_object_bytes

    # -- the port -----------------------------------------------------------------------------------------

    def check(self, *, create: bool = False) -> None:
        """Prove that the bucket is there, private, readable and writable; end uploads that a crash left.

        A missing bucket is never made: a slip in its name would become a second repository.

        Raises:
            StorePublicError: the store says, or shows, that others may read it.
        """
        self._greet()
        key = f"probe/{secrets.token_hex(16)}"
        try:
            self._probe(key)
            with translated(self.location, "check"):
                reason = why_public(self._client, self._at, self._prefix + key, self._limits)
        finally:
            self._delete_quietly(key)
        if reason:
            raise StorePublicError(f"{self.location} is public: {reason}")
        self._abort_stale_uploads()

    def put(self, key: str, data: bytes | bytearray | memoryview) -> ObjectStat:
        """Upload unless it is there, then ask the store what it holds."""
        check_key(key)
        view = memoryview(data).cast("B")
        if len(view) > self._max_object_bytes:
            raise ObjectTooLargeError(
                f"{key} has {len(view)} bytes, {self.location} takes {self._max_object_bytes} at most"
            )
        content = Content(view)
        with translated(self.location, f"write {key} to"):
            there = self._head(key)
            if there is None and self._upload(key, content):
                return self._confirmed(key, content)
            return self._keep_existing(key, content)

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        check_key(key)
        return self._read(key, None)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read exactly ``length`` bytes from ``offset``."""
        check_key(key)
        if length == 0:
            return b""
        data = self._read(key, f"bytes={offset}-{offset + length - 1}")
        if len(data) != length:
            raise DamagedError(
                f"{key} is truncated: {len(data)} of {length} bytes at {offset}",
                details={"key": key, "problem": "truncated"},
            )
        return data

    def stat(self, key: str) -> ObjectStat | None:
        """What HEAD says."""
        check_key(key)
        with translated(self.location, f"look at {key} in"):
            head = self._head(key)
            if head is None:
                # HEAD has no body, so a missing bucket looks like a missing object
                self._client.head_bucket(Bucket=self._at.bucket)
                return None
            return _stat_of(key, head)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Objects in key order. They are sorted here: some stores list folder by folder."""
        check_prefix(prefix)
        with translated(self.location, "list"):
            yield from sorted(self._listed(prefix), key=lambda found: found.key)

    def delete(self, key: str) -> None:
        """Delete, then look again: some stores answer 204 and keep it."""
        check_key(key)
        with translated(self.location, f"delete {key} from"):
            self._client.delete_object(Bucket=self._at.bucket, Key=self._prefix + key)
            if self._head(key) is not None:
                raise StoreError(
                    f"{key} was deleted from {self.location} and is still there",
                    hint="Look for an object lock or a retention policy of the bucket.",
                )

    def free_bytes(self) -> int | None:
        """S3 does not say."""
        return None

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            client, self._made = self._made, None
        if client is not None:
            client.close()

    # -- its parts ----------------------------------------------------------------------------------------

    @property
    def _client(self) -> S3Client:
        with self._lock:
            if self._made is None:
                self._made = make_client(self._at, self._limits)
            return self._made

    def _listed(self, prefix: str) -> Iterator[ObjectStat]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._at.bucket, Prefix=self._prefix + prefix
        )
        for page in pages:
            if "IsTruncated" not in page:
                raise StoreUnavailableError(f"{self.location} answered something that is no list of objects")
            for entry in page.get("Contents", []):
                key = entry.get("Key", "").removeprefix(self._prefix)
                # other programs' folder marks and hidden names are no objects of ours
                if not key or key.endswith("/") or key.startswith("."):
                    continue
                modified = entry.get("LastModified")
                yield ObjectStat(key, entry.get("Size", 0), None, modified and modified.astimezone(UTC))

    def _head(self, key: str) -> HeadObjectOutputTypeDef | None:
        from botocore.exceptions import ClientError

        try:
            return self._client.head_object(Bucket=self._at.bucket, Key=self._prefix + key, ChecksumMode="ENABLED")
        except ClientError as error:
            if is_missing(error):
                return None
            raise

    def _upload(self, key: str, content: Content) -> bool:
        """Send the content; False when the key was taken in the meantime."""
        from botocore.exceptions import ClientError

        send = self._put_parts if content.size_bytes > self._max_object_bytes // 2 else self._put_whole
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if self._conditional else {}
        try:
            send(key, content, condition)
        except ClientError as error:
            if condition and (error_code(error) in _TAKEN or http_status(error) in (409, 412)):
                return False
            if not condition or not is_not_supported(error):
                raise
            _LOG.info("%s knows no conditional put", self.location)
            self._conditional = False
            send(key, content, {})
        return True

    def _put_whole(self, key: str, content: Content, condition: dict[str, Any]) -> None:
        self._client.put_object(
            Bucket=self._at.bucket,
            Key=self._prefix + key,
            Body=BytesIO(content.view),
            ContentLength=content.size_bytes,
            ContentMD5=content.md5_base64,
            ChecksumSHA256=content.sha256_base64,
            **condition,
        )

    def _put_parts(self, key: str, content: Content, condition: dict[str, Any]) -> None:
        where: dict[str, Any] = {"Bucket": self._at.bucket, "Key": self._prefix + key}
        upload: dict[str, Any] = {**where, "UploadId": self._client.create_multipart_upload(**where)["UploadId"]}
        try:
            parts: list[CompletedPartTypeDef] = []
            for number, part in enumerate(content.parts(self._limits.part_bytes), start=1):
                answer = self._client.upload_part(
                    **upload,
                    PartNumber=number,
                    Body=BytesIO(part.view),
                    ContentLength=part.size_bytes,
                    ContentMD5=part.md5_base64,
                )
                parts.append({"PartNumber": number, "ETag": answer.get("ETag", "")})
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)
        except BaseException:
            self._abort(upload)
            raise

    def _abort(self, upload: dict[str, Any]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.abort_multipart_upload(**upload)
        except (BotoCoreError, ClientError) as error:
            # the error that led here is the one to report; check() ends what stays
            _LOG.warning("an upload to %s stays unfinished: %s", self.location, type(error).__name__)

    def _confirmed(self, key: str, content: Content) -> ObjectStat:
        """What the store holds after our own upload; a wrong object is taken away again."""
        head = self._head(key)
        if head is None:
            raise StoreUnavailableError(f"{self.location} took {key} and does not have it")
        if self._same(key, head, content):
            return _stat_of(key, head, content.sha256)
        self._delete_quietly(key)
        raise DamagedError(
            f"{self.location} holds other bytes than were sent for {key}",
            hint="The store or the way to it is faulty. Nothing was counted as stored.",
        )

    def _keep_existing(self, key: str, content: Content) -> ObjectStat:
        head = self._head(key)
        if head is None:
            raise StoreUnavailableError(f"{key} came and went in {self.location}", hint="Try again.")
        if not self._same(key, head, content):
            raise DamagedError(
                f"{key} exists in {self.location} with other content",
                hint="Nothing was overwritten. Verify the backups of this repository.",
                details={"key": key, "problem": "exists", "size_bytes": _size(head)},
            )
        return _stat_of(key, head, content.sha256)

    def _same(self, key: str, head: HeadObjectOutputTypeDef, content: Content) -> bool:
        if _size(head) != content.size_bytes:
            return False
        told = matches(content, head.get("ChecksumSHA256"), head.get("ETag", ""), self._limits.part_bytes)
        if told is not None:
            return told
        return hashlib.sha256(self._read(key, None)).hexdigest() == content.sha256

    def _read(self, key: str, byte_range: str | None) -> bytes:
        from botocore.exceptions import ClientError

        asked: dict[str, Any] = {} if byte_range is None else {"Range": byte_range}
        with translated(self.location, f"read {key} from", key=key):
            try:
                answer = self._client.get_object(Bucket=self._at.bucket, Key=self._prefix + key, **asked)
            except ClientError as error:
                if error_code(error) != "InvalidRange" and http_status(error) != 416:
                    raise
                return b""
            return self._read_body(answer["Body"], answer["ContentLength"])

    def _read_body(self, body: Any, size_bytes: int) -> bytes:
        """Read an answer to its end, bounded as a whole: a drip of bytes never meets the read time-out."""
        deadline = time.monotonic() + self._limits.read_timeout_s
        deadline += size_bytes / self._limits.slowest_bytes_per_second
        data = bytearray()
        try:
            while block := body.read(_READ_BYTES):
                data += block
                if time.monotonic() > deadline:
                    raise StoreUnavailableError(
                        f"{self.location} answers too slowly: {len(data)} of {size_bytes} bytes"
                    )
        finally:
            body.close()
        return bytes(data)

    def _greet(self) -> None:
        """Ask for the bucket, and give up sooner than with content: people wait for this answer."""
        limits = replace(
            self._limits,
            read_timeout_s=min(self._limits.read_timeout_s, _GREETING_S),
            attempts=min(self._limits.attempts, _GREETINGS),
        )
        client = make_client(self._at, limits)
        try:
            with translated(self.location, "reach"):
                client.head_bucket(Bucket=self._at.bucket)
        finally:
            client.close()

    def _probe(self, key: str) -> None:
        text = secrets.token_bytes(64)
        self.put(key, text)
        if self.get(key) != text or self.get_range(key, 8, 8) != text[8:16]:
            raise StoreError(f"{self.location} gives back other bytes than it was given")
        if not any(found.key == key for found in self.list("probe/")):
            raise StoreError(f"{self.location} does not list what it holds")

    def _delete_quietly(self, key: str) -> None:
        try:
            self.delete(key)
        except TuiBackupError as error:
            _LOG.warning("%s stays in %s: %s", key, self.location, error.message)

    def _abort_stale_uploads(self) -> None:
        from botocore.exceptions import ClientError

        limit = datetime.now(UTC) - _STALE_UPLOAD
        with translated(self.location, "check"):
            try:
                found = self._client.list_multipart_uploads(Bucket=self._at.bucket, Prefix=self._prefix)
            except ClientError as error:
                _LOG.info("%s does not list unfinished uploads: %s", self.location, error_code(error))
                return
            for upload in found.get("Uploads", []):
                started = upload.get("Initiated")
                if started and started < limit:
                    name = {"Key": upload.get("Key", ""), "UploadId": upload.get("UploadId", "")}
                    self._abort({"Bucket": self._at.bucket, **name})


def _size(head: HeadObjectOutputTypeDef) -> int:
    """The length that HEAD tells. An answer cut within its head lacks fields, and its last number may lack digits."""
    if "ContentLength" not in head or "LastModified" not in head:
        raise StoreUnavailableError("The store's answer was cut short")
    return head["ContentLength"]


def _stat_of(key: str, head: HeadObjectOutputTypeDef, digest: str | None = None) -> ObjectStat:
    return ObjectStat(key, _size(head), digest, head["LastModified"].astimezone(UTC))
