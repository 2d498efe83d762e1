"""The error to expect of a number while its truth is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trimtab.core.schema import Field, Schema, Target
from trimtab.monitoring import lossmodel
from trimtab.monitoring.losses import of
from trimtab.monitoring.performance import Yardstick, expected

SCHEMA = Schema(
    fields=(Field(name="x", kind="number", nullable=True), Field(name="kind", kind="category", nullable=True)),
    target=Target(name="y", kind="number"),
)


def table(rng: np.random.Generator, n: int, wild: float = 0.2, shift: float = 0.0, truth: str = "y") -> pa.Table:
    """Errors are four times as large where `kind` is wild, and grow with x."""
    kind = np.where(rng.random(n) < wild, "wild", "calm")
    x = rng.normal(size=n) + shift
    value = rng.normal(50, 10, n)
    noise = rng.normal(size=n) * np.where(kind == "wild", 4.0, 1.0) * np.exp(0.3 * x)
    columns: dict[str, Any] = {"x": x, "kind": kind, "_value": value, truth: value + noise}
    return pa.table(columns)


def test_errors_are_expected_where_inputs_move_to() -> None:
    """The prediction alone says nothing here; the fields do."""
    rng = np.random.default_rng(0)
    yardstick = Yardstick.of(SCHEMA, table(rng, 4000))
    assert yardstick.model is not None
    assert [s.column for s in yardstick.model.steps] == ["_value", "x", "kind"]
    for wild, shift in ((0.2, 0.0), (0.8, 0.0), (0.2, 1.0)):
        now = table(rng, 4000, wild, shift, "_truth")
        happened = float(np.nanmean(yardstick.losses(now)))
        guessed = of(yardstick.guesses(now)).mean
        assert guessed == pytest.approx(happened, rel=0.15)
    usual = yardstick.realised.mean
    assert of(yardstick.guesses(table(rng, 2000, 0.8))).mean > 1.5 * usual


def test_fields_that_say_nothing_are_left_out() -> None:
    rng = np.random.default_rng(1)
    plain = pa.table({"x": rng.normal(size=800), "_value": rng.normal(size=800), "kind": ["a", "b"] * 400})
    loss = np.abs(rng.normal(size=800))
    model, guess = lossmodel.fit(SCHEMA, plain, loss)
    assert [s.column for s in model.steps] in ([], ["_value"])
    assert guess.mean() == pytest.approx(loss.mean(), rel=0.05)


def test_intervals_hold_what_labels_show() -> None:
    rng = np.random.default_rng(2)
    yardstick = Yardstick.of(SCHEMA, table(rng, 3000))
    held = 0
    for _ in range(80):
        now = table(rng, 150, truth="_truth")
        told = expected(yardstick, of(yardstick.guesses(now)))
        held += told.low <= yardstick.shown(float(np.nanmean(yardstick.losses(now)))) <= told.high
    assert held >= 70


@pytest.mark.parametrize("poison", ["null", "infinite", "absent", "unseen", "huge"])
def test_poisoned_rows_are_estimated(poison: str) -> None:
    rng = np.random.default_rng(3)
    yardstick = Yardstick.of(SCHEMA, table(rng, 500))
    now = table(rng, 50)
    if poison == "null":
        now = now.set_column(0, "x", pa.nulls(50, pa.float64())).set_column(1, "kind", pa.nulls(50, pa.string()))
    elif poison == "infinite":
        now = now.set_column(0, "x", pa.array([np.inf] * 50)).set_column(2, "_value", pa.array([np.inf] * 50))
    elif poison == "absent":
        now = now.drop_columns(["x", "kind"])
    elif poison == "unseen":
        now = now.set_column(1, "kind", pa.array([f"new {i}" for i in range(50)]))
    else:
        now = now.set_column(0, "x", pa.array([1e300] * 50))
    guess = yardstick.guesses(now)
    assert len(guess) == 50
    assert np.isnan(guess).all() if poison == "infinite" else np.isfinite(guess).all()


@pytest.mark.parametrize("rows", [0, 1, 5, 39])
def test_a_small_reference_gives_its_mean(rows: int) -> None:
    rng = np.random.default_rng(4)
    yardstick = Yardstick.of(SCHEMA, table(rng, rows))
    guess = yardstick.guesses(table(rng, 10))
    assert len(guess) == 10
    assert rows == 0 or np.allclose(guess, yardstick.realised.mean)
