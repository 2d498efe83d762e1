"""`trimtab compile` and `trimtab runs`, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core import runs
from trimtab.core.errors import ProjectError
from trimtab.core.runs import RunRequest
from trimtab.core.store import Store

runner = CliRunner()


@pytest.fixture
def told(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of the user's environment."""
    monkeypatch.setenv("TRIMTAB_STORE", store.url)
    monkeypatch.setenv("COLUMNS", "200")
    return store


def request(**changes: str) -> RunRequest:
    return RunRequest(project={"name": "quick"}, data={"sources": []}, source_digest="d", reason="a test", **changes)  # type: ignore[arg-type]


def test_compile_writes_both_documents_and_says_what_a_cluster_still_needs(
    told: Store, project_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "quick.yaml"
    done = runner.invoke(make_app(), ["compile", str(project_file), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert len(list(yaml.safe_load_all(out.read_text()))) == 2
    assert "--image" in done.output
    assert "s3://" in done.output


def test_compile_as_json(told: Store, project_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "quick.yaml"
    image = "r.example/stage@sha256:" + "1" * 64
    arguments = ["compile", str(project_file), "-o", str(out), "--image", image, "--store", "s3://models/p", "--json"]
    facts = json.loads(runner.invoke(make_app(), arguments).output)
    assert facts == {"path": str(out), "name": "quick", "image": image, "store": "s3://models/p", "remarks": []}


def test_runs_are_listed_with_how_they_ended(told: Store) -> None:
    assert json.loads(runner.invoke(make_app(), ["runs", "--json"]).output) == []
    first = runs.open_run(told, request())
    runs.claim(told, first, "a")
    runs.end(told, first, 1, "failed", {"kind": "DataError", "message": "no."})
    second = runs.open_run(told, request(salt="1"))
    runs.claim(told, second, "b")
    runs.finish(told, second, {"version": "v1-00000000", "winner": "linear", "seconds": 12.5})
    facts = json.loads(runner.invoke(make_app(), ["runs", "--json"]).output)
    assert [(r["key"], r["state"], r["version"]) for r in facts] == [
        (first, "failed", ""),
        (second, "succeeded", "v1-00000000"),
    ]
    shown = runner.invoke(make_app(), ["runs"]).output
    assert first in shown
    assert "12.5" in shown


def test_one_run_shows_its_stages_and_its_error(told: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.core.logs.setup", lambda *args, **context: None)
    key = runs.open_run(told, request())
    runs.claim(told, key, "backend-1")
    monkeypatch.setenv("TRIMTAB_RUN_ID", "backend-1")
    with runs.stage_record("ingest") as record:
        record.result(figures={"rows": 3})
    with pytest.raises(ProjectError), runs.stage_record("validate"):
        raise ProjectError("column 'a' is missing")
    monkeypatch.delenv("TRIMTAB_RUN_ID")
    shown = runner.invoke(make_app(), ["runs", key[:6]]).output
    assert "ingest" in shown
    assert "column 'a' is missing" in shown
    facts = json.loads(runner.invoke(make_app(), ["runs", key, "--json"]).output)
    assert facts["stages"]["ingest"]["figures"] == {"rows": 3}
    assert facts["errors"][0]["stage"] == "validate"


def test_a_run_that_is_not_there(told: Store) -> None:
    done = runner.invoke(make_app(), ["runs", "abc"])
    assert isinstance(done.exception, ProjectError)
    assert "abc" in str(done.exception)
