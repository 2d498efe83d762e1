"""Who may write what: the contract's table, and each of its denials by a real MinIO with the real S3 client."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.servers.fixtures import NONE_THERE, S3
from typer.testing import CliRunner, Result

from trimtab.cli.commands import make_app
from trimtab.core import grants
from trimtab.core.errors import NotFound, ProjectError, StoreError, StoreRefused
from trimtab.core.settings import S3Settings, load
from trimtab.core.store import Store
from trimtab.core.store.admin import Administrator, policy_name, read_users
from trimtab.core.store.retry import Retry
from trimtab.core.store.s3 import S3Store, open_s3
from trimtab.doctor.checks import Where
from trimtab.doctor.policies import check_own

# Each row of the contract's table: who writes it.
WRITERS = {
    "datasets/digits/0a1b/part-0.parquet": {"pipeline"},
    "datasets/digits/0a1b/log.json": {"pipeline", "hook"},
    "runs/0a1b/request.json": {"pipeline", "hook"},
    "runs/by-id/42.json": {"pipeline", "hook"},
    "models/digits/versions/v1-0a1b2c3d/manifest.json": {"pipeline"},
    "models/digits/rollouts/00000001/requested.json": {"pipeline", "hook", "oncall"},
    "models/digits/rollouts/00000001/evidence-1.json": {"hook"},
    "models/digits/refused/v1-0a1b2c3d/s1.json": {"server"},
    "models/digits/ledger/00000001.json": {"hook", "oncall"},
    "predictions/digits/v1-0a1b2c3d/2026-11-21T14/s1-00000001.parquet": {"server"},
    "labels/digits/2026-11-21T14/s1-00000001.parquet": {"server"},
    "windows/digits/v1-0a1b2c3d/00000001/cut.json": {"watch"},
    "campaigns/digits/00000001/opened.json": {"hook"},
    "campaigns/digits/00000001/retrain-00000001/data.json": {"hook"},
    "campaigns/digits/00000001/closed.json": {"hook"},
    "campaigns/digits/controls/00000001.json": {"oncall"},
    "reports/windows/one.html": {"pipeline", "watch", "hook"},
    "probe/server/0a1b": set(grants.USERS),
    "elsewhere/x": set(),
}


def test_the_table_says_what_the_contract_says() -> None:
    assert {key: {u for u in grants.USERS if grants.may_write(u, key)} for key in WRITERS} == WRITERS


def test_policies_name_no_bucket_but_theirs_and_no_wildcard_action() -> None:
    for user in grants.USERS:
        for statement in grants.policy(user, "trimtab", "team")["Statement"]:
            assert not any("*" in action for action in statement["Action"])
            assert all(r.startswith("arn:aws:s3:::trimtab") for r in statement["Resource"])
            if statement["Sid"] in {"Read", "Write", "Delete"}:
                assert all(r.startswith("arn:aws:s3:::trimtab/team/") for r in statement["Resource"])
    with pytest.raises(ProjectError, match="oncall"):
        grants.policy("root", "trimtab")
    with pytest.raises(ProjectError, match="prefix"):
        grants.artifacts_policy("mlpipeline", "/")


@dataclass
class Setup:
    """A bucket of its own on the session's MinIO, with our users as files."""

    s3: S3
    bucket: str
    artifacts: str
    users: Path

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/team"

    def run(self, *arguments: str, **environ: str) -> Result:
        given = {**self.s3.environ(self.url), **environ}
        command = ["setup", "--users", str(self.users), "--artifacts", f"{self.artifacts}/kfp", *arguments]
        return CliRunner().invoke(make_app("setup"), command, env=given)

    def settings(self, user: str) -> S3Settings:
        one = read_users(self.users)[user]
        return self.s3.settings._replace(access_key=one.access_key, secret_key=one.secret_key)

    def store(self, user: str, url: str = "") -> Store:
        # MinIO hangs up on a PUT that it denies without reading it: then the denial comes with the next try.
        return open_s3(url or self.url, self.settings(user), retry=Retry(attempts=8, base=0.01))


@pytest.fixture(scope="module")
def place(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    if s3.server is None:
        pytest.skip(f"users are made on a MinIO of our own: {NONE_THERE}")
    users = tmp_path_factory.mktemp("users")
    token = secrets.token_hex(4)
    for name in (*grants.USERS, "artifacts-digits", "artifacts-bikes"):
        (users / name / "..data").mkdir(parents=True)  # as a mounted Secret has it
        (users / name / "access_key").write_text(f"{token}-{name}\n")
        (users / name / "secret_key").write_text(secrets.token_hex(12))
    made = Setup(s3, f"grants-{token}", f"artifacts-{token}", users)
    done = made.run()
    assert done.exit_code == 0, done.output
    return made


@pytest.mark.parametrize("user", grants.USERS)
def test_each_user_writes_what_the_table_says_and_nothing_else(place: Setup, user: str) -> None:
    store = place.store(user)
    # A name of its own: what one user has created, another is told that it is there, not that it may not.
    keys = {key: key.replace("/digits/", f"/{user}/") for key in WRITERS}
    for key, writers in WRITERS.items():
        mine = f"{keys[key]}.{user}" if keys[key] == key else keys[key]
        if user in writers:
            assert store.create(mine, b"one"), key
            assert not store.create(mine, b"two"), key
            assert store.get(mine) == b"one"
        else:
            with pytest.raises(StoreRefused, match="AccessDenied"):
                store.create(mine, b"one")
            with pytest.raises(StoreRefused, match="AccessDenied"):
                store.put(mine, b"one")
            with pytest.raises(NotFound):
                store.get(mine)
        if user in writers and not key.startswith("probe/"):
            with pytest.raises(StoreRefused, match="AccessDenied"):
                store.delete(mine)
    outside = place.store(user, f"s3://{place.bucket}/other")
    for ask in (lambda: outside.get("x"), lambda: list(outside.list("")), lambda: outside.create("probe/x", b"")):
        with pytest.raises(StoreRefused, match="AccessDenied"):
            ask()


def test_everyone_reads_and_a_large_file_goes_up_in_parts(place: Setup, tmp_path: Path) -> None:
    big = tmp_path / "model.onnx"
    big.write_bytes(b"x" * (17 << 20))
    key = "models/big/versions/v1-0a1b2c3d/model.onnx"
    place.store("pipeline").upload(big, key)
    for user in grants.USERS:
        assert list(place.store(user).list("models/big/")) == [key]
        assert place.store(user).exists(key)
    with pytest.raises(StoreRefused):
        place.store("server").upload(big, key.replace("v1", "v2"))


def test_a_projects_artifacts_are_its_alone(place: Setup) -> None:
    digits = place.store("artifacts-digits", f"s3://{place.artifacts}/kfp/digits")
    digits.put("run/model", b"model")
    assert list(digits.list("run/")) == ["run/model"]
    assert digits.get("run/model") == b"model"
    bikes = place.store("artifacts-bikes", f"s3://{place.artifacts}/kfp/digits")
    for ask in (lambda: bikes.get("run/model"), lambda: bikes.put("run/model", b"")):
        with pytest.raises(StoreRefused, match="AccessDenied"):
            ask()
    with pytest.raises(StoreRefused, match="AccessDenied"):
        list(bikes.list("run/"))
    with pytest.raises(StoreRefused, match="AccessDenied"):
        place.store("artifacts-digits").get("models/x")
    with pytest.raises(StoreRefused, match="AccessDenied"):
        place.store("pipeline", f"s3://{place.artifacts}/kfp").get("digits/run/model")


@pytest.mark.parametrize("user", grants.USERS)
def test_what_a_user_may_write_can_be_asked_without_writing(place: Setup, user: str) -> None:
    store = place.store(user)
    assert isinstance(store, S3Store)
    asked = {key.replace("digits", "asked"): writers for key, writers in WRITERS.items()}
    assert {key for key in asked if store.allows(key)} == {key for key, writers in asked.items() if user in writers}
    assert not any(store.exists(key) for key in asked)


@pytest.mark.parametrize("user", ["hook", "artifacts-digits"])
def test_the_doctor_tells_whose_rights_a_credential_has(place: Setup, user: str) -> None:
    own = place.settings(user)
    keys = {"AWS_ACCESS_KEY_ID": own.access_key, "AWS_SECRET_ACCESS_KEY": own.secret_key}
    (finding,) = check_own(Where(load(place.s3.environ(place.url) | keys)))
    expected = ("ok", "what `hook` may") if user == "hook" else ("warning", "the rights of none of our users")
    assert (finding.state, expected[1] in finding.says) == (expected[0], True)


def test_setup_again_changes_nothing_and_takes_a_new_secret(place: Setup) -> None:
    secret = place.users / "watch" / "secret_key"
    secret.write_text(secrets.token_hex(12))
    with pytest.raises(StoreRefused):
        list(place.store("watch").list(""))
    again = place.run("--admin", str(admin(place)), AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert again.exit_code == 0, again.output
    assert f"bucket {place.bucket} is there" in again.output
    assert place.store("watch").create("windows/again/x", b"1")
    for user in read_users(place.users).values():
        assert user.secret_key not in again.output
        assert user.secret_key not in repr(user)


def admin(place: Setup) -> Path:
    folder = place.users.parent / "admin"
    folder.mkdir(exist_ok=True)
    (folder / "access_key").write_text(place.s3.settings.access_key)
    (folder / "secret_key").write_text(place.s3.settings.secret_key)
    return folder


def test_only_an_administrator_sets_up_and_no_secret_is_told(place: Setup) -> None:
    own = place.settings("hook")
    refused = place.run(AWS_ACCESS_KEY_ID=own.access_key, AWS_SECRET_ACCESS_KEY=own.secret_key)
    assert isinstance(refused.exception, StoreRefused | StoreError | ProjectError)
    assert own.secret_key not in str(refused.exception)
    wrong = place.run(AWS_SECRET_ACCESS_KEY="wrong-secret")
    assert isinstance(wrong.exception, StoreRefused)
    assert "wrong-secret" not in str(wrong.exception)


def test_an_absent_store_is_waited_for_and_then_said(tmp_path: Path) -> None:
    away = S3Settings(endpoint="http://127.0.0.1:9", access_key="abc", secret_key="0123456789")
    with pytest.raises(StoreError, match="was not ready within 1 s"):
        Administrator(away, lambda _: None).wait(0.6)


def test_users_that_are_not_as_they_should_be(tmp_path: Path) -> None:
    def users(**folders: tuple[str, str]) -> Path:
        base = tmp_path / secrets.token_hex(4)
        base.mkdir()
        for name, (access, secret) in folders.items():
            (base / name).mkdir()
            (base / name / "access_key").write_text(access)
            (base / name / "secret_key").write_text(secret)
        return base

    good = ("abc", "0123456789")
    for folder, words in (
        (users(), "no user is given"),
        (users(root=good), "no user's"),
        (users(hook=("ab", "0123456789")), "too short"),
        (users(hook=good, watch=good), "share"),
    ):
        with pytest.raises(ProjectError, match=words):
            read_users(folder)
    (tmp_path / "half" / "hook").mkdir(parents=True)
    with pytest.raises(ProjectError, match="access_key"):
        read_users(tmp_path / "half")
    with pytest.raises(ProjectError, match="no such folder"):
        read_users(tmp_path / "none")


def test_policies_are_written_for_an_s3_that_others_set_up(tmp_path: Path) -> None:
    environ = {"TRIMTAB_STORE": "s3://trimtab/team"}
    done = CliRunner().invoke(make_app("setup"), ["setup", "--policies", str(tmp_path / "p")], env=environ)
    assert done.exit_code == 0, done.output
    assert {p.stem for p in (tmp_path / "p").iterdir()} == set(grants.USERS)
    assert json.loads((tmp_path / "p" / "hook.json").read_text()) == grants.policy("hook", "trimtab", "team")
    more = ["setup", "--policies", str(tmp_path / "more"), "--artifacts", "kubeflow/runs"]
    done = CliRunner().invoke(make_app("setup"), more, env=environ)
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "more" / "artifacts-trimtab.json").read_text())
    assert written == grants.artifacts_policy("kubeflow", "runs/trimtab")
    (tmp_path / "file").write_text("x")
    for wrong in (["--policies", str(tmp_path / "file")], ["--policies", str(tmp_path / "q"), "--artifacts", "BAD"]):
        refused = CliRunner().invoke(make_app("setup"), ["setup", *wrong], env=environ)
        assert isinstance(refused.exception, ProjectError), refused.output
    assert not (tmp_path / "q").exists()
    folder = CliRunner().invoke(make_app("setup"), ["setup", "--policies", "p"], env={"TRIMTAB_STORE": "file:///x"})
    assert isinstance(folder.exception, ProjectError)


def test_policy_names_tell_stores_apart() -> None:
    assert policy_name("hook", "trimtab", "") == "trimtab-hook.trimtab"
    assert policy_name("hook", "trimtab", "a/b") != policy_name("hook", "trimtab", "a")
