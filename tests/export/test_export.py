"""The bundle: one graph equal to what was trained, with everything a server and a watch need."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.stages import Line
from tests.tables import IMAGES, MIXED, MIXED_VALUE, NUMBERS, images, mixed, numbers, save

from trimtab.core.errors import ModelError
from trimtab.core.prepared import Prepared
from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import Store
from trimtab.core.trained import Predictions, Scorer, open_session
from trimtab.export.card import curve


@pytest.fixture(scope="module")
def line(tmp_path_factory: Any) -> Any:
    line = Line(tmp_path_factory.mktemp("export"), mixed(), MIXED)
    line.exported = line.whole("mlp", hidden=[16], epochs=20)
    return line


def graph(line: Any) -> Any:
    return open_session(line.root / "bundle" / "model.onnx")


def test_the_graph_s_inputs_are_the_schema_s_and_its_outputs_as_agreed(line: Any) -> None:
    session = graph(line)
    found = {i.name: (i.type, i.shape[1:]) for i in session.get_inputs()}
    assert found == {
        "age": ("tensor(float)", [1]),
        "income": ("tensor(float)", [1]),
        "plan": ("tensor(string)", [1]),
        "town": ("tensor(string)", [1]),
    }
    assert {o.name: o.shape[1:] for o in session.get_outputs()} == {"probabilities": [2], "embedding": [16]}


def test_parity_is_proved_on_a_thousand_rows_with_nulls_and_unseen_values(line: Any) -> None:
    assert line.exported.parity < 1e-5
    assert line.exported.rows == 1000
    table = pq.read_table(line.root / "winner" / "parity.parquet")
    assert table.column("income").null_count > 50
    assert table.column("plan").null_count > 50
    assert table.column("age").null_count == 0, "not nullable"
    assert "never seen before" in table.column("town").to_pylist()


def test_nulls_and_unseen_categories_are_answered(line: Any) -> None:
    got = graph(line).run(
        ["probabilities"],
        {
            "age": np.array([[np.nan], [40], [1e30]], np.float32),
            "income": np.array([[np.nan], [np.nan], [20]], np.float32),
            "plan": np.array([[""], ["platinum"], ["pro"]], dtype=object),
            "town": np.array([["west"], [""], ["north"]], dtype=object),
        },
    )[0]
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)


def test_the_graph_says_what_the_trained_model_says(line: Any) -> None:
    data = Prepared.load(line.root / "prepared")
    wanted = Scorer(line.root / "winner", data.preprocessing).predict(data.inputs)
    np.testing.assert_allclose(graph(line).run(["probabilities"], data.inputs)[0], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "table", "schema", "params", "inputs", "output"),
    [
        ("linear", numbers, NUMBERS, {}, ["input"], "value"),
        ("mlp", lambda: mixed(value=True), MIXED_VALUE, {"hidden": [8]}, ["age", "income", "plan", "town"], "value"),
        ("cnn", images, IMAGES, {"channels": [4, 8], "hidden": 8}, ["picture"], "probabilities"),
    ],
)
def test_every_kind_of_model_and_table(
    tmp_path: Path, name: Any, table: Any, schema: Any, params: Any, inputs: Any, output: Any
) -> None:
    line = Line(tmp_path, table(), schema)
    result = line.whole(name, epochs=2, **params)
    assert result.parity < 1e-5
    session = graph(line)
    assert [i.name for i in session.get_inputs()] == inputs
    assert session.get_outputs()[0].name == output
    assert session.run([output], schema.encode_table(line.table.slice(0, 3)))[0].shape[0] == 3
    assert len((tmp_path / "bundle" / "report.html").read_bytes()) < 200_000


def test_an_image_in_colour_beside_a_number(tmp_path: Path) -> None:
    import pyarrow as pa

    rng = np.random.default_rng(0)
    schema = Schema(
        fields=(Field(name="photo", kind="image", shape=(4, 4, 3)), Field(name="x", kind="number")),
        target=Target(name="y", kind="category", classes=("a", "b")),
    )
    rows = pa.array(list(rng.uniform(0, 255, (60, 48)).astype(np.float32)), pa.list_(pa.float32()))
    table = pa.table({"photo": rows, "x": rng.normal(size=60), "y": rng.choice(["a", "b"], 60).tolist()})
    assert Line(tmp_path / "both", table, schema).whole("linear", epochs=1).parity < 1e-5
    alone = replace(schema, fields=schema.fields[:1])
    line = Line(tmp_path / "alone", table.drop(["x"]), alone)
    assert line.whole("cnn", epochs=1, channels=[4], hidden=4).parity < 1e-5


def test_the_reference_has_honest_predictions_the_target_and_nothing_private(line: Any) -> None:
    table = pq.read_table(line.root / "bundle" / "reference.parquet")
    assert table.column_names == ["age", "income", "plan", "churn", "_unseen", "_label", "_probabilities"]
    assert table.num_rows == 240
    assert table.column("income").null_count == line.table.column("income").null_count
    data = Prepared.load(line.root / "prepared")
    honest = Predictions.load(line.root / "winner", data.schema.target.classes)
    got = np.array(table.column("_probabilities").to_pylist())
    np.testing.assert_allclose(got[honest.rows], honest.prediction, atol=1e-6)
    names = np.array(["no", "yes"])
    assert table.column("_label").to_pylist() == names[got.argmax(1)].tolist()


def test_a_large_reference_is_sampled() -> None:
    from trimtab.export.reference import reference_table

    class Data:
        test_rows = np.zeros(0, int)
        schema = NUMBERS
        table = numbers(500)

    rows = np.arange(500)
    honest = Predictions(rows, rows, rows.astype(float), rows.astype(float))
    table = reference_table(cast("Prepared", Data()), honest, np.zeros(0), 100, 0)
    assert table.num_rows == 100
    assert table.column("_value").to_pylist() == sorted(set(table.column("_value").to_pylist()))


def test_the_recorded_rows_are_what_a_server_checks_and_private_values_are_left_out(line: Any) -> None:
    recorded = json.loads((line.root / "bundle" / "expected.json").read_bytes())
    assert set(recorded["inputs"]) == {"age", "income", "plan", "town"}
    assert {row[0] for row in recorded["inputs"]["town"]} == {""}
    inputs = {
        name: np.array(values, dtype=object)
        if name in ("plan", "town")
        else np.array(values, np.float64).astype(np.float32)
        for name, values in recorded["inputs"].items()
    }
    got = graph(line).run(["probabilities"], inputs)[0]
    np.testing.assert_allclose(got, recorded["outputs"]["probabilities"], atol=recorded["tolerance"])


def test_a_server_loads_the_bundle(line: Any, store: Store, tmp_path: Path) -> None:
    from trimtab.core import settings, signing
    from trimtab.core.bundle import fetch_bundle, publish_bundle
    from trimtab.serving.model import load_model

    env = settings.load()
    key = signing.ensure_keypair(env)
    version = publish_bundle(
        store, "model", line.root / "bundle", key, metrics={}, threshold=None, lineage={}, project={}
    )
    trusted = signing.trusted_keys(env.trusted_keys)
    manifest = fetch_bundle(store, "model", version, tmp_path / "fetched", trusted)
    model = load_model(tmp_path / "fetched", manifest)
    assert model.run(MIXED.encode_table(line.table.slice(0, 2))).shape == (2, 2)


def test_the_report_speaks_plainly(line: Any) -> None:
    page = (line.root / "bundle" / "report.html").read_text()
    assert "of 1,000 answers to be wrong" in page
    assert "At 50 a day" in page
    assert "Who leaves?" in page
    assert "better than the baseline: reached" in page
    assert "<svg" in page
    assert "<script" not in page
    assert "http" not in page


def test_the_report_says_what_was_warned_about_in_the_data(line: Any, tmp_path: Path) -> None:
    plain = (line.root / "bundle" / "report.html").read_text()
    assert "About the data" not in plain, "nothing was remarked"
    warned = Line(tmp_path, mixed(60), MIXED)
    save(tmp_path / "data", mixed(60), MIXED, warnings=["the field 'a<b' was dropped: it is 3 in every row"])
    warned.whole("linear", epochs=1)
    page = (tmp_path / "bundle" / "report.html").read_text()
    assert "<h2>About the data</h2><ul><li>The field &#x27;a&lt;b&#x27; was dropped: it is 3 in every row.</li>" in page
    assert warned.export("again").digest == warned.export("third").digest


def test_names_in_the_report_are_escaped(tmp_path: Path) -> None:
    schema = replace(MIXED, target=Target(name="churn", kind="category", classes=("<script>no", "yes")))
    names = ["<script>no" if c == "no" else c for c in mixed(60).column("churn").to_pylist()]
    line = Line(tmp_path, mixed(60).set_column(5, "churn", [names]), schema)
    line.whole("linear", epochs=1)
    assert "<script" not in (tmp_path / "bundle" / "report.html").read_text()


def test_the_same_model_gives_the_same_bytes(line: Any) -> None:
    assert line.export("again").digest == line.exported.digest


def test_a_graph_that_differs_fails_the_stage(line: Any, tmp_path: Path) -> None:
    import shutil

    other = Line(tmp_path, line.table, MIXED)
    for name in ("prepared", "selection.json"):
        (tmp_path / name).symlink_to(line.root / name)
    shutil.copytree(line.root / "winner", tmp_path / "winner")
    path = tmp_path / "winner" / "model.json"
    described = json.loads(path.read_bytes())
    path.write_text(json.dumps({**described, "temperature": described["temperature"] * 1.01}))
    with pytest.raises(
        ModelError, match="differs from the trained model of candidate 'mlp': expected differences below"
    ):
        other.export()
    (tmp_path / "winner" / "parity.parquet").unlink()
    with pytest.raises(ModelError, match="no rows to prove parity on"):
        other.export()


def test_a_damaged_network_is_named(line: Any, tmp_path: Path) -> None:
    import shutil

    other = Line(tmp_path, line.table, MIXED)
    for name in ("prepared", "selection.json"):
        (tmp_path / name).symlink_to(line.root / name)
    shutil.copytree(line.root / "winner", tmp_path / "winner")
    (tmp_path / "winner" / "network.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="the network's graph cannot be read"):
        other.export()


def test_a_field_called_as_an_output_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    schema = Schema(
        fields=(Field(name="value", kind="number"), Field(name="kind", kind="category", categories=("a", "b"))),
        target=Target(name="y", kind="category", classes=("0", "1")),
    )
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "value": rng.normal(size=40),
            "kind": rng.choice(["a", "b"], 40).tolist(),
            "y": rng.choice(["0", "1"], 40).tolist(),
        }
    )
    with pytest.raises(ModelError, match=r"a field is called 'value', as an output of the model is.*column: value"):
        Line(tmp_path, table, schema).whole("linear", epochs=1)


def test_the_card_counts_mistakes_at_every_threshold(line: Any) -> None:
    card = json.loads((line.root / "bundle" / "card.json").read_bytes())
    assert "of 1,000 answers to be wrong" in card["headline"]
    data = Prepared.load(line.root / "prepared")
    honest = Predictions.load(line.root / "winner", MIXED.target.classes)
    test = Scorer(line.root / "winner", data.preprocessing).predict(data.take(data.test_rows))
    truth = np.concatenate([honest.truth, data.truth[data.test_rows]])
    p = np.concatenate([honest.prediction, test]).astype(np.float32)[:, 1].astype(float)
    curve = card["curve"]
    assert (curve["kind"], curve["rows"], curve["positives"]) == ("threshold", len(truth), int(truth.sum()))
    for at, missed, alarms in zip(curve["at"], curve["missed"], curve["alarms"], strict=True):
        assert missed == sum((p < at) & (truth == 1))
        assert alarms == sum((p >= at) & (truth == 0))


def test_the_card_of_many_classes_and_of_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 500)
    truth = rng.integers(0, 3, 500)
    found = curve(Target(name="y", kind="category", classes=("a", "b", "c")), truth, p)
    for i in (0, 40, 70, 100):
        sure = p.astype(np.float32).max(axis=1) >= found["at"][i]
        assert (found["left"][i], found["wrong"][i]) == (sum(~sure), sum(sure & (p.argmax(axis=1) != truth)))
    value = rng.normal(size=500)
    target = Target(name="y", kind="number")
    found = curve(target, value, value + rng.normal(size=500))
    assert found["over"][0] + found["under"][0] == 500
    assert found["over"] == sorted(found["over"], reverse=True)
    assert found["over"][-1] + found["under"][-1] <= 5
    assert curve(target, np.zeros(0), np.zeros(0))["rows"] == 0
