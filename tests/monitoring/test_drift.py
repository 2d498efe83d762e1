"""Input drift: false alarms and power by simulation, fields of every kind, poisoned windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trimtab.monitoring.drift import Column, Profile

NUMBERS = [Column(f"n{i}", "number") for i in range(17)]
CATEGORIES = [Column(f"c{i}", "category") for i in range(8)]
COLUMNS = NUMBERS + CATEGORIES
SIZES = (2, 3, 5, 10, 30, 2, 4, 60)
# The share of windows in which inputs may say `watch` by chance, of the 1 % for all layers.
LEVEL = 0.0015


def table(rng: np.random.Generator, n: int, shift: float = 0.0) -> dict[str, Any]:
    """25 mixed columns, six of them tied together; five move by `shift` standard deviations."""
    common = rng.normal(size=n)
    found: dict[str, Any] = {}
    for i in range(17):
        x = rng.normal(size=n)
        if i < 6:
            x = 0.6 * common + 0.8 * x
        if i in (0, 7, 9, 12, 14):
            x = x + shift
        if i in (7, 8):
            x = np.exp(x)
        found[f"n{i}"] = np.where(rng.random(n) < 0.1, np.nan, x) if i == 10 else x
    for i, k in enumerate(SIZES):
        share = 1 / np.arange(1, k + 1)
        found[f"c{i}"] = rng.choice(k, n, p=share / share.sum()).astype(str)
    return found


def fired(seed: int, m: int, n: int, rounds: int, shift: float = 0.0) -> int:
    """Windows of n rows that look moved; each with a reference of its own of m rows, a large one serves for five."""
    rng = np.random.default_rng(seed)
    count, profile = 0, Profile.of(COLUMNS, table(rng, m))
    for i in range(rounds):
        if m < 10_000 or i % 5 == 0:
            profile = Profile.of(COLUMNS, table(rng, m))
        count += profile.compare(profile.count(table(rng, n, shift))).p <= LEVEL
    return count


@pytest.mark.parametrize(("m", "n"), [(100, 100), (300, 300), (276, 69)])
def test_false_alarms(m: int, n: int) -> None:
    # 0.25 % of 60 is 0.15; three or more have a chance below 1 %.
    assert fired(m + n, m, n, 60) <= 2


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("m", "n"), [(100, 100), (10_000, 100), (300, 300), (10_000, 300), (1000, 1000), (3000, 3000)])
def test_false_alarms_over_a_thousand_windows(m: int, n: int) -> None:
    assert fired(m + n, m, n, 1000) <= 10


def test_power() -> None:
    """0.3 standard deviations in 5 of 25 columns: nearly always seen with 1,000 rows, mostly with 300."""
    assert fired(1, 1000, 1000, 25, shift=0.3) == 25
    assert fired(2, 300, 300, 40, shift=0.3) >= 36


def test_the_field_that_moved_is_named_with_its_effect() -> None:
    rng = np.random.default_rng(5)
    profile = Profile.of(COLUMNS, table(rng, 1000))
    now = table(rng, 400)
    now["n3"] = now["n3"] + 1.0
    now["c2"] = np.where(rng.random(400) < 0.3, "new", now["c2"])
    named = profile.compare(profile.count(now)).named(LEVEL)
    assert {f.name for f in named} == {"n3", "c2"}
    number = next(f for f in named if f.name == "n3")
    assert number.unit == "Kolmogorov-Smirnov distance"
    assert number.effect == pytest.approx(0.38, abs=0.07)
    category = next(f for f in named if f.name == "c2")
    assert "never seen 0.0% → 3" in category.words or "never seen 0.0% → 2" in category.words


def test_missing_values_are_seen() -> None:
    rng = np.random.default_rng(6)
    profile = Profile.of(COLUMNS, table(rng, 500))
    now = table(rng, 300)
    now["n1"] = np.where(rng.random(300) < 0.2, np.nan, now["n1"])
    (field,) = profile.compare(profile.count(now)).named(LEVEL)
    assert field.name == "n1"
    assert field.unit == "share of rows missing"


def images(rng: np.random.Generator, n: int, gain: float = 1.0) -> np.ndarray:
    grid = np.linspace(-1, 1, 8)
    centre = rng.normal(0, 0.3, (n, 2))
    distance = (grid[None, :, None] - centre[:, :1, None]) ** 2 + (grid[None, None, :] - centre[:, 1:, None]) ** 2
    return (gain * 16 * np.exp(-3 * distance) + rng.normal(0, 1, (n, 8, 8))).reshape(n, 64)


def test_images_keep_the_level_and_show_what_changed() -> None:
    rng = np.random.default_rng(7)
    column = [Column("image", "image", (8, 8))]
    quiet = 0
    for _ in range(100):
        profile = Profile.of(column, {"image": images(rng, 276)})
        quiet += profile.compare(profile.count({"image": images(rng, 69)})).p > 0.01
    assert quiet >= 96
    profile = Profile.of(column, {"image": images(rng, 276)})
    found = profile.compare(profile.count({"image": images(rng, 69, gain=0.8)}))
    assert found.p < 1e-4
    assert "brightness" in found.fields[0].words or "contrast" in found.fields[0].words


@pytest.mark.parametrize("poison", ["null", "one", "infinite", "absent", "empty", "unseen"])
def test_a_poisoned_window_is_compared_not_crashed_on(poison: str) -> None:
    rng = np.random.default_rng(8)
    profile = Profile.of(COLUMNS, table(rng, 300))
    now = table(rng, 100)
    if poison == "null":
        now = {k: np.full(100, np.nan) if k[0] == "n" else np.array([None] * 100, object) for k in now}
    elif poison == "one":
        now = {k: np.zeros(100) if k[0] == "n" else np.array(["0"] * 100) for k in now}
    elif poison == "infinite":
        now["n0"] = np.where(np.arange(100) % 2, np.inf, -np.inf)
    elif poison == "absent":
        now.pop("n0")
        now.pop("c0")
    elif poison == "unseen":
        now["c4"] = np.array([f"new {i}" for i in range(100)])
    elif poison == "empty":
        now = {k: v[:0] for k, v in now.items()}
    found = profile.compare(profile.count(now))
    assert 0.0 <= found.p <= 1.0
    assert (found.p > LEVEL) == (poison == "empty")
    assert all(np.isfinite(f.effect) for f in found.fields)


@pytest.mark.parametrize("poison", [np.nan, 3.0, np.inf])
def test_a_poisoned_reference_is_compared_not_crashed_on(poison: float) -> None:
    rng = np.random.default_rng(9)
    then = table(rng, 200)
    then["n0"] = np.full(200, poison)
    profile = Profile.of(COLUMNS, then)
    found = profile.compare(profile.count(table(rng, 100)))
    assert found.named(LEVEL)[0].name == "n0"


def test_shards_and_whole_give_the_same_comparison() -> None:
    rng = np.random.default_rng(10)
    profile = Profile.of(COLUMNS, table(rng, 300))
    now = table(rng, 200)
    halves = [profile.count({k: v[i::2] for k, v in now.items()}) for i in (0, 1)]
    added = {k: [a + b for a, b in zip(halves[0][k], halves[1][k], strict=True)] for k in halves[0]}
    assert profile.compare(added) == profile.compare(profile.count(now))
