"""`trimtab submit` and its kin as a user types them: what they say, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.pipelines.conftest import QUICK
from tests.pipelines.kubeflow_world import FAST, IMAGE, Stages, compile_once, wrong_column
from tests.servers.fixtures import S3
from tests.servers.kubeflow import StandIn

from trimtab.cli.app import main
from trimtab.core import runs
from trimtab.core.errors import ProjectError
from trimtab.core.run_starts import note_failed_start
from trimtab.core.settings import load
from trimtab.core.store import Store, open_store
from trimtab.pipelines import kubeflow_follow

Trimtab = Callable[..., int]


@pytest.fixture
def store(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Store:
    place = s3.fresh()
    for name, value in s3.environ(place).items():
        monkeypatch.setenv(name, value)
    return open_store(place, load())


@pytest.fixture
def world(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(Stages(store)) as standin:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", standin.url)
        monkeypatch.setenv("TRIMTAB_STAGE_IMAGE", IMAGE)
        monkeypatch.setenv("KUBECONFIG", "/nonexistent")
        yield standin


@pytest.fixture
def trimtab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trimtab:
    """Run a command here; its exit code."""
    compile_once(monkeypatch)
    (tmp_path / "project.yaml").write_text(QUICK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kubeflow_follow.Follower.__init__, "__defaults__", _with_fast())

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["trimtab", *words])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run


def _with_fast() -> tuple[object, ...]:
    given = kubeflow_follow.Follower.__init__.__defaults__
    assert given is not None
    return tuple(FAST if isinstance(value, kubeflow_follow.Pace) else value for value in given)


def stages(world: StandIn) -> Stages:
    assert isinstance(world.backend.executor, Stages)
    return world.backend.executor


def test_a_run_is_submitted_followed_listed_and_told_again(
    world: StandIn, store: Store, trimtab: Trimtab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trimtab("submit", "--wait", "--reason", "first") == 0
    said = capsys.readouterr()
    assert "/#/runs/details/" in said.err
    assert "train.linear" in said.err
    assert "v1-0badc0de" in said.out
    assert trimtab("submit", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["found"], facts["version_of_model"]) == ("done", "v1-0badc0de")
    assert trimtab("runs", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["place"], listed["state"], listed["reason"]) == ("cluster", "succeeded", "first")


def test_the_exit_code_tells_how_it_ended(
    world: StandIn, store: Store, trimtab: Trimtab, capsys: pytest.CaptureFixture[str]
) -> None:
    stages(world).silent = {"train": "Killed\n"}
    assert trimtab("submit", "--wait") == 1
    assert "Killed" in capsys.readouterr().err
    (key,) = runs.list_runs(store)
    assert trimtab("logs", key[:8], "train.linear") == 0
    assert "Killed" in capsys.readouterr().out
    stages(world).silent, stages(world).fail = {}, {"ingest": wrong_column()}
    assert trimtab("submit", "--wait") == 2, "a mistake in the data is the user's"
    assert "column 'age' holds text" in capsys.readouterr().err
    stages(world).fail, stages(world).hold = {}, {"train"}
    assert trimtab("submit", "--wait", "--timeout", "0.005") == 4
    assert f"trimtab cancel {key}" in capsys.readouterr().err
    assert trimtab("cancel", key) == 0
    assert "cancelled" in capsys.readouterr().out
    assert runs.attempts(store, key)[-1].state == "cancelled"
    world.forbid = "POST .*/runs"
    assert trimtab("submit") == 2
    assert "403" in capsys.readouterr().err


def test_a_start_that_failed_before_it_had_a_key_is_listed_and_told(
    world: StandIn, store: Store, trimtab: Trimtab, capsys: pytest.CaptureFixture[str]
) -> None:
    note_failed_start(store, "5f0e", ProjectError("parameter release", expected="ask or hold", got="'no'"))
    assert trimtab("runs", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["key"], listed["state"], listed["place"]) == ("5f0e", "failed", "cluster")
    assert "parameter release" in listed["reason"]
    for words in (["runs"], ["runs", "5f0e"], ["logs", "5f0e"]):
        assert trimtab(*words) == 0
        assert "parameter" in capsys.readouterr().out  # a narrow table breaks the sentence
    stages(world).silent = {"define": "Killed\n"}
    assert trimtab("submit", "--wait") == 1
    (key,) = runs.list_runs(store)
    capsys.readouterr()
    (run_id,) = world.backend.runs
    note_failed_start(store, run_id, ProjectError("parameter data", got="nothing"))
    assert trimtab("logs", key) == 0
    said = capsys.readouterr().out
    assert "Killed" in said
    assert "define failed: parameter data" in said
    assert trimtab("logs", "no such key") == 2


def test_what_cannot_be_submitted_says_what_to_do(
    world: StandIn, trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRIMTAB_STAGE_IMAGE")
    assert trimtab("submit") == 2
    assert "make images REGISTRY=" in capsys.readouterr().err.replace("\n", " ")
    monkeypatch.setenv("TRIMTAB_STAGE_IMAGE", IMAGE)
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT")
    assert trimtab("submit") == 2
    assert "port-forward" in capsys.readouterr().err
    assert trimtab("submit", "--host", "http://localhost:1") == 1
    assert "nothing listens there" in capsys.readouterr().err
    monkeypatch.setenv("TRIMTAB_STORE", "file:///tmp/nowhere")
    assert trimtab("submit", "--host", world.url) == 2
    assert "pods do not see" in capsys.readouterr().err
    assert world.backend.runs == {}


def test_schedules_and_pruning(world: StandIn, trimtab: Trimtab, capsys: pytest.CaptureFixture[str]) -> None:
    assert trimtab("submit", "--every", "6h") == 0
    assert trimtab("runs", "--schedules") == 0
    assert "every 21600 s" in capsys.readouterr().out
    assert trimtab("submit", "--every", "5s") == 2
    assert trimtab("runs", "--delete-schedule", "quick") == 0
    assert world.backend.recurring == {}
    capsys.readouterr()
    assert trimtab("prune", "--days", "0") == 0
    assert "nothing to take away" in capsys.readouterr().out


def test_the_ca_of_the_stores_own_is_part_of_what_is_submitted(
    world: StandIn, trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trimtab("submit", "--every", "6h") == 0
    monkeypatch.setenv("TRIMTAB_S3_CA_CONFIG_MAP", "trimtab-s3-ca")
    assert trimtab("submit", "--every", "6h") == 0
    with_ca = ["trimtab-s3-ca" in str(version) for version in world.backend.versions.values()]
    assert with_ca == [False, True]
    monkeypatch.setenv("TRIMTAB_S3_CA_CONFIG_MAP", "Not One")
    assert trimtab("submit", "--every", "6h") == 2


def test_pruning_says_what_it_would_take_and_takes_it_when_told(
    world: StandIn, trimtab: Trimtab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for epochs in (4, 3, 2):
        (tmp_path / "project.yaml").write_text(QUICK.replace("epochs: 4", f"epochs: {epochs}"))
        assert trimtab("submit") == 0
    assert [world.backend.wait(run_id)["state"] for run_id in world.backend.runs] == ["SUCCEEDED"] * 3
    capsys.readouterr()
    assert trimtab("prune", "--days", "0", "--keep", "1") == 0
    said = capsys.readouterr().out
    assert said.count("no run and no schedule names it") == 2
    assert "--yes" in said
    assert len(world.backend.runs) == len(world.backend.versions) == 3
    assert trimtab("prune", "--days", "0", "--keep", "1", "--yes") == 0
    assert "deleted 3 runs, 2 pipeline versions" in capsys.readouterr().out
    assert (len(world.backend.runs), len(world.backend.versions)) == (0, 1)
    for words in (["--days", "-1"], ["--days", "nan"], ["--days", "1e9"], ["--keep", "0"]):
        assert trimtab("prune", *words) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--image", "nope"],
        ["--every", "5x"],
        ["--cron", "0 2 * * *"],
        ["--cron", "0 0 2 * * *", "--every", "1d"],
        ["--every", "6h", "--wait"],
        ["--every", "6h", "--again"],
        ["--name", "nightly"],
        ["--host", "ftp://x"],
        ["--token-file", "/nonexistent"],
    ],
)
def test_a_wrong_option_is_told_before_the_store_is_asked(
    trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("TRIMTAB_STORE", "s3://bucket/prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TRIMTAB_STAGE_IMAGE", IMAGE)
    assert trimtab("submit", *words) == 2
