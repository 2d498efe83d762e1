"""What only a server of our own can be asked: users with few rights, and a server that is killed."""

from __future__ import annotations

import secrets
import threading
import urllib.parse
from pathlib import Path

import pytest
from tests.servers.fixtures import S3, client, without
from tests.servers.minio import BINARY, MinioServer

from trimtab.core.errors import NotFound, StoreError
from trimtab.core.settings import S3Settings
from trimtab.core.store import probe
from trimtab.core.store.retry import Retry
from trimtab.core.store.s3 import open_s3


def limited(s3: S3, prefix: str) -> S3Settings:
    """A user who may do everything below a prefix, and nothing elsewhere."""
    from minio.credentials.providers import StaticProvider
    from minio.minioadmin import MinioAdmin

    name, secret, bucket = f"u{secrets.token_hex(4)}", secrets.token_hex(12), s3.base.removeprefix("s3://")
    admin = MinioAdmin(
        endpoint=urllib.parse.urlsplit(s3.settings.endpoint).netloc,
        credentials=StaticProvider(s3.settings.access_key, s3.settings.secret_key),
        secure=False,
    )
    arn = f"arn:aws:s3:::{bucket}"
    statements = [
        {"Effect": "Allow", "Action": ["s3:*Object"], "Resource": [f"{arn}/{prefix}/*"]},
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [arn],
            "Condition": {"StringLike": {"s3:prefix": [f"{prefix}/*"]}},
        },
    ]
    admin.user_add(name, secret)
    admin.policy_add(name, policy={"Version": "2012-10-17", "Statement": statements})
    admin.policy_set(name, user=name)
    return s3.settings._replace(access_key=name, secret_key=secret)


def test_a_user_of_one_prefix_can_work_there_and_nowhere_else(s3: S3, tmp_path: Path) -> None:
    if s3.server is None:
        pytest.skip("TRIMTAB_TEST_S3 is not ours to add users to")
    url = s3.fresh()
    user = limited(s3, url.rpartition("/")[2])
    store = open_s3(url, user)
    probe(store, "stage")
    assert store.create("a/b", b"1")
    assert list(store.list("")) == ["a/b"]
    with pytest.raises(NotFound):
        store.get("a/c")
    assert not store.exists("a/c")
    store.download("a/b", tmp_path / "b")
    other = open_s3(s3.fresh(), user)
    with pytest.raises(StoreError, match=r"AccessDenied. Give this S3 user the rights"):
        other.create("a", b"")
    with pytest.raises(StoreError, match="AccessDenied"):
        list(other.list(""))


@pytest.mark.campaign
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    """Four writers go on creating while the server is killed (-9) and started again, five times."""
    if not BINARY.exists():
        without()
    server = MinioServer(tmp_path / "minio")
    server.start()
    port = int(server.endpoint.rpartition(":")[2])
    settings = S3Settings(server.endpoint, access_key=server.access_key, secret_key=server.secret_key)
    client(settings).make_bucket("trimtab")
    store = open_s3("s3://trimtab/x", settings, retry=Retry(attempts=600, base=0.05, cap=0.5))
    stop, made = threading.Event(), [0] * 4
    lost: list[str] = []

    def write(who: int) -> None:
        while not stop.is_set():
            if not store.create(f"w/{who}/{made[who]:08d}", f"{who} {made[who]}".encode() * 1000):
                lost.append(f"{who} {made[who]}")  # nobody else writes there: its own PUT was taken for a rival's
            made[who] += 1

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    try:
        for writer in writers:
            writer.start()
        for _ in range(5):
            seen = sum(made)
            while sum(made) < seen + 40:
                stop.wait(0.01)
            server.stop(hard=True)
            server.start(port)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    try:
        assert lost == []
        for who in range(4):
            assert list(store.list(f"w/{who}/")) == [f"w/{who}/{n:08d}" for n in range(made[who])]
            for n in range(made[who]):
                assert store.get(f"w/{who}/{n:08d}") == f"{who} {n}".encode() * 1000
    finally:
        server.stop()
