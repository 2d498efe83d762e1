"""Real S3 for tests: MinIO from `.servers/`, or whatever TRIMTAB_TEST_S3 names; moto where only speed is needed."""

from __future__ import annotations

import os
import secrets
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.servers import docker as dockers
from tests.servers.docker import Docker
from tests.servers.minio import BINARY, MinioServer

from trimtab.core import settings
from trimtab.core.settings import S3Settings
from trimtab.core.store import Store
from trimtab.core.store.retry import Retry
from trimtab.core.store.s3 import open_s3

if TYPE_CHECKING:
    from minio import Minio

NONE_THERE = (
    "no S3 to test with: run `make servers` (builds MinIO), or set TRIMTAB_TEST_S3=s3://bucket/prefix with AWS_*"
)


@dataclass(frozen=True)
class S3:
    """An S3 that tests may write to.

    Attributes:
        settings: how to reach it.
        base: `s3://bucket` or `s3://bucket/prefix`; each test takes a prefix of its own below.
        server: the process, where it is ours.
    """

    settings: S3Settings
    base: str
    server: MinioServer | None = None

    def store(self, retry: Retry | None = None) -> Store:
        """A store below a fresh prefix."""
        return open_s3(self.fresh(), self.settings, retry=retry)

    def fresh(self) -> str:
        """The URL of a prefix that nobody has used."""
        return f"{self.base}/t-{secrets.token_hex(6)}"

    def environ(self, url: str) -> dict[str, str]:
        """The environment in which a child process uses a store of this S3."""
        return {
            "TRIMTAB_STORE": url,
            "AWS_ENDPOINT_URL": self.settings.endpoint,
            "AWS_REGION": self.settings.region,
            "AWS_ACCESS_KEY_ID": self.settings.access_key,
            "AWS_SECRET_ACCESS_KEY": self.settings.secret_key,
            "AWS_SESSION_TOKEN": self.settings.session_token,
            "AWS_CA_BUNDLE": self.settings.ca_bundle,
        }


def client(s3: S3Settings) -> Minio:
    """A bare client of that S3, for what a store does not do: buckets."""
    from minio import Minio

    where = urllib.parse.urlsplit(s3.endpoint)
    return Minio(
        where.netloc,
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        secure=where.scheme == "https",
        region=s3.region,
    )


def described() -> str:
    """Which S3 tests use, for the head of pytest's report."""
    given = os.environ.get("TRIMTAB_TEST_S3")
    return given or (f"MinIO from {BINARY.parent.name}/" if BINARY.exists() else NONE_THERE)


def without(why: str = NONE_THERE) -> NoReturn:
    """Where a server is missing: skip with the reason shown, and fail where CI counts on it."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3, shared by the session."""
    if url := os.environ.get("TRIMTAB_TEST_S3"):
        yield S3(settings.load().s3, url.rstrip("/"))
        return
    if not BINARY.exists():
        without()
    server = MinioServer(tmp_path_factory.mktemp("minio"))
    server.start()
    try:
        ours = S3Settings(endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key)
        client(ours).make_bucket("trimtab")
        yield S3(ours, "s3://trimtab", server)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def moto() -> Iterator[S3]:
    """moto's S3 in a thread of this process: a second implementation, in memory."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        ours = S3Settings(endpoint=f"http://{host}:{port}", access_key="tester", secret_key="tester")
        client(ours).make_bucket("trimtab")
        yield S3(ours, "s3://trimtab")
    finally:
        server.stop()


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A real dockerd, shared by the session, and by other sessions at the same time."""
    if dockers.find() is None:
        without(dockers.NONE_THERE)
    with Docker() as daemon:
        yield daemon
