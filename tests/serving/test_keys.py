"""API keys: hashed, scoped, ended and rotated without a restart; who needs one, and what they never show in."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.serving.bundles import Place, Running, running
from tests.serving.raw import Raw, post

from trimtab.core import tokens
from trimtab.core.errors import ProjectError, RequestError
from trimtab.core.records import rfc3339, utcnow
from trimtab.serving.keys import LOOK_SECONDS, Keys, key_required

V1, V2 = "/v1/models/demand:predict", "/v2/models/demand/infer"
ROWS = {"instances": [[1, 2, 3, 4]]}
TENSOR = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_known_by_its_hash_and_named(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    for i in range(50):
        tokens.accept(path, f"key-{i}", f"client-{i}", ("predict",))
    assert "key-7" not in path.read_text()
    keys = Keys(path)
    assert keys.check(bearer("key-7")) == "client-7"
    assert keys.check(b"bearer   key-49 ") == "client-49"
    for wrong in (None, b"", b"Bearer", b"Bearer ", b"Bearer key-50", b"Basic key-7", b"key-7", b"Bearer key-7 x"):
        with pytest.raises(RequestError, match="need a key") as refused:
            keys.check(wrong)
        assert refused.value.status == 401
        assert "key-" not in str(refused.value)
    keys.required = False
    assert keys.check(None) is None


def test_a_key_for_something_else_is_403_and_one_that_has_ended_401(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    tokens.accept(path, "labels", "shop", ("feedback",))
    tokens.accept(path, "old", "shop", ("predict",), rfc3339(utcnow() - timedelta(seconds=1)))
    tokens.accept(path, "all", "shop")
    keys = Keys(path)
    with pytest.raises(RequestError, match="not for predictions") as refused:
        keys.check(bearer("labels"))
    assert refused.value.status == 403
    with pytest.raises(RequestError, match="ended") as refused:
        keys.check(bearer("old"))
    assert refused.value.status == 401
    assert keys.check(bearer("all")) == "shop"
    feedback, hook = tokens.TokenFile(path, "feedback"), tokens.TokenFile(path)
    assert [feedback.accepts(token) for token in ("labels", "old", "all")] == [True, False, True]
    assert [hook.accepts(token) for token in ("labels", "old", "all")] == [False, False, True]


def test_the_file_is_looked_at_once_a_second_and_an_unreadable_one_lets_nobody_in(tmp_path: Path) -> None:
    path, clock = tmp_path / "tokens.json", Clock()
    tokens.accept(path, "one", "a")
    keys = Keys(path, clock=clock)
    assert keys.check(bearer("one")) == "a"
    tokens.revoke(path, "a")
    tokens.accept(path, "two", "b")
    assert keys.check(bearer("one")) == "a"
    clock.now += LOOK_SECONDS
    assert keys.check(bearer("two")) == "b"
    with pytest.raises(RequestError):
        keys.check(bearer("one"))
    path.write_text("no json")
    clock.now += LOOK_SECONDS
    with pytest.raises(RequestError):
        keys.check(bearer("two"))


@pytest.mark.parametrize(
    ("told", "host", "auths", "needed"),
    [
        (None, "127.0.0.1", [], False),
        (None, "localhost", ["default"], False),
        (None, "0.0.0.0", [], True),
        (None, "10.1.2.3", ["default"], True),
        (None, "0.0.0.0", ["open"], False),
        (None, "0.0.0.0", ["open", "default"], True),
        (None, "127.0.0.1", ["open", "key"], True),
        (False, "0.0.0.0", ["key"], False),
        (True, "127.0.0.1", ["open"], True),
    ],
)
def test_who_needs_a_key(told: bool | None, host: str, auths: list[str], needed: bool) -> None:
    assert key_required(told, host, auths) is needed


@pytest.mark.parametrize(
    "entry",
    [
        {"scopes": "predict"},
        {"scopes": ["all"]},
        {"expires": "soon"},
        {"expires": "2026-11-21T14:00:00"},
        {"sha256": 3},
    ],
)
def test_an_odd_entry_makes_the_file_no_file_of_keys(tmp_path: Path, entry: dict[str, Any]) -> None:
    path = tmp_path / "tokens.json"
    good = {"name": "x", "sha256": tokens.digest("x"), **entry}
    if entry.keys() == {"sha256"}:
        path.write_text(json.dumps({"tokens": [good]}))
        with pytest.raises(RequestError):  # a hash that is none matches nothing
            Keys(path).check(bearer("x"))
        return
    path.write_text(json.dumps({"tokens": [good]}))
    with pytest.raises(ProjectError, match="not a file of tokens"):
        tokens.read_entries(path)


def trimtab_keys(place: Place, *arguments: str) -> tuple[int, str, str]:
    environ = {**place.environ, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "trimtab.cli.app", "keys", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout.strip(), done.stderr


def ask(server: Running, path: str, body: Any, key: str = "") -> tuple[int, dict[str, str], Any]:
    with Raw(server.url) as raw:
        return raw.ask(post(path, body, **({"Authorization": f"Bearer {key}"} if key else {})))


def test_keys_are_made_rotated_and_revoked_while_the_server_runs(place: Place) -> None:
    version = place.publish("demand", "numbers", 0, serving={"auth": "key"})
    place.say("demand", "promoted", version)
    status, first, _ = trimtab_keys(place, "add", "shop")
    assert status == 0
    with running(place, "demand") as server:
        for path, body in ((V1, ROWS), (V2, TENSOR), (f"/v2/models/demand/versions/{version}/infer", TENSOR)):
            status, headers, answer = ask(server, path, body)
            assert (status, answer["object"], headers["www-authenticate"]) == (401, "Authorization", "Bearer")
            assert ask(server, path, body, first)[0] == 200
        assert server.get("/v2/health/ready")[0] == 200
        status, _, answer = ask(server, "/feedback", {"labels": [{"key": "k", "value": 1}]}, first)
        assert status == 401  # it is for predictions alone
        status, second, _ = trimtab_keys(place, "rotate", "shop", "--hours", "1")
        server.until(lambda: ask(server, V1, ROWS, second)[0] == 200)
        assert ask(server, V1, ROWS, first)[0] == 200
        assert trimtab_keys(place, "revoke", "shop")[0] == 0
        server.until(lambda: ask(server, V1, ROWS, second)[0] == 401)
        assert ask(server, V1, ROWS, first)[0] == 401
        # Another version whose project asks for none.
        place.say("demand", "promoted", place.publish("demand", "numbers", 1, serving={"auth": "open"}))
        server.until(lambda: ask(server, V1, ROWS)[0] == 200)
        said = server.log.read_text()
    for secret in (first, second):
        assert secret not in said
        assert secret not in place.settings.tokens.read_text()


def test_the_commands_mistakes_are_sentences(place: Place) -> None:
    assert "trimtab keys add NAME" in trimtab_keys(place, "list")[1]
    assert trimtab_keys(place, "add", "a", "--scope", "feedback", "--days", "3", "--json")[0] == 0
    status, shown, _ = trimtab_keys(place, "list", "--json")
    (only,) = json.loads(shown)["keys"]
    assert (status, only["name"], only["scopes"], only["ended"]) == (0, "a", ["feedback"], False)
    for arguments, message in (
        (("add", "a"), "there already"),
        (("revoke", "b"), "no key has this name"),
        (("add", "c", "--scope", "x"), "no such scope"),
        (("add",), "has a name"),
    ):
        status, _, error = trimtab_keys(place, *arguments)
        assert (status, message in error, "Traceback" in error) == (2, True, False)
