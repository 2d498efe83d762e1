"""A world of 25 mixed columns without drift, and with as much of it as asked: the data of `make bench-drift`.

Numbers are normal (four of them tied together by a common factor, one to a category), skewed, heavy-tailed, discrete,
mostly zero or partly missing; categories are few, many (300 names, most of them rare), lopsided or partly missing.
A classifier of known accuracy with calibrated probabilities answers the rows. Every draw is fresh: no file, no
cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trimtab.core.predictions import TIME
from trimtab.core.schema import Field, Schema, Target

NUMBERS = 16
# The standard deviations that a shift is stated in are those of the normal variable that each number is made of: for
# the skewed and the heavy-tailed this is less than their own standard deviation, so it is the harder reading.
SHIFTED_MIXED = (0, 4, 6, 8, 11)
SHIFTED_NORMAL = (0, 1, 4, 5, 15)
_CATEGORIES = ("two", "three", "five", "twelve", "forty", "many", "lopsided", "gaps", "tied")
NAMES = [f"n{i}" for i in range(NUMBERS)] + list(_CATEGORIES)
CLASSES = ("no", "yes")
ACCURACY = 0.9


def _shares(k: int, power: float = 1.0) -> np.ndarray:
    weights = 1 / np.arange(1, k + 1) ** power
    return np.cumsum(weights / weights.sum())


_SHARES = {"two": _shares(2), "three": _shares(3), "five": _shares(5), "twelve": _shares(12), "forty": _shares(40),
           "many": _shares(300, 1.3), "lopsided": np.cumsum([0.985, 0.006, 0.005, 0.003, 0.001]),
           "gaps": _shares(6), "tied": _shares(4)}  # fmt: skip
_NAMES = {name: pa.array([f"{name} {i}" for i in range(len(shares))]) for name, shares in _SHARES.items()}

SCHEMA = Schema(
    fields=tuple(
        [Field(name=f"n{i}", kind="number", nullable=i in (13, 14)) for i in range(NUMBERS)]
        + [Field(name=name, kind="category", nullable=name == "gaps") for name in _CATEGORIES]
    ),
    target=Target(name="outcome", kind="category", classes=CLASSES),
)


@dataclass(frozen=True)
class World:
    """What rows are drawn from.

    Attributes:
        shift: by how many standard deviations the `shifted` numbers have moved.
        shifted: their indices.
        drop: by how much the accuracy has dropped, as a ratio.
    """

    shift: float = 0.0
    shifted: tuple[int, ...] = SHIFTED_MIXED
    drop: float = 0.0

    def rows(self, rng: np.random.Generator, n: int, start: int = 0, fields: bool = True) -> pa.Table:
        """Rows as the prediction log joined with its labels has them.

        Args:
            rng: source of chance.
            n: rows.
            start: number of the first one, for its id and time.
            fields: all of them; else the first alone, where only answers matter.
        """
        found = self._fields(rng, n) if fields else {"n0": pa.array(rng.normal(size=n))}
        found |= self._answers(rng, n)
        times = 1_700_000_000_000_000 + 1_000_000 * np.arange(start, start + n)
        found["_time"] = pa.array(times).cast(TIME)
        found["_labelled_at"] = pa.array(times + 60_000_000).cast(TIME)
        found["_contradicted"] = pa.array(np.zeros(n, bool))
        found["_id"] = pa.array(np.char.add("row-", np.arange(start, start + n).astype(str)))
        return pa.table(found)

    def _fields(self, rng: np.random.Generator, n: int) -> dict[str, pa.Array]:
        # NaN is how a missing number comes; the log would have null, which counts the same.
        found: dict[str, pa.Array] = {f"n{i}": pa.array(x) for i, x in enumerate(self._numbers(rng, n))}
        common = np.asarray(found["n0"])
        for name, shares in _SHARES.items():
            u = rng.random(n)
            if name == "tied":
                u = np.clip(0.5 + 0.25 * common + 0.2 * (u - 0.5), 0, 1 - 1e-9)
            codes = np.minimum(np.searchsorted(shares, u, side="right"), len(shares) - 1).astype(np.int32)
            mask = rng.random(n) < 0.08 if name == "gaps" else None
            coded = pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), _NAMES[name])
            found[name] = coded.cast(pa.string())
        return found

    def _numbers(self, rng: np.random.Generator, n: int) -> list[np.ndarray]:
        z = rng.normal(size=(NUMBERS, n))
        z[:4] = 0.6 * rng.normal(size=n) + 0.8 * z[:4]
        for i in self.shifted:
            z[i] += self.shift
        heavy = np.sqrt(rng.chisquare(2.5, (2, n)) / 2.5)
        z[6], z[7] = np.exp(z[6]), np.exp(1.5 * z[7])
        z[8], z[9] = z[8] / heavy[0], z[9] / heavy[1]
        z[10], z[11] = np.floor(np.exp(0.6 * z[10] + 1)), np.clip(np.round(z[11] + 2), 0, 4)
        z[12] = np.where(z[12] < 0.5, 0.0, np.round(z[12], 2))
        z[13] = np.where(rng.random(n) < 0.1, np.nan, z[13])
        z[14] = np.where(rng.random(n) < 0.5, np.nan, np.exp(z[14]))
        return list(z)

    def _answers(self, rng: np.random.Generator, n: int) -> dict[str, pa.Array]:
        """Answers that are right as often as their probabilities say, 0.9 on average, less the drop."""
        sure = 0.5 + 0.5 * rng.beta(2.0, 0.5, n)  # mean 0.9; explains 13 % of the variance of right and wrong
        answer = rng.random(n) < 0.4
        right = rng.random(n) < sure - self.drop
        truth = np.where(right, answer, ~answer)
        yes = np.where(answer, sure, 1 - sure)
        flat = pa.array(np.stack([1 - yes, yes], axis=1).astype(np.float32).ravel())
        names = np.array(CLASSES)
        return {
            "_label": pa.array(names[answer.astype(int)]),
            "_probabilities": pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * n + 1, 2, dtype=np.int32)), flat),
            "outcome": pa.array(names[truth.astype(int)]),
            "_truth": pa.array(names[truth.astype(int)]),
        }
