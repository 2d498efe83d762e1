"""The project file: every mistake at once, by line, with the nearest valid name; and what a right one means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimtab.core.errors import ProjectError
from trimtab.core.project import Project, check_text, load_project, parse_project
from trimtab.core.project_docs import reference
from trimtab.core.records import canonical

RIGHT = """\
name: churn
task:
  kind: classification
  target: churned
data: people.csv
fields:
  age: {kind: number, nullable: true}
  city: category
  order: {kind: id}
candidates: [linear, mlp]
"""


def found(text: str) -> list[tuple[int, str, str]]:
    return [(m.line, m.field, m.message) for m in check_text(text, "project.yaml")]


def test_a_short_file_is_enough() -> None:
    project = parse_project(RIGHT, "project.yaml")
    assert project.metric == "accuracy"
    assert project.data.source == [{"path": "people.csv"}]
    assert project.fields["city"].kind == "category"
    assert list(project.candidates) == ["linear", "mlp"]
    assert project.candidates["mlp"].kind == "mlp"
    assert project.schema().id_field is project.fields["order"]
    assert project.resources.of("train").cpu is None


def test_every_mistake_at_once_by_line() -> None:
    text = """\
name: Churn_Model
task:
  kind: clasification
  target: churned
  tagret: x
data:
  source: {path: people.csv, delimeter: ";"}
  test_fraction: 0.9
  seed: many
fields:
  age: {kind: numbr}
  image: {kind: image}
  3d: {kind: number}
candidates:
  forrest:
  own: {uses: nothing}
metric: acuracy
gates: {at_least: {f1: 0.5}}
widnows: {rows: 5}
windows: {rows: 5}
rollout: {shares: [50, 10]}
windows: {}
"""
    mistakes = found(text)
    by_field = {field: (line, message) for line, field, message in mistakes}
    expected = {
        "name": (1, "'Churn_Model' is no project name"),
        "task.kind": (3, "did you mean 'classification'?"),
        "task.tagret": (5, "unknown key 'tagret': did you mean 'target'?"),
        "data.source": (7, "no key 'delimeter', did you mean 'delimiter'?"),
        "data.test_fraction": (8, "expected at most 0.5, got 0.9"),
        "data.seed": (9, "expected a whole number, got 'many'"),
        "fields.age.kind": (11, "did you mean 'number'?"),
        "fields.image": (12, "an image needs `shape`"),
        "fields.3d": (13, "'3d' is no field name"),
        "candidates.own.uses": (16, "got 'nothing'"),
        "gates.at_least.f1": (18, "'f1' is no metric"),
        "metric": (17, "did you mean 'accuracy'?"),
        "widnows": (19, "did you mean 'windows'?"),
        "rollout.shares": (21, "shares rise"),
        "windows": (22, "given twice (first on line 20)"),
    }
    for field, (line, words) in expected.items():
        assert field in by_field, f"{field} is not in {mistakes}"
        assert by_field[field][0] == line, field
        assert words in by_field[field][1], by_field[field]
    assert [m[0] for m in mistakes] == sorted(m[0] for m in mistakes)


@pytest.mark.parametrize(
    ("change", "line", "field", "words"),
    [
        (("  city: category", "  churned: category"), 8, "fields.churned", "this is the target"),
        (("  age: {kind: number, nullable: true}\n  city: category\n", ""), 6, "fields", "no feature"),
        (("city: category", "city: text"), None, "", ""),
        (("[linear, mlp]", "[linear, cnn]"), 10, "candidates.cnn", "needs a field of kind image"),
        (("[linear, mlp]", "[]"), 10, "candidates", "no candidate"),
        (("[linear, mlp]", "[linear, linear]"), 10, "candidates", "given twice"),
        (("[linear, mlp]", "{x: {kind: linear, uses: 'a:b'}}"), 10, "candidates.x", "one of them"),
        (("candidates: [linear, mlp]", ""), 1, "candidates", "'candidates' is missing"),
        (("data: people.csv", "data: {source: people.csv, key: age}"), 5, "data.key", "no field of kind id"),
        (("data: people.csv", "data: sklearn:digist"), 5, "data.source", "did you mean 'digits'?"),
        (("data: people.csv", "data: {path: a.csv, sklearn: iris}"), 5, "data.source", "exactly one of"),
        (("data: people.csv", "data: []"), 5, "data.source", "empty"),
        (("  target: churned", "  target: churned\n  classes: [yes, no]"), 5, "task.classes", "put quotes"),
        (("  target: churned", "  target: churned\n  classes: [a]"), 5, "task.classes", "at least two"),
        (("kind: classification", "kind: regression\n  classes: [a, b]"), 4, "task.classes", "for classification"),
        (("kind: classification", "kind: regression\nmetric: accuracy"), None, "", ""),
        (("nullable: true", "nullable: maybe"), 7, "fields.age.nullable", "true or false"),
        (("kind: number, ", ""), 7, "fields.age.kind", "missing"),
        (("kind: number, ", "kind: number, column: order, "), 9, "fields.order.column", "field 'age' already"),
        (("kind: number, ", "kind: number, column: churned, "), 7, "fields.age.column", "target's column"),
        (("name: churn", "name: " + "x" * 29), 1, "name", "28"),
        (("name: churn", "name: [churn]"), 1, "name", "expected text"),
        (("name: churn", "name: .nan"), 1, "name", "finite"),
        (
            ("name: churn", "serving: {replicas: 3, max_replicas: 2}\nname: churn"),
            1,
            "serving.max_replicas",
            "(3), got 2",
        ),
        (("candidates: [linear, mlp]", "candidates: [linear]\nmetric: mae"), 11, "metric", "is not for classification"),
    ],
)
def test_mistakes_one_by_one(change: tuple[str, str], line: int | None, field: str, words: str) -> None:
    text = RIGHT.replace(*change)
    assert text != RIGHT
    mistakes = found(text)
    if line is None:
        return
    assert any(m[0] == line and m[1] == field and words in m[2] for m in mistakes), mistakes


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("- a\n- b\n", 1, "no keys"),
        ("name: x\n\ttask: y\n", 2, "tabs"),
        ("name: x\ntask: [1, 2\ndata: y\n", 3, "not YAML"),
        ("name: x\n---\nname: y\n", 2, "second document"),
        ("a: &a [*a]\n", 1, "contains itself"),
        ("name: *nobody\n", 1, "undefined alias"),
        ("name: !!python/object:os.system x\n", 1, "could not determine a constructor"),
        ("when: 2026-13-45\n", 1, "not a value"),
        ("name: 'x\n", 2, "not YAML"),
        ("name: \x00\n", 1, "not YAML"),
    ],
)
def test_what_yaml_itself_finds_wrong(text: str, line: int, words: str) -> None:
    mistakes = found(text)
    assert any(m[0] == line and words in m[2] for m in mistakes), mistakes


def test_parse_lists_all_of_them_in_one_error() -> None:
    with pytest.raises(ProjectError) as caught:
        parse_project(RIGHT.replace("number", "numbr").replace("mlp", "mpl"), "my.yaml")
    text = caught.value.sentence()
    assert "my.yaml: 2 mistakes" in text
    assert "line 7, fields.age.kind:" in text
    assert "line 10, candidates.mpl:" in text
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"cannot be read.*trimtab init writes a starter"):
        load_project(tmp_path / "none.yaml")
    path = tmp_path / "project.yaml"
    path.write_bytes(b"name: x\n# K\xf6ln\n")
    with pytest.raises(ProjectError, match=r"line 2 is not UTF-8"):
        load_project(path)
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ProjectError, match="too large"):
        load_project(path)
    path.write_bytes(b"\xef\xbb\xbf" + RIGHT.encode())
    assert load_project(path).base == tmp_path


def test_the_canonical_form_keeps_the_order_that_counts(root: Path) -> None:
    text = RIGHT.replace("age:", "zebra:").replace("[linear, mlp]", "[mlp, linear]")
    project = parse_project(text, "x")
    again = Project.from_canonical(json.loads(canonical(project.canonical())))
    assert again == project
    assert list(again.fields) == ["zebra", "city", "order"]
    assert list(again.candidates) == ["mlp", "linear"]
    for file in sorted((root / "examples").glob("*/project.yaml")):
        loaded = load_project(file)
        again = Project.from_canonical(json.loads(canonical(loaded.canonical())), loaded.base)
        assert again == loaded, file
    with pytest.raises(ProjectError, match="not a canonical project"):
        Project.from_canonical({"name": "x"})


def test_limits_of_a_stage() -> None:
    text = RIGHT + "resources: {cpu: 1, memory: 2Gi, stages: {train: {accelerator: nvidia.com/gpu, accelerators: 1}}}\n"
    resources = parse_project(text, "x").resources
    train, ingest = resources.of("train"), resources.of("ingest")
    assert (train.cpu, train.memory, train.accelerator, train.accelerators) == (1, "2Gi", "nvidia.com/gpu", 1)
    assert ingest.accelerator == ""
    wrong = RIGHT + "resources: {stages: {trian: {cpu: 1}}}\n"
    assert any(m[0] == 11 and "'train'" in m[2] for m in found(wrong)), found(wrong)


def test_anchors_and_merges_work() -> None:
    text = RIGHT.replace(
        "  age: {kind: number, nullable: true}", "  age: &n {kind: number}\n  weight: {<<: *n, unit: kg}"
    )
    fields = parse_project(text, "x").fields
    assert fields["weight"].kind == "number"
    assert fields["weight"].unit == "kg"


def test_numbers_as_categories_are_text() -> None:
    project = parse_project(RIGHT.replace("city: category", "city: {kind: category, categories: [1, 2]}"), "x")
    assert project.fields["city"].categories == ("1", "2")


def test_the_reference_page_is_up_to_date(root: Path) -> None:
    page = (root / "docs" / "project-file.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m trimtab.core.project_docs > docs/project-file.md"
    for name in Project.model_fields:
        assert f"`{name}`" in page
