"""Buckets, users and policies on a MinIO, by its administrator; everything may be repeated."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core import grants
from trimtab.core.errors import ProjectError, StoreError, StoreRefused
from trimtab.core.settings import S3Settings
from trimtab.core.store.failures import explain
from trimtab.core.store.retry import Retry
from trimtab.core.urls import without_secrets

if TYPE_CHECKING:
    from minio import Minio, MinioAdmin
    from urllib3 import PoolManager

ARTIFACTS = "artifacts-"
# MinIO takes no shorter ones.
LEAST_ACCESS, LEAST_SECRET = 3, 8
_PAUSE_SECONDS = 0.5
_TIMEOUT = 5.0


@dataclass(frozen=True)
class Credential:
    """An S3 user's key pair; kept out of `repr`."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


def read_credential(folder: Path) -> Credential:
    """The files `access_key` and `secret_key` of a folder, as a mounted Secret has them.

    Raises:
        ProjectError: one is missing, or too short.
    """
    found = []
    for name, least in (("access_key", LEAST_ACCESS), ("secret_key", LEAST_SECRET)):
        try:
            text = (folder / name).read_text().strip()
        except OSError as error:
            raise ProjectError(
                "a credential cannot be read",
                object=str(folder / name),
                expected="files access_key and secret_key",
                got=error.strerror or str(error),
            ) from None
        if len(text) < least:
            raise ProjectError(f"the {name} is too short", object=str(folder / name), expected=f"{least} characters")
        found.append(text)
    return Credential(*found)


def read_users(folder: Path) -> dict[str, Credential]:
    """The credentials of a folder with one folder a user: our users by name, and `artifacts-<prefix>`.

    Raises:
        ProjectError: a folder is no user's, two share a key, or there is none.
    """
    found: dict[str, Credential] = {}
    if not folder.is_dir():
        raise ProjectError("there is no such folder", object=str(folder))
    # A mounted Secret has folders of its own, whose names begin with a dot.
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if path.name not in grants.USERS and not path.name.removeprefix(ARTIFACTS).strip("-"):
            raise ProjectError("a user's folder names no user", object=str(path))
        if path.name not in grants.USERS and not path.name.startswith(ARTIFACTS):
            expected = f"{', '.join(grants.USERS)} or {ARTIFACTS}<prefix>"
            raise ProjectError("a folder is no user's", object=str(path), expected=expected, got=path.name)
        found[path.name] = read_credential(path)
    if not found:
        raise ProjectError("no user is given", object=str(folder), expected=f"folders {', '.join(grants.USERS)}")
    keys = [one.access_key for one in found.values()]
    if len(set(keys)) < len(keys):
        raise ProjectError("two users share an access key", object=str(folder), expected="one each")
    return found


def policies(names: Iterable[str], bucket: str, prefix: str, artifacts: str) -> dict[str, dict[str, Any]]:
    """The policies of users, by user.

    Args:
        names: of the users: ours, and `artifacts-<project>`, who has a prefix of Kubeflow's artifacts to itself.
        bucket: the store's bucket.
        prefix: the prefix of the store's keys in it; empty for the whole bucket.
        artifacts: `<bucket>` or `<bucket>/<prefix>` of Kubeflow's artifacts; empty for none.

    Raises:
        ProjectError: an artifacts user where no place of artifacts is named.
    """
    place, _, below = artifacts.strip("/").partition("/")
    found = {}
    for name in names:
        if name in grants.USERS:
            found[name] = grants.policy(name, bucket, prefix)
        elif place:
            found[name] = grants.artifacts_policy(place, f"{below}/{name.removeprefix(ARTIFACTS)}")
        else:
            raise ProjectError("an artifacts user needs a bucket of artifacts", object=name, hint="add --artifacts")
    return found


class Administrator:
    """Makes what is missing on a MinIO.

    Args:
        s3: where it is, with the administrator's credentials.
        say: told what was done, in words.
    """

    def __init__(self, s3: S3Settings, say: Callable[[str], None]) -> None:
        import certifi
        import urllib3
        from minio import Minio, MinioAdmin
        from minio.credentials.providers import StaticProvider

        where = urllib.parse.urlsplit(without_secrets(s3.endpoint, "AWS_ENDPOINT_URL"))
        if where.scheme not in {"http", "https"} or not where.netloc:
            raise ProjectError(
                "MinIO's address is not known", object="AWS_ENDPOINT_URL", expected="http(s)://host:port",
                got=repr(s3.endpoint),
            )  # fmt: skip
        self.s3 = s3
        self.say = say
        self._pool: PoolManager = urllib3.PoolManager(
            timeout=urllib3.Timeout(_TIMEOUT), retries=False, ca_certs=s3.ca_bundle or certifi.where()
        )
        secure = where.scheme == "https"
        self._client: Minio = Minio(
            where.netloc, access_key=s3.access_key, secret_key=s3.secret_key, secure=secure, region=s3.region,
            http_client=self._pool,
        )  # fmt: skip
        self._admin: MinioAdmin = MinioAdmin(
            endpoint=where.netloc, credentials=StaticProvider(s3.access_key, s3.secret_key), secure=secure,
            region=s3.region, http_client=self._pool,
        )  # fmt: skip

    def wait(self, seconds: float) -> None:
        """Wait until it is ready.

        Raises:
            StoreError: it is not, in time.
        """
        import urllib3

        end = time.monotonic() + seconds
        why = ""
        while True:
            try:
                answer = self._pool.request("GET", f"{self.s3.endpoint.rstrip('/')}/minio/health/ready")
                if answer.status == 200:
                    return
                why = f"HTTP {answer.status}"
            except urllib3.exceptions.HTTPError as error:
                why = str(error.__cause__ or error)
            if time.monotonic() >= end:
                break
            time.sleep(min(_PAUSE_SECONDS, max(0.0, end - time.monotonic())))
        raise StoreError(
            f"MinIO was not ready within {seconds:.0f} s", object=self.s3.endpoint, got=why,
            hint="see its pod, and AWS_ENDPOINT_URL",
        )  # fmt: skip

    def bucket(self, name: str) -> None:
        """Make a bucket where there is none.

        Raises:
            StoreError: it cannot be made.
        """
        from minio.error import S3Error

        try:
            if self._client.bucket_exists(name):
                self.say(f"bucket {name} is there")
                return
            self._client.make_bucket(name)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise explain("create", f"bucket {name}", error) from None
        except ValueError as error:
            raise ProjectError("no bucket can be called so", object=name, got=str(error)) from None
        self.say(f"bucket {name} is made")

    def user(self, name: str, credential: Credential, policy_name: str, policy: Mapping[str, Any]) -> None:
        """Make a user with a policy; where both are there they are set anew.

        Raises:
            StoreError: MinIO refuses.
        """
        if credential.access_key == self.s3.access_key:
            raise ProjectError("a user has the administrator's key", object=name, expected="a key of its own")
        self._persist(f"user {name}", lambda: self._admin.policy_add(policy_name, policy=dict(policy)))
        self._persist(f"user {name}", lambda: self._admin.user_add(credential.access_key, credential.secret_key))
        self._persist(f"user {name}", lambda: self._admin.policy_set(policy_name, user=credential.access_key))
        self.say(f"user {name} has policy {policy_name}")

    def _persist(self, what: str, do: Callable[[], object]) -> None:
        """Do it, again where a server that has just started is not quite there."""
        import urllib3
        from minio.error import MinioAdminException

        why = ""
        for _ in Retry().tries():
            try:
                do()
            except urllib3.exceptions.HTTPError as error:
                why = str(error.__cause__ or error)
            except MinioAdminException as error:
                why = _code(error)
                if not str(error._code).startswith("5"):
                    hint = "the credential must be the administrator's (AWS_ACCESS_KEY_ID, or --admin FOLDER)"
                    raise StoreRefused("MinIO refuses", object=what, got=why, hint=hint) from None
            else:
                return
        raise StoreError("MinIO fails, also when tried again", object=what, got=why, hint="see its log")


def policy_name(user: str, bucket: str, prefix: str) -> str:
    """What a user's policy is called on a MinIO that may hold several stores.

    >>> policy_name("hook", "trimtab", "team/a")
    'trimtab-hook.trimtab.team.a'
    """
    return ".".join([f"trimtab-{user}", bucket, *prefix.strip("/").split("/")]).rstrip(".")


def _code(error: Exception) -> str:
    """MinIO's own word; never the request, which held a secret."""
    try:
        body = json.loads(str(getattr(error, "_body", "") or ""))
        return str(body.get("Code") or body.get("Message") or "no reason")
    except (ValueError, AttributeError):
        return f"HTTP {getattr(error, '_code', '?')}"
