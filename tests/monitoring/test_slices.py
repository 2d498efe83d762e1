"""Parts of the traffic: one that gets worse is named, and all of them together seldom speak by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.simulated import Version
from tests.monitoring.stream import SCHEMA, answered, draw

from trimtab.monitoring.losses import Losses
from trimtab.monitoring.performance import Yardstick
from trimtab.monitoring.slices import FIELDS, ROWS, Slices, worst


def table(rows: dict[str, Any]) -> pa.Table:
    return pa.table({**answered(rows), "churn": pa.array(rows["truth"].tolist(), pa.string())})


def test_slices_hold_every_row_once_a_field() -> None:
    rng = np.random.default_rng(0)
    reference = table(draw(rng, 900))
    slices = Slices.of(SCHEMA, reference)
    assert [s.column for s in slices.steps] == ["plan", "a", "b"]  # categories first
    marks = {n: np.asarray(m) for n, m in slices.mark(reference).items()}
    found = slices.losses(marks, np.ones(900))
    for field in ("plan", "a", "b"):
        assert sum(v.n for n, v in found.items() if n.startswith(f"{field} ")) == 900
    assert found["b missing"].n == pytest.approx(90, abs=30)
    low = next(n for n in found if n.startswith("a below"))
    assert found[low].n == pytest.approx(300, abs=1)


def test_a_part_that_got_worse_is_named_while_all_rows_hide_it() -> None:
    """One plan of two: a tenth of the rows lose 40 points, which is four points of all."""
    rng = np.random.default_rng(1)
    watched = Version(rng, 4000)
    original = draw

    def spoilt(r: np.random.Generator, n: int, **drift: Any) -> dict[str, Any]:
        rows = original(r, n)
        hit = np.isnan(rows["b"]) & (r.random(n) < 0.4)
        rows["truth"] = np.where(hit, np.where(rows["truth"] == "yes", "no", "yes"), rows["truth"])
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.monitoring.simulated.draw", spoilt)
        told = [watched.window(200) for _ in range(3)][-1]
    assert told.slice is not None
    assert told.slice.name == "b missing"
    assert told.slice.harm == pytest.approx(0.37, abs=0.12)
    assert told.slice.share == pytest.approx(0.1, abs=0.04)
    assert told.layers["realised"] != "none"
    assert "b missing" in told.words


def test_a_slice_alone_is_no_more_than_watch_and_says_so() -> None:
    reference = {"plan = plus": Losses(500, 25, 25, 25), "plan = basic": Losses(500, 25, 25, 25)}
    bad = {"plan = plus": Losses(100, 30, 30, 30), "plan = basic": Losses(100, 5, 5, 5)}
    found = worst(reference, [bad], [200], 0.01, binary=True)
    assert found is not None
    assert (found.name, found.span, found.share) == ("plan = plus", 1, 0.5)
    assert found.p < 1e-6
    few = {"plan = plus": Losses(ROWS - 1, ROWS - 1, ROWS - 1, ROWS - 1)}
    assert worst(reference, [few], [ROWS], 0.01, binary=True) is None
    assert worst({}, [bad], [200], 0.01, binary=True) is None
    assert worst(reference, [], [], 0.01, binary=True) is None


def test_slices_are_bounded() -> None:
    from trimtab.core.schema import Field, Schema, Target

    rng = np.random.default_rng(2)
    schema = Schema(
        fields=tuple(Field(name=f"f{i}", kind="category") for i in range(40)),
        target=Target(name="y", kind="category", classes=("a", "b")),
    )
    columns = {f"f{i}": rng.integers(0, 500, 1000).astype(str) for i in range(40)}
    slices = Slices.of(schema, pa.table(columns))
    assert len(slices.steps) == FIELDS
    assert sum(len(n) for n in slices.names) <= FIELDS * 8


def test_a_reference_without_fields_has_no_slices() -> None:
    reference = table(draw(np.random.default_rng(3), 100)).select(["_label", "_probabilities", "churn"])
    assert Yardstick.of(SCHEMA, reference).by_slice == {}
