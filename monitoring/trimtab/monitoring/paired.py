"""Two versions on the same labelled rows: who was right where, as counts that add up.

Both versions' answers to the same row are far better evidence than each one's own share of the requests: what makes
a row hard is the same for both. Which of them answered the request does not matter, the other's answer is computed
from the log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.monitoring import evalues


@dataclass(frozen=True)
class Paired:
    """Counts of labelled rows by who was right, or sums of absolute errors; `a + b` counts both.

    Attributes:
        both_right, challenger_only, champion_only, both_wrong: labelled rows of a classifier by who was right.
        same, different: unlabelled rows by whether both gave the same answer.
        values: labelled rows of a regressor.
        challenger_errors, champion_errors: sums of their absolute errors.
        squares: sum of the squared differences of these errors.
    """

    both_right: int = 0
    challenger_only: int = 0
    champion_only: int = 0
    both_wrong: int = 0
    same: int = 0
    different: int = 0
    values: int = 0
    challenger_errors: float = 0.0
    champion_errors: float = 0.0
    squares: float = 0.0

    @classmethod
    def of_labels(cls, truth: npt.ArrayLike, challenger: npt.ArrayLike, champion: npt.ArrayLike) -> Paired:
        """Count answers of a classifier.

        >>> Paired.of_labels(["a", "b", "b"], ["a", "b", "a"], ["a", "a", "b"]).n
        3
        """
        t = np.asarray(truth)
        ours, theirs = np.asarray(challenger) == t, np.asarray(champion) == t
        return cls(
            both_right=int(np.sum(ours & theirs)),
            challenger_only=int(np.sum(ours & ~theirs)),
            champion_only=int(np.sum(~ours & theirs)),
            both_wrong=int(np.sum(~ours & ~theirs)),
        )

    @classmethod
    def of_values(cls, truth: npt.ArrayLike, challenger: npt.ArrayLike, champion: npt.ArrayLike) -> Paired:
        """Sum absolute errors of a regressor; rows where one is not finite are left out."""
        t = np.asarray(truth, np.float64)
        ours = np.abs(np.asarray(challenger, np.float64) - t)
        theirs = np.abs(np.asarray(champion, np.float64) - t)
        good = np.isfinite(ours) & np.isfinite(theirs)
        ours, theirs = ours[good], theirs[good]
        return cls(
            values=int(good.sum()),
            challenger_errors=float(ours.sum()),
            champion_errors=float(theirs.sum()),
            squares=float(((ours - theirs) ** 2).sum()),
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Paired:
        """Read what `record` or the stage evaluate wrote; other fields are left alone."""
        known = {f.name: record[f.name] for f in fields(cls) if f.name in record}
        if "challenger_loss" in record:
            n, mean = int(record["n"]), float(record["mean_difference"])
            known |= {
                "values": n,
                "challenger_errors": n * float(record["challenger_loss"]),
                "champion_errors": n * float(record["champion_loss"]),
                "squares": max(n - 1, 0) * float(record["std_difference"]) ** 2 + n * mean**2,
            }
        return cls(**known)

    def record(self) -> dict[str, Any]:
        """The counts as a record's fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"n": self.n}

    def __add__(self, other: Paired) -> Paired:
        return Paired(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def n(self) -> int:
        """Labelled rows."""
        return self.both_right + self.challenger_only + self.champion_only + self.both_wrong + self.values

    @property
    def rows(self) -> int:
        """Rows, labelled or not."""
        return self.n + self.same + self.different

    def no_worse(self, margin: float) -> float:
        """Evidence (an e-value) that the challenger is no worse than the champion by the margin.

        For numbers the margin is a share of the champion's mean absolute error. Unlabelled rows count too: where both
        gave the same answer neither can be worse, and where they did not the challenger is taken to be wrong.
        """
        if self.values:
            n, difference = self.values, self.challenger_errors - self.champion_errors
            allowed = margin * self.champion_errors / n
            # Sums of allowed - (challenger's error - champion's) and of its square.
            return evalues.paired_sums(
                n, n * allowed - difference, self.squares - 2 * allowed * difference + n * allowed**2
            )
        ties = self.both_right + self.both_wrong
        known = evalues.paired_counts(self.challenger_only, ties, self.champion_only, margin)
        if not self.same + self.different:
            return known
        worst = evalues.paired_counts(
            self.challenger_only, ties + self.same, self.champion_only + self.different, margin
        )
        return (known + worst) / 2

    def worse(self) -> float:
        """Evidence (an e-value) that the challenger is worse than the champion, by however little."""
        if self.values:
            return evalues.paired_sums(self.values, self.challenger_errors - self.champion_errors, self.squares)
        return evalues.paired_counts(self.champion_only, self.both_right + self.both_wrong, self.challenger_only)

    def words(self) -> str:
        """How both did, for people."""
        if self.values:
            ours, theirs = self.challenger_errors / self.values, self.champion_errors / self.values
            return f"mean absolute error {ours:.4g} on {self.values} rows, the champion's {theirs:.4g}"
        right, theirs_right = self.both_right + self.challenger_only, self.both_right + self.champion_only
        if not self.n:
            seen = self.same + self.different
            return f"no labelled rows, {self.same} of {seen} answers as the champion's" if seen else "no labelled rows"
        return f"{right} of {self.n} right, the champion {theirs_right}"

    def gain(self) -> float:
        """By how much the challenger is better: share of labelled rows, or of the champion's mean absolute error."""
        if self.values:
            less = self.champion_errors - self.challenger_errors
            return less / self.champion_errors if self.champion_errors else -math.copysign(float(less < 0), 1.0)
        return (self.challenger_only - self.champion_only) / self.n if self.n else 0.0
