"""A store in a bucket of any S3, through the minio client.

The client's own upload has no condition, so `create` is a presigned PUT sent with `If-None-Match: *` (the header
need not be signed). When the answer of such a PUT is lost, a retry meets its own object and is told 412: then it must
know its own. Equal bytes do not say so (two writers may want the same), so each call marks its object with a parameter
of the content type, which every S3 keeps and, unlike a header of the `x-amz-` family, wants no signature for.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import secrets
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trimtab.core.errors import NotFound, ProjectError, StoreError
from trimtab.core.settings import S3Settings
from trimtab.core.store.failures import S3Failure, explain, is_transient, is_unsent
from trimtab.core.store.keys import check_key, check_prefix, is_key
from trimtab.core.store.retry import Retry
from trimtab.core.store.trees import TreeTransfers
from trimtab.core.urls import without_secrets

if TYPE_CHECKING:
    from minio import Minio
    from urllib3 import PoolManager

T = TypeVar("T")
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_PART_BYTES = 16 << 20
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0
_POOL = 16
_CONTENT_TYPE = "application/octet-stream"
_MARK = "written-by"


def place_of(url: str, what: str = "TRIMTAB_STORE") -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`.

    Args:
        url: the URL.
        what: the option or variable that it comes from.

    Raises:
        ProjectError: no bucket can be called so, or no key can begin so.

    >>> place_of("s3://trimtab/team/a/")
    ('trimtab', 'team/a')
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and not is_key(prefix)):
        raise ProjectError(
            "no bucket has such a URL",
            object=what,
            expected="s3://bucket/prefix, the bucket of 3 to 63 lower-case letters, digits, '.' and '-'",
            got=repr(url),
        )
    return bucket, prefix


def open_s3(
    url: str,
    settings: S3Settings,
    on_error: Callable[[str], None] | None = None,
    retry: Retry | None = None,
    read_seconds: float = _READ_SECONDS,
) -> S3Store:
    """The store that `s3://bucket/prefix` names.

    Args:
        url: bucket, and the prefix that all keys get.
        settings: credentials, endpoint, region, CA.
        on_error: told the operation's name each time a request fails, retried or not.
        retry: how often and how long apart a request is tried.
        read_seconds: how long an answer may take before it counts as lost.

    Raises:
        ProjectError: the URL or the endpoint cannot be one, or credentials are missing.
    """
    import certifi
    import urllib3
    from minio import Minio

    bucket, prefix = place_of(url)
    endpoint = settings.endpoint or f"https://s3.{settings.region}.amazonaws.com"
    parts = urllib.parse.urlsplit(without_secrets(endpoint, "AWS_ENDPOINT_URL"))
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
        raise ProjectError(
            "no S3 endpoint looks so",
            object="AWS_ENDPOINT_URL",
            expected="http(s)://host:port without a path",
            got=repr(endpoint),
        )
    if not settings.access_key or not settings.secret_key:
        raise ProjectError(
            "credentials for S3 are missing",
            object=url,
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if settings.ca_bundle and not Path(settings.ca_bundle).is_file():
        raise ProjectError("there is no such CA file", object="AWS_CA_BUNDLE", got=settings.ca_bundle)
    pool = urllib3.PoolManager(
        maxsize=_POOL,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=read_seconds),
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=settings.ca_bundle or certifi.where(),
    )
    client = Minio(
        parts.netloc,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        session_token=settings.session_token or None,
        secure=parts.scheme == "https",
        region=settings.region,
        http_client=pool,
    )
    store = S3Store(client, pool, bucket, prefix, on_error=on_error, retry=retry or Retry())
    store.endpoint = endpoint.rstrip("/")
    return store


class S3Store(TreeTransfers):
    """A store below a prefix of a bucket; made by `open_s3`, safe to share between threads."""

    endpoint = ""

    def __init__(
        self,
        client: Minio,
        pool: PoolManager,
        bucket: str,
        prefix: str,
        on_error: Callable[[str], None] | None,
        retry: Retry,
    ) -> None:
        self.url = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._client = client
        self._pool = pool
        self._bucket = bucket
        self._base = prefix + "/" if prefix else ""
        self._on_error = on_error
        self._retry = retry

    def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        name = self._name(key)
        mark = f"{_CONTENT_TYPE}; {_MARK}={secrets.token_hex(8)}"
        headers = {
            "If-None-Match": "*",
            "Content-Type": mark,
            "Content-MD5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
        }
        maybe_written = False
        last: Exception | None = None
        for _ in self._retry.tries():
            try:
                # Signed anew each time: a signature is of its minute.
                url = self._client.get_presigned_url("PUT", self._bucket, name)
                answer = self._pool.request("PUT", url, body=body, headers=headers, redirect=False)
            except Exception as error:  # noqa: BLE001 (sorted by is_transient, the rest is raised)
                last = self._count("create", error)
                if not is_transient(error):
                    break
                maybe_written = maybe_written or not is_unsent(error)
                continue
            if answer.status == 200:
                return True
            if answer.status == 412:
                with contextlib.suppress(NotFound):
                    return maybe_written and self._is_ours(key, mark, body)
                return False
            last = self._count("create", S3Failure.of(answer))
            if not is_transient(last):
                break
            maybe_written = True
        if maybe_written:
            # Neither answer nor error is known; what lies there says it, where the store can still be asked.
            with contextlib.suppress(StoreError):
                return self._is_ours(key, mark, body)
        raise explain("create", f"{self.url}/{key}", last) from last

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        name = self._name(key)

        def read() -> bytes:
            answer = self._client.get_object(self._bucket, name)
            try:
                body: bytes = answer.read()
                return body
            finally:
                answer.close()
                answer.release_conn()

        return self._request("get", key, read)

    def allows(self, key: str) -> bool:
        """Whether this user may write a key, asked with a PUT that S3 has to refuse for its digest: nothing is written.

        Raises:
            StoreError: the store does not answer, or with something else.
        """
        name = self._name(key)
        headers = {
            "If-None-Match": "*",
            "Content-MD5": base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode(),
        }
        last: Exception | None = None
        for _ in self._retry.tries():
            try:
                url = self._client.get_presigned_url("PUT", self._bucket, name)
                answer = self._pool.request("PUT", url, body=b"one", headers=headers, redirect=False)
            except Exception as error:  # noqa: BLE001 (sorted by is_transient, the rest is raised)
                last = self._count("create", error)
                if not is_transient(error):
                    break
                continue
            failure = S3Failure.of(answer)
            if failure.code == "BadDigest" or answer.status == 412:
                return True
            if failure.code == "AccessDenied":
                return False
            last = failure
            if not is_transient(failure):
                break
        raise explain("create", f"{self.url}/{key}", last) from last

    def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        import io

        name = self._name(key)
        self._request("put", key, lambda: self._client.put_object(self._bucket, name, io.BytesIO(body), len(body)))

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        name = self._name(key)
        try:
            self._request("exists", key, lambda: self._client.stat_object(self._bucket, name))
        except NotFound:
            return False
        return True

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        """See `Store.list`; a page that fails is asked for again behind the last key that came."""
        check_prefix(prefix)
        return self._keys(prefix, after or "")

    def foreign(self, prefix: str, wanted: Callable[[str], bool], most_bytes: int) -> Sequence[tuple[str, bytes]]:
        """What another program keeps there, under names that need not be keys of a store.

        Args:
            prefix: where to look.
            wanted: given a name without the prefix: whether to read the object.
            most_bytes: of a larger object only so many from its end.

        Returns:
            Names without the prefix and contents, the oldest first.
        """
        below = self._base + prefix

        def read() -> list[tuple[str, bytes]]:
            listed = self._client.list_objects(self._bucket, prefix=below, recursive=True)
            named = [(i, str(i.object_name).removeprefix(below)) for i in listed]
            found = []
            for item, name in sorted((p for p in named if wanted(p[1])), key=lambda p: str(p[0].last_modified)):
                start = max(0, (item.size or 0) - most_bytes)
                answer = self._client.get_object(self._bucket, below + name, offset=start)
                try:
                    found.append((name, answer.read()))
                finally:
                    answer.close()
                    answer.release_conn()
            return found

        return self._request("list", prefix, read)

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        name = self._name(key)
        with contextlib.suppress(NotFound):
            self._request("delete", key, lambda: self._client.remove_object(self._bucket, name))

    def upload(self, path: Path, key: str) -> None:
        """See `Store.upload`; in parts of 16 MB where the file is larger."""
        name = self._name(key)
        self._request(
            "upload",
            key,
            lambda: self._client.fput_object(self._bucket, name, os.fspath(path), part_size=_PART_BYTES),
        )

    def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        name = self._name(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name[:150]}.{secrets.token_hex(4)}.part")

        def fetch() -> None:
            answer = self._client.get_object(self._bucket, name)
            try:
                with partial.open("wb") as file:
                    for piece in answer.stream(1 << 20):
                        file.write(piece)
            finally:
                answer.close()
                answer.release_conn()

        try:
            self._request("download", key, fetch)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _name(self, key: str) -> str:
        return self._base + check_key(key)

    def _is_ours(self, key: str, mark: str, body: bytes) -> bool:
        """Whether a PUT whose answer was lost is the one that was written.

        Raises:
            NotFound: nothing lies there (any more).
        """
        name = self._name(key)
        found = self._request("exists", key, lambda: self._client.stat_object(self._bucket, name)).content_type or ""
        # An S3 that drops parameters of the content type leaves the bytes to go by.
        return found == mark if f"{_MARK}=" in found else self.get(key) == body

    def _keys(self, prefix: str, after: str) -> Iterator[str]:
        last: Exception | None = None
        for _ in self._retry.tries():
            try:
                for item in self._client.list_objects(
                    self._bucket,
                    prefix=self._base + prefix,
                    recursive=True,
                    start_after=self._base + after if after else None,
                ):
                    key = str(item.object_name).removeprefix(self._base)
                    if is_key(key) and key > after:
                        yield key
                        after = key
                return
            except Exception as error:  # noqa: BLE001 (sorted by is_transient, the rest is raised)
                last = self._count("list", error)
                if not is_transient(error):
                    break
        raise explain("list", f"{self.url}/{prefix}", last) from last

    def _request(self, operation: str, key: str, call: Callable[[], T]) -> T:
        last: Exception | None = None
        for _ in self._retry.tries():
            try:
                return call()
            except Exception as error:  # noqa: BLE001 (sorted by is_transient, the rest is raised)
                if getattr(error, "code", "") in {"NoSuchKey", "ResourceNotFound"}:
                    raise NotFound("nothing is stored under that key", object=f"{self.url}/{key}") from None
                last = self._count(operation, error)
                if not is_transient(error):
                    break
        raise explain(operation, f"{self.url}/{key}", last) from last

    def _count(self, operation: str, error: Exception) -> Exception:
        if self._on_error:
            self._on_error(operation)
        return error
