"""Imputation, scaling and encoding: what is learned, and what unseen and missing values become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.tables import IMAGES, MIXED, NUMBERS, images, mixed, numbers

from trimtab.core.errors import DataError
from trimtab.core.preprocessing import LIMIT, SLOTS, Preprocessing, fit
from trimtab.core.schema import Field, Schema, Target


def test_numbers_are_imputed_by_the_median_scaled_and_flagged() -> None:
    table = numbers(300)
    inputs = NUMBERS.encode_table(table)
    steps = fit(NUMBERS, inputs)
    out = steps.apply(inputs)
    assert out.dtype == np.float32
    assert out.shape == (300, *steps.shape) == (300, 4)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[:, :3].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(out[:, :3].std(axis=0), 1, atol=1e-4)
    missing = np.isnan(inputs["input"][:, 2])
    np.testing.assert_array_equal(out[:, 3], missing)
    known = inputs["input"][~missing, 2].astype(np.float64)
    assert steps.numbers[2].fill == pytest.approx(np.median(known))


def test_a_number_that_was_never_missing_is_imputed_without_a_flag() -> None:
    steps = fit(NUMBERS, NUMBERS.encode_table(numbers()))
    row = steps.apply({"input": np.array([[np.nan, 0, 0]], np.float32)})
    assert np.isfinite(row).all()


def test_far_values_are_cut_off() -> None:
    steps = fit(NUMBERS, NUMBERS.encode_table(numbers()))
    assert steps.apply({"input": np.array([[1e30, -1e30, 0]], np.float32)})[0, :2].tolist() == [LIMIT, -LIMIT]


def test_categories_take_a_slot_each_null_its_own_and_unseen_none() -> None:
    inputs = MIXED.encode_table(mixed())
    plan = next(c for c in fit(MIXED, inputs).categories if c.name == "plan")
    assert plan.known == ("basic", "plus", "pro")
    assert plan.null
    assert not plan.other
    table, index = plan.table(), plan.index
    assert table[index["plus"]].tolist() == [0, 1, 0, 0]
    assert table[index[""]].tolist() == [0, 0, 0, 1]
    assert table[index.get("gone", 0)].tolist() == [0, 0, 0, 0]


def test_rare_categories_share_a_slot_that_unseen_ones_fall_into_as_well() -> None:
    schema = Schema(
        fields=(Field(name="shop", kind="category"), Field(name="x", kind="number")),
        target=Target(name="y", kind="number"),
    )
    names = [f"shop{i:03d}" for i in range(SLOTS + 5) for _ in range(1 + (i < SLOTS))]
    inputs = schema.encode_table(pa.table({"shop": names, "x": np.arange(len(names), dtype=float)}))
    shop = fit(schema, inputs).categories[0]
    assert len(shop.known) == SLOTS
    assert shop.other
    assert not shop.null
    assert shop.table()[0].tolist() == [0.0] * SLOTS + [1.0]
    assert shop.index.get(f"shop{SLOTS + 4:03d}", 0) == 0
    assert shop.table()[shop.index[""]].sum() == 0


def test_an_image_alone_stays_an_image_scaled_by_its_range() -> None:
    inputs = IMAGES.encode_table(images(20))
    steps = fit(IMAGES, inputs)
    assert steps.shape == (1, 8, 8)
    np.testing.assert_array_equal(steps.apply(inputs)[:, 0], inputs["picture"])


def test_channels_come_first_and_an_image_without_range_is_standardised() -> None:
    schema = Schema(
        fields=(Field(name="photo", kind="image", shape=(4, 6, 3)),), target=Target(name="y", kind="number")
    )
    pixels = np.random.default_rng(0).uniform(0, 255, (10, 4, 6, 3)).astype(np.float32)
    steps = fit(schema, {"photo": pixels})
    out = steps.apply({"photo": pixels})
    assert out.shape == (10, 3, 4, 6)
    assert abs(float(out.mean())) < 1e-4
    np.testing.assert_allclose(
        out[3, 2], (pixels[3, :, :, 2] - steps.images[0].mean) / steps.images[0].scale, rtol=1e-4
    )


def test_an_image_beside_other_fields_is_flattened() -> None:
    schema = Schema(
        fields=(Field(name="picture", kind="image", shape=(2, 2)), Field(name="x", kind="number")),
        target=Target(name="y", kind="number"),
    )
    inputs = {"picture": np.ones((3, 2, 2), np.float32), "x": np.arange(3, dtype=np.float32)[:, None]}
    assert fit(schema, inputs).apply(inputs).shape == (3, 5)


def test_a_constant_column_does_no_harm() -> None:
    inputs = {"input": np.ones((10, 3), np.float32)}
    assert np.isfinite(fit(NUMBERS, inputs).apply(inputs)).all()


def test_it_is_written_and_read_the_same(tmp_path: Path) -> None:
    steps = fit(MIXED, MIXED.encode_table(mixed()), np.arange(240.0))
    steps.save(tmp_path)
    assert Preprocessing.load(tmp_path) == steps


def test_a_folder_without_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no readable preprocessing\.json"):
        Preprocessing.load(tmp_path)
