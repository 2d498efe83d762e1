"""S3 alone: lost answers, hiccups with a limit, a store that is none, sentences for what is refused."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.servers.fixtures import S3
from tests.servers.minio import free_port
from tests.servers.proxy import Fault, FaultyProxy

from trimtab.core.errors import NotFound, ProjectError, StoreError, StoreRefused, StoreUnfit
from trimtab.core.settings import S3Settings
from trimtab.core.store import Store, open_store, probe
from trimtab.core.store.retry import Retry
from trimtab.core.store.s3 import open_s3

QUICK = Retry(attempts=4, base=0.001)


class Faulty:
    """A store behind a faulty proxy, and the same store without it."""

    def __init__(self, s3: S3, proxy: FaultyProxy) -> None:
        url = s3.fresh()
        self.proxy = proxy
        self.failed: list[str] = []
        self.store: Store = open_s3(
            url, s3.settings._replace(endpoint=proxy.endpoint), on_error=self.failed.append, retry=QUICK
        )
        self.direct: Store = open_s3(url, s3.settings)


@contextmanager
def faulty(s3: S3, faults: Iterable[Fault] = (), then: Fault = "ok") -> Iterator[Faulty]:
    with FaultyProxy(s3.settings.endpoint, faults, then) as proxy:
        yield Faulty(s3, proxy)


@pytest.mark.parametrize(
    "lost", [["drop"], ["busy_done"], ["drop", "drop"], ["busy_done", "drop", "busy"], ["drop", "refuse"]]
)
def test_a_create_whose_answer_was_lost_won(s3: S3, lost: list[Fault]) -> None:
    with faulty(s3, lost) as f:
        assert f.store.create("a/b", b"mine")
        assert f.direct.get("a/b") == b"mine"
        assert f.failed == ["create"] * len(lost)


@pytest.mark.parametrize("lost", [["refuse"], ["busy"], ["drop"], ["busy_done", "busy"]])
def test_a_lost_race_is_told_apart_from_a_lost_answer(s3: S3, lost: list[Fault]) -> None:
    with faulty(s3, lost) as f:
        assert f.direct.create("a/b", b"theirs")
        assert not f.store.create("a/b", b"mine")
        assert f.direct.get("a/b") == b"theirs"


@pytest.mark.parametrize("lost", [["busy"], ["drop"], ["drop"] * 4])
def test_a_rival_of_equal_bytes_is_a_rival(s3: S3, lost: list[Fault]) -> None:
    with faulty(s3, lost) as f:
        assert f.direct.create("a/b", b"the same")
        assert not f.store.create("a/b", b"the same")


def test_a_rival_between_two_tries_wins(s3: S3) -> None:
    with faulty(s3, ["refuse"]) as f:
        tries: list[bool] = []

        def rival(method: str) -> None:
            if method == "PUT":
                tries.append(f.direct.create("a/b", b"theirs") if tries else False)

        f.proxy.before = rival
        assert not f.store.create("a/b", b"mine")
        assert tries == [False, True]
        assert f.direct.get("a/b") == b"theirs"


def test_a_create_that_never_hears_back_reads_back(s3: S3) -> None:
    """Every PUT is carried out and none is answered."""
    with faulty(s3, ["drop", "drop", "drop", "drop"]) as f:
        assert f.store.create("a/b", b"mine")


@pytest.mark.parametrize("fault", ["refuse", "busy", "drop", "busy_done", "half"])
def test_a_hiccup_passes_unseen(s3: S3, tmp_path: Path, fault: Fault) -> None:
    body = secrets.token_bytes(5000)
    with faulty(s3) as f:
        f.direct.put("a/b", body)
        f.proxy.faults.extend([fault])
        assert f.store.get("a/b") == body
        f.proxy.faults.extend([fault])
        f.store.put("a/c", body)
        f.proxy.faults.extend([fault])
        assert list(f.store.list("a/")) == ["a/b", "a/c"]
        f.proxy.faults.extend([fault])
        f.store.download("a/c", tmp_path / "c")
        assert (tmp_path / "c").read_bytes() == body
        f.proxy.faults.extend([fault])
        f.store.upload(tmp_path / "c", "a/d")
        assert f.direct.get("a/d") == body
        if fault != "half":  # an answer to HEAD has no body
            f.proxy.faults.extend([fault])
            assert f.store.exists("a/b")
        f.proxy.faults.extend([fault])
        f.store.delete("a/b")
        assert not f.direct.exists("a/b")


def test_a_list_goes_on_where_it_broke(s3: S3) -> None:
    with faulty(s3) as f:
        for n in range(5):
            f.direct.put(f"a/{n}", b"")
        keys = f.store.list("a/", after="a/0")
        f.proxy.faults.extend(["half", "busy"])
        assert list(keys) == ["a/1", "a/2", "a/3", "a/4"]


def test_a_list_goes_on_behind_a_page(s3: S3) -> None:
    """S3 gives 1,000 keys a page."""
    store = s3.store()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.put(f"many/{n:08d}", b""), range(1_050)))
    assert [int(k[5:]) for k in store.list("many/")] == list(range(1_050))
    assert next(store.list("many/", after="many/00000998")) == "many/00000999"


def test_retries_have_a_limit(s3: S3) -> None:
    with faulty(s3, then="busy") as f:
        calls: dict[str, Callable[[], object]] = {
            "create": lambda: f.store.create("a/b", b""),
            "get": lambda: f.store.get("a/b"),
            "put": lambda: f.store.put("a/b", b""),
            "list": lambda: list(f.store.list("a/")),
            "exists": lambda: f.store.exists("a/b"),
        }
        for operation, call in calls.items():
            f.failed.clear()
            with pytest.raises(StoreError, match="also when tried again"):
                call()
            assert f.failed.count(operation) == QUICK.attempts
            assert len(f.failed) <= 2 * QUICK.attempts  # a create reads back before it gives up
        assert not f.direct.exists("a/b")


def test_a_store_that_is_away_is_said_to_be(s3: S3) -> None:
    away = open_s3(s3.fresh(), s3.settings._replace(endpoint=f"http://127.0.0.1:{free_port()}"), retry=QUICK)
    with pytest.raises(StoreError, match="ee whether the store is up"):
        away.create("a", b"")


def test_a_store_that_ignores_the_condition_is_refused(s3: S3) -> None:
    with faulty(s3, then="ignore") as f, pytest.raises(StoreUnfit, match="no conditional create") as caught:
        probe(f.store, "server")
    assert "If-None-Match" in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_is_refused_says_what_to_do(s3: S3) -> None:
    wrong = s3.settings._replace(secret_key="wrong" * 8)
    if s3.server is not None:  # moto and some proxies take any signature
        with pytest.raises(StoreRefused, match="AWS_SECRET_ACCESS_KEY"):
            open_s3(s3.fresh(), wrong).create("a", b"")
        with pytest.raises(StoreRefused, match=r"Check AWS_ACCESS_KEY_ID\.$"):
            probe(open_s3(s3.fresh(), s3.settings._replace(access_key="nobody")), "run")
        with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY"):
            open_s3(s3.fresh(), wrong).get("a")
    with pytest.raises(StoreRefused, match=r"NoSuchBucket. Make the bucket") as caught:
        probe(open_s3("s3://no-such-bucket-here/x", s3.settings), "run")
    assert caught.value.exit_code == 2
    with pytest.raises(StoreError, match=r"NoSuchBucket. Make the bucket"):
        open_s3("s3://no-such-bucket-here/x", s3.settings).create("a", b"")
    with pytest.raises(StoreError, match="NoSuchBucket"):
        list(open_s3("s3://no-such-bucket-here/x", s3.settings).list(""))


def test_two_prefixes_do_not_see_each_other(s3: S3) -> None:
    one, other = s3.store(), s3.store()
    assert one.create("a", b"1")
    assert other.create("a", b"2")
    assert list(one.list("")) == ["a"]
    with pytest.raises(NotFound, match="nothing is stored"):
        one.get("b")


@pytest.mark.parametrize(
    ("url", "s3settings", "words"),
    [
        ("s3://ab/x", S3Settings(access_key="a", secret_key="b"), "3 to 63"),
        ("s3://Bucket", S3Settings(access_key="a", secret_key="b"), "lower-case"),
        ("s3://bucket/a b", S3Settings(access_key="a", secret_key="b"), "no bucket has such a URL"),
        ("s3://bucket", S3Settings(), "AWS_ACCESS_KEY_ID"),
        ("s3://bucket", S3Settings("localhost:9000", access_key="a", secret_key="b"), "AWS_ENDPOINT_URL"),
        ("s3://bucket", S3Settings("http://x:1/p", access_key="a", secret_key="b"), "without a path"),
        ("s3://bucket", S3Settings(access_key="a", secret_key="b", ca_bundle="/no/file"), "AWS_CA_BUNDLE"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_any_request(url: str, s3settings: S3Settings, words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        open_s3(url, s3settings)


@pytest.mark.parametrize("url", ["", "gs://bucket/x", "file://host/x", "file://", "http://127.0.0.1:9000/b"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ProjectError, match="TRIMTAB_STORE"):
        open_store(url)


def test_secrets_stay_out_of_sentences(s3: S3) -> None:
    settings = S3Settings(f"http://127.0.0.1:{free_port()}", access_key="keyname", secret_key="topsecret")
    store = open_s3("s3://bucket/x", settings, retry=QUICK)
    with pytest.raises(StoreError) as caught:
        store.create("a", b"")
    assert "topsecret" not in str(caught.value)
    assert "Signature" not in str(caught.value)
    assert "topsecret" not in repr(settings)
