"""Embeddings: the level of the kernel test, what it sees, exact shards; and a version's own graph on its log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.stages import Line
from tests.tables import IMAGES, images

from trimtab.monitoring import shards
from trimtab.monitoring.columns import compared
from trimtab.monitoring.drift import Column, Profile
from trimtab.monitoring.embedding import EMBEDDING, UNSEEN, of_version
from trimtab.monitoring.kernel import KernelCells

COLUMN = [Column(EMBEDDING, "vector")]
Array = np.ndarray


def vectors(rng: np.random.Generator, n: int, spread: float = 1.0, shift: float = 0.0) -> Array:
    """Two clusters in 24 dimensions behind a rectifier, as an embedding is."""
    centre = np.where(rng.random(n) < 0.4, 1.0, -1.0)[:, None] * np.linspace(0, 1, 24)
    return np.maximum(centre + spread * rng.normal(size=(n, 24)) + shift, 0.0)


def p_of(reference: Array, window: Array) -> float:
    profile = Profile.of(COLUMN, {EMBEDDING: reference})
    return profile.compare(profile.count({EMBEDDING: window})).fields[0].p


@pytest.mark.parametrize(("m", "n"), [(60, 69), (300, 300), (1000, 100)])
def test_without_drift_the_level_holds(m: int, n: int) -> None:
    rng = np.random.default_rng(m)
    p = np.array([p_of(vectors(rng, m), vectors(rng, n)) for _ in range(80)])
    assert (p <= 0.01).sum() <= 5  # five or fewer of a mean of 0.8: all but once in 5,000
    assert 0.3 < p.mean() < 0.7


def test_a_shift_and_a_spread_are_seen() -> None:
    rng = np.random.default_rng(0)
    then = vectors(rng, 300)
    assert p_of(then, vectors(rng, 300, shift=0.3)) < 1e-6
    assert p_of(then, vectors(rng, 300, spread=1.4)) < 1e-6


def test_shards_of_vectors_add_up_exactly_and_nulls_are_counted() -> None:
    rng = np.random.default_rng(1)
    now = vectors(rng, 301)
    now[5, 3] = np.nan
    profile = Profile.of(COLUMN, {EMBEDDING: vectors(rng, 200)})
    whole = profile.count({EMBEDDING: now})
    parts = [
        shards.from_bytes(profile, shards.to_bytes(profile, profile.count({EMBEDDING: now[i::3]}))) for i in (0, 1, 2)
    ]
    added = shards.total(profile, parts)
    assert np.array_equal(added[EMBEDDING][0].cells, whole[EMBEDDING][0].cells)
    assert (whole[EMBEDDING][0].rows, whole[EMBEDDING][0].nulls) == (301, 1)
    assert profile.compare(added) == profile.compare(whole)


@pytest.mark.parametrize("poison", [np.nan, 0.0])
def test_poisoned_vectors_are_compared_not_crashed_on(poison: float) -> None:
    rng = np.random.default_rng(2)
    then, bad = vectors(rng, 100), np.full((50, 24), poison)
    assert p_of(then, bad) < 1e-6
    assert p_of(np.full((80, 24), 1.0), then) <= 1.0
    assert KernelCells.of(then).features(bad[:0]).shape == (0, 192)


def test_a_version_s_graph_embeds_its_log(tmp_path: Path) -> None:
    line = Line(tmp_path, images(300), IMAGES)
    line.whole("mlp", epochs=3)
    bundle = line.root / "bundle"
    model, table = (bundle / "model.onnx").read_bytes(), pq.read_table(bundle / "reference.parquet")
    embedder = of_version(model, IMAGES, table)
    assert embedder is not None
    unseen = table.filter(table[UNSEEN])
    assert unseen.num_rows == 60
    found = embedder(unseen)
    assert found is not None
    assert found.shape[0] == 60
    profile = Profile.of([*compared(IMAGES), *COLUMN], {EMBEDDING: found})
    name = IMAGES.features[0].name
    dark = pa.array([[0.3 * v for v in row] for row in unseen[name].to_pylist()], unseen[name].type)
    again = embedder(unseen.set_column(unseen.column_names.index(name), name, dark))
    assert again is not None
    assert profile.compare(profile.count({EMBEDDING: again})).fields[0].p < 1e-6
    assert embedder(unseen.drop_columns([name])) is None
    assert of_version(model, IMAGES, table.drop_columns([UNSEEN])) is None
