"""check names every mistake; what init writes passes check and trains unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.ingest.tables import HEADER, Place, people, write_csv
from typer.testing import CliRunner, Result

from trimtab.cli.commands import make_app
from trimtab.core.errors import DataError, ProjectError
from trimtab.core.project import Project, load_project


def run(*words: str | Path) -> Result:
    """A command in this process; an error of ours comes back as an exception."""
    return CliRunner().invoke(make_app(), [str(w) for w in words])


def starter(folder: Path, table: Path | None = None, *words: str) -> Project:
    """What init wrote, once check has passed it."""
    file = folder / "project.yaml"
    done = run("init", file, *(("--from", table) if table else ()), *words)
    assert done.exit_code == 0, done.output + str(done.exception)
    checked = run("check", file)
    assert checked.exit_code == 0, checked.output
    assert "is right" in checked.output
    return load_project(file)


def trains(folder: Path, project: Project) -> None:
    """The rows come in, are checked, prepared and encoded without a change to the file."""
    from trimtab.core.datasets import read_table
    from trimtab.prepare.stage import PrepareConfig, prepare

    place = Place(folder)
    place.ingest(
        [{**s, "path": str(project.base / s["path"])} if "path" in s else s for s in project.data.source],
        project.schema(),
        project.name,
    )
    checked = place.validate(project.schema())
    prepared = prepare(
        PrepareConfig(task=project.task.kind, test_fraction=0.15, folds=3, seed=0),
        folder / "checked",
        folder / "checked_judge",
        folder / "prepared",
    )
    assert prepared.rows > 0
    assert prepared.test_rows > 0
    table = read_table(folder / "checked")
    for array in checked.schema.encode_table(table).values():
        assert len(array) == checked.rows


def test_the_starter_passes_and_trains(tmp_path: Path) -> None:
    project = starter(tmp_path)
    assert "#" in (tmp_path / "project.yaml").read_text()
    trains(tmp_path, project)


def test_a_csv_with_everything_in_it(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [
        [
            f"K{i:05d}",
            f"{random.normal(170, 10):.1f}",
            ["", "NA", "inf"][i % 3] if i % 20 == 0 else i % 70 + 18,
            ["Berlin", "Rome", "", "Oslo"][i % 4],
            f"some words {i} here",
            f"2026-01-{i % 28 + 1:02d}",
            i % 7,
            3,
            "",
            "abc" if i % 50 == 0 else ["1.5", "2", "3"][i % 3],
            ["yes", "no"][int(random.integers(2))],
        ]
        for i in range(300)
    ]
    header = ["Customer ID", "Größe (cm)", "age", "city", "note", "joined", "_x", "const", "empty", "mixed", "Churn"]
    table = write_csv(tmp_path / "My People.csv", rows, header, ";")
    project = starter(tmp_path, table)
    text = (tmp_path / "project.yaml").read_text()
    assert project.name == "my-people"
    assert (project.task.kind, project.task.target) == ("classification", "Churn")
    kinds = {name: field.kind for name, field in project.fields.items()}
    assert kinds == {
        "Customer_ID": "id",
        "Grosse_cm": "number",
        "age": "number",
        "city": "category",
        "note": "text",
        "joined": "time",
        "x": "number",
        "const": "number",
        "mixed": "category",
    }
    assert project.fields["age"].nullable
    assert project.fields["city"].nullable
    assert not project.fields["Grosse_cm"].nullable
    assert project.fields["Grosse_cm"].column == "Größe (cm)"
    guessed = [line for line in text.splitlines() if line.startswith("  ") and ": {kind:" in line]
    assert len(guessed) == len(kinds)
    assert all("# guess:" in line for line in guessed)
    assert '"empty" is left out' in text
    assert "'abc'" in text
    trains(tmp_path, project)


def test_a_regression_from_parquet_with_images(tmp_path: Path) -> None:
    rows = 80
    table = pa.table(
        {
            "pixels": [[float(i + j) for j in range(16)] for i in range(rows)],
            "when": pa.array([1_760_000_000_000_000 + i for i in range(rows)], pa.timestamp("us")),
            "flag": [i % 2 == 0 for i in range(rows)],
            "weird": [{"a": i} for i in range(rows)],
            "broken": [float("inf") if i == 3 else 1.0 * i for i in range(rows)],
            "length": pa.array([i % 7 / 10 for i in range(rows)], pa.float32()),
            "width": [i % 5 / 10 for i in range(rows)],
            "weight": [i * 1.5 for i in range(rows)],
        }
    )
    path = tmp_path / "images.parquet"
    pq.write_table(table, path)
    project = starter(tmp_path, path)
    assert (project.task.kind, project.task.target, project.metric) == ("regression", "weight", "mae")
    kinds = {"pixels": "image", "when": "time", "flag": "category", "length": "number", "width": "number"}
    assert {n: f.kind for n, f in project.fields.items()} == kinds
    assert [project.fields[name].dtype for name in ("length", "width")] == ["float32", "float64"]
    assert project.fields["pixels"].shape == (4, 4)
    assert "cnn" in project.candidates
    text = (tmp_path / "project.yaml").read_text()
    assert '"broken" is left out: 1 values are infinite' in text
    assert '"weird" is left out' in text
    trains(tmp_path, project)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_in_another_encoding(encoding: str, tmp_path: Path) -> None:
    rows = [[*r[:2], "Köln" if i % 2 else "Århus", *r[3:]] for i, r in enumerate(people())]
    table = write_csv(tmp_path / "people.csv", rows)
    table.write_bytes(table.read_text(encoding="utf-8").encode(encoding))
    project = starter(tmp_path, table)
    assert project.data.source[0]["encoding"] == encoding
    trains(tmp_path, project)


def test_the_user_names_the_target(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "people.csv", people())
    project = starter(tmp_path, table, "--target", "income", "--name", "pay")
    assert (project.name, project.task.kind, project.task.target) == ("pay", "regression", "income")
    assert project.fields["churn"].kind == "category"
    with pytest.raises(DataError, match=r"Did you mean 'income'\?$"):
        raise_of(run("init", tmp_path / "x.yaml", "--from", table, "--target", "incom"))
    with pytest.raises(DataError, match="'person' cannot be the target"):
        raise_of(run("init", tmp_path / "x.yaml", "--from", table, "--target", "person"))


def raise_of(result: Result) -> None:
    assert result.exit_code != 0, result.output
    assert result.exception is not None
    raise result.exception


def test_names_that_yaml_would_read_otherwise(tmp_path: Path) -> None:
    rows = [[i * 1.5, i % 5, ["a: b", "#c", "yes"][i % 3], ["on", "off"][i % 2]] for i in range(60)]
    table = write_csv(tmp_path / "2024 - data.v2.csv", rows, ["no", "y", "1: {x}", "null"])
    project = starter(tmp_path, table, "--target", "null")
    assert project.task.target == "null"
    assert set(project.fields) == {"no", "y", "x_1_x"}
    assert project.name == "p-2024-data"
    trains(tmp_path, project)


def test_a_table_that_cannot_train_writes_nothing(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "people.csv", people(10))
    file = tmp_path / "project.yaml"
    with pytest.raises(DataError, match="too few rows"):
        raise_of(run("init", file, "--from", table))
    assert not file.exists()
    with pytest.raises(DataError, match="no rows"):
        raise_of(run("init", file, "--from", write_csv(tmp_path / "none.csv", [])))
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        raise_of(run("init", file, "--from", tmp_path / "empty.csv"))
    assert not file.exists()


def test_init_never_overwrites_unasked(tmp_path: Path) -> None:
    file = tmp_path / "project.yaml"
    file.write_text("mine")
    with pytest.raises(ProjectError, match="--force"):
        raise_of(run("init", file))
    assert file.read_text() == "mine"
    assert run("init", file, "--force").exit_code == 0
    assert "species" in file.read_text()


def test_init_names_what_is_wrong_of_its_own_arguments(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "people.csv", people())
    with pytest.raises(ProjectError, match=r"nonexist: the folder to write to is not there"):
        raise_of(run("init", tmp_path / "nonexist" / "x.yaml", "--from", table))
    assert not (tmp_path / "nonexist").exists()
    file = tmp_path / "project.yaml"
    file.write_text("mine")
    with pytest.raises(DataError, match=r"Did you mean 'churn'\?$"):
        raise_of(run("init", file, "--from", table, "--target", "chrun"))
    with pytest.raises(DataError, match=r"no such file.*Did you mean 'people.csv'\?$"):
        raise_of(run("init", file, "--from", tmp_path / "peple.csv"))
    with pytest.raises(ProjectError, match="--force"):
        raise_of(run("init", file, "--from", table))
    assert file.read_text() == "mine"


def test_check_prints_every_mistake_with_its_line(tmp_path: Path) -> None:
    starter(tmp_path)
    file = tmp_path / "project.yaml"
    text = file.read_text().replace("kind: number", "kind: numbr").replace("metric: accuracy", "metric: acuracy")
    file.write_text(text)
    done = run("check", file)
    assert done.exit_code == 2
    line = next(n for n, words in enumerate(text.splitlines(), 1) if "numbr" in words)
    assert f"{file}:{line}: fields.sepal_length.kind: 'numbr' is not allowed: did you mean 'number'?" in done.output
    assert "metric: 'acuracy' is no metric: did you mean 'accuracy'?" in done.output
    assert "5 mistakes" in done.output
    facts = json.loads(run("check", file, "--json").output)
    assert [m["field"] for m in facts["mistakes"]][-1] == "metric"
    assert all(m["line"] > 1 for m in facts["mistakes"])


def test_check_looks_for_the_files_and_notes_what_choices_cost(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "people.csv", people(), HEADER)
    starter(tmp_path, table)
    file = tmp_path / "project.yaml"
    text = file.read_text()
    file.write_text(text.replace("source: people.csv", "source: peple.csv"))
    done = run("check", file)
    assert done.exit_code == 2
    assert "data.source" in done.output
    assert "Did you mean 'people.csv'" in done.output
    file.write_text(
        text.replace("age: {kind: number", "age: {kind: number, private: drop").replace("kind: id", "kind: text")
    )
    done = run("check", file)
    assert done.exit_code == 0, done.output
    assert "private features (age)" in done.output
    assert "no field of kind id" in done.output


def test_check_holds_the_fields_to_the_file_s_header(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "people.csv", people(), HEADER)
    starter(tmp_path, table)
    file = tmp_path / "project.yaml"
    right = file.read_text()
    text = right.replace("target: churn", "target: churned").replace("  age: {", "  agee: {")
    text = text.replace("  city: {kind", "  town: {column: Citty, kind")
    text = text.replace("  income: {", "  unheard: {")
    file.write_text(text)

    def line(words: str) -> int:
        return next(n for n, said in enumerate(text.splitlines(), 1) if words in said)

    done = run("check", file)
    assert done.exit_code == 2
    assert f"{file}:{line('churned')}: task.target: people.csv has no column 'churned': did you mean 'churn'?" in (
        done.output
    )
    assert f":{line('agee')}: fields.agee: people.csv has no column 'agee': did you mean 'age'?" in done.output
    assert f":{line('Citty')}: fields.town.column: people.csv has no column 'Citty': did you mean 'city'?" in (
        done.output
    )
    assert "fields.unheard: people.csv has no column 'unheard': it has 'age', 'income', " in done.output
    assert "4 mistakes" in done.output
    lines = [m["line"] for m in json.loads(run("check", file, "--json").output)["mistakes"]]
    assert lines == sorted(lines)
    file.write_text(right)
    write_csv(tmp_path / "people.csv", people(), HEADER, ";")
    done = run("check", file)
    assert "data.source: people.csv: the delimiter looks like ';'" in done.output
    assert "1 mistake" in done.output


def test_check_reads_the_schema_of_parquet_and_says_what_cannot_be_read(tmp_path: Path) -> None:
    table = pa.table({"x": [float(i) for i in range(60)], "y": [i % 2 for i in range(60)]})
    pq.write_table(table, tmp_path / "t.parquet")
    file = tmp_path / "project.yaml"
    file.write_text(
        "name: t\ntask: {kind: classification, target: kind, column: Y}\ndata: t.parquet\n"
        "fields: {x: {kind: number}, note: {kind: text, nullable: true}}\ncandidates: [linear]\n"
    )
    done = run("check", file)
    assert f"{file}:2: task.column: t.parquet has no column 'Y': did you mean 'y'?" in done.output, done.output
    assert "1 mistake" in done.output, "a text that may be missing may be missing"
    (tmp_path / "t.parquet").write_bytes(b"no table")
    done = run("check", file)
    assert done.exit_code == 2
    assert ":3: data.source: t.parquet: the file cannot be read" in done.output
    assert ".." not in done.output.replace(str(tmp_path), "")


@pytest.mark.campaign
@pytest.mark.parametrize("target", ["churn", "income"])
def test_the_whole_pipeline_trains_what_init_wrote(target: str, tmp_path: Path) -> None:
    rows = [[*r[:4], "yes" if r[0] > 50 else "no"] for r in people(400)]
    rows = [[r[0], r[0] * 100 + i % 7, "" if i % 9 == 0 else r[2], *r[3:]] for i, r in enumerate(rows)]
    table = write_csv(tmp_path / "people.csv", rows)
    starter(tmp_path, table, "--target", target)
    environment = {**os.environ, "TRIMTAB_STORE": (tmp_path / "store").as_uri(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "trimtab.cli.app", "run", str(tmp_path / "project.yaml"), "--json"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "store" / "models" / "people" / "versions").is_dir(), done.stdout[-2000:]
