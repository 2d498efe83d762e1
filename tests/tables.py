"""Small data sets for the stages' tests: mixed columns with holes, numbers alone, images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from trimtab.core.datasets import write_dataset
from trimtab.core.schema import Field, Schema, Target

MIXED = Schema(
    fields=(
        Field(name="customer", kind="id"),
        Field(name="age", kind="number", unit="years"),
        Field(name="income", kind="number", nullable=True),
        Field(name="plan", kind="category", categories=("basic", "plus", "pro"), nullable=True),
        Field(name="town", kind="category", categories=("east", "west"), private="hash"),
    ),
    target=Target(name="churn", kind="category", classes=("no", "yes")),
)
MIXED_VALUE = replace(MIXED, target=Target(name="spend", kind="number", unit="euro"))
NUMBERS = Schema(
    fields=tuple(Field(name=name, kind="number", nullable=name == "c") for name in "abc"),
    target=Target(name="y", kind="number"),
)
IMAGES = Schema(
    fields=(Field(name="picture", kind="image", shape=(8, 8), range=(0, 1)),),
    target=Target(name="side", kind="category", classes=("left", "right", "top")),
)


def mixed(n: int = 240, seed: int = 0, value: bool = False) -> pa.Table:
    """Rows of MIXED (or MIXED_VALUE): the target follows age, plan and a missing income."""
    rng = np.random.default_rng(seed)
    age, income = rng.normal(45, 12, n), rng.lognormal(3, 0.5, n)
    missing = rng.random(n) < 0.15
    plan = rng.choice(["basic", "plus", "pro"], n)
    no_plan = rng.random(n) < 0.1
    score = (age - 45) / 12 + 1.5 * (plan == "pro") - 1.0 * missing + rng.normal(0, 0.3, n)
    columns = {
        "customer": pa.array([f"c{i}" for i in range(n)]),
        "age": pa.array(age),
        "income": pa.array(income, mask=missing),
        "plan": pa.array(plan.tolist(), pa.string(), mask=no_plan),
        "town": pa.array(rng.choice(["east", "west"], n).tolist()),
    }
    if value:
        return pa.table({**columns, "spend": pa.array(100 + 20 * score)})
    return pa.table({**columns, "churn": pa.array(np.where(score > 0, "yes", "no").tolist())})


def numbers(n: int = 200, seed: int = 0) -> pa.Table:
    """Rows of NUMBERS."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=n), rng.normal(size=n), rng.normal(size=n)
    hole = rng.random(n) < 0.1
    return pa.table(
        {
            "a": a,
            "b": b,
            "c": pa.array(c, mask=hole),
            "y": 50 + 3 * a - 2 * b + np.where(hole, 0, c) + rng.normal(0, 0.2, n),
        }
    )


def images(n: int = 150, seed: int = 0) -> pa.Table:
    """Rows of IMAGES: noise with one bright stripe."""
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 3, n)
    pixels = rng.uniform(0, 0.3, (n, 8, 8)).astype(np.float32)
    for i, s in enumerate(side):
        pixels[i, :, 1 if s == 0 else 6] += 0.6 * (s < 2)
        pixels[i, 1, :] += 0.6 * (s == 2)
    rows = pa.array(list(pixels.reshape(n, -1)), pa.list_(pa.float32()))
    return pa.table({"picture": rows, "side": pa.array([IMAGES.target.classes[s] for s in side])})


def save(folder: Path, table: pa.Table, schema: Schema, **note: object) -> Path:
    """Write a dataset folder."""
    write_dataset(folder, [table], schema, note)
    return folder
