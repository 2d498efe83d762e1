"""How often the judge errs: whole rollouts, simulated, at the default settings.

A rollout is played as the controller plays it: the ruling on the rows that a retrain kept for judging, the shadow, the
shares, until it is promoted, taken back, or undecided. Labels land in chunks and the judge looks after each. Nothing
here is a copy: `judge.challenger` and `judge.canary` decide, on `Plan`s made from the size of a window.

    python -m benchmarks.judge [--rollouts N] [--out FILE]

A false promotion is a version truly worse than the champion by more than the margin that gets promoted; a false
rollback takes back one that is no worse. The table's figures are the largest over all kinds of traffic and of models;
what is undecided in the end is neither, and shown beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trimtab.core.policies import Plan, Rollout
from trimtab.core.records import rfc3339, utcnow
from trimtab.monitoring import judge
from trimtab.monitoring.judge import SHADOW, Arm, Figures
from trimtab.monitoring.paired import Paired

RESULTS = Path(__file__).parent / "results" / "judge.json"
# Requests that fail, and answers that are slow, of the champion and of a version without fault.
FAILED, SLOW = 0.002, 0.03
ENDS = ("promoted", "taken back", "undecided")


@dataclass(frozen=True)
class Traffic:
    """How much there is to judge on.

    Attributes:
        window: rows of a window, from which the plan is made.
        kept: labelled rows that the retrain kept for judging.
        chunk: labelled rows that land between two looks.
        labelled: share of the answered rows whose label comes.
    """

    window: int
    kept: int
    chunk: int
    labelled: float = 1.0


@dataclass(frozen=True)
class Models:
    """What is true of the two versions.

    Attributes:
        gap: by how much the new version is better, in points (numbers: percent of the mean absolute error).
        apart: rows, in percent, on which just one of them is right; at least the gap.
        errors: distribution of a regressor's errors; empty for a classifier.
        failed: share of the new version's requests that fail.
    """

    gap: float
    apart: float = 10.0
    errors: str = ""
    failed: float = FAILED


TRAFFIC = (
    Traffic(window=30, kept=0, chunk=10),
    Traffic(window=69, kept=20, chunk=69),
    Traffic(window=100, kept=50, chunk=25),
    Traffic(window=100, kept=20, chunk=10, labelled=0.2),
    Traffic(window=300, kept=75, chunk=100),
    Traffic(window=1000, kept=300, chunk=250),
    Traffic(window=5000, kept=300, chunk=1000),
)
GAPS = (-20.0, -10.0, -5.0, -3.0, -2.0, -1.01, -0.5, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0)
APART = (1.0, 6.0, 15.0)


def chunk(rng: np.random.Generator, models: Models, n: int) -> Paired:
    """Both versions on n fresh labelled rows."""
    if models.errors:
        return _values(rng, models, n)
    apart = max(models.apart, abs(models.gap)) / 100
    ours, theirs = (apart + models.gap / 100) / 2, (apart - models.gap / 100) / 2
    mine, yours, wrong, right = rng.multinomial(n, [ours, theirs, (1 - apart) / 10, (1 - apart) * 9 / 10])
    return Paired(int(right), int(mine), int(yours), int(wrong))


def _values(rng: np.random.Generator, models: Models, n: int) -> Paired:
    """Errors of two regressors that share most of what makes a row hard."""
    common, own, other = (_draw(rng, models.errors, n) for _ in range(3))
    weight = models.apart / 100
    theirs = np.abs(common * (1 - weight) + other * weight)
    ours = np.abs(common * (1 - weight) + own * weight) * (1 - models.gap / 100)
    return Paired.of_values(np.zeros(n), ours, theirs)


def _draw(rng: np.random.Generator, kind: str, n: int) -> npt.NDArray[np.float64]:
    if kind == "heavy":
        return rng.standard_t(3, n)
    return rng.standard_normal(n) if kind == "normal" else rng.standard_exponential(n)


def rollout(rng: np.random.Generator, traffic: Traffic, models: Models, plan: Plan) -> tuple[str, int]:
    """One rollout: how it ended, and on how many labelled rows."""
    paired = chunk(rng, models, traffic.kept) if traffic.kept else Paired()
    if traffic.kept and not judge.challenger(paired, plan).released:
        return "taken back", paired.n
    arms, step, before = (Arm(), Arm()), SHADOW, paired.n
    while True:
        decision = judge.canary(Figures(*arms, 1.0, step, paired, before=before), plan)
        if decision.move == "raise":
            arms, step = (Arm(), Arm()), decision.step
            continue
        if decision.move != "wait":
            end = "promoted" if decision.move == "promote" else "undecided" if decision.undecided else "taken back"
            return end, paired.n
        paired += chunk(rng, models, traffic.chunk)
        if step > SHADOW:
            arms = _answered(rng, arms, round(traffic.chunk / traffic.labelled), plan.shares[step], models)


def _answered(
    rng: np.random.Generator, arms: tuple[Arm, Arm], rows: int, share: int, models: Models
) -> tuple[Arm, Arm]:
    mine = int(rng.binomial(rows, share / 100))
    added = []
    for arm, n, failing in ((arms[0], mine, models.failed), (arms[1], rows - mine, FAILED)):
        slow, failed = int(rng.binomial(n, SLOW)), int(rng.binomial(n, failing))
        added.append(Arm(arm.rows + n, arm.slow + slow, 0, 0, arm.requests + n, arm.failed + failed))
    return added[0], added[1]


def cell(task: tuple[Traffic, Models, int, int]) -> dict[str, object]:
    """Many rollouts of one kind: shares of their ends in percent, median of labelled rows."""
    traffic, models, rollouts, seed = task
    rng = np.random.default_rng(seed)
    plan = Rollout().sized(traffic.window)
    ended = [rollout(rng, traffic, models, plan) for _ in range(rollouts)]
    shares = {end: 100 * sum(e == end for e, _ in ended) / rollouts for end in ENDS}
    return {**asdict(traffic), **asdict(models), **shares, "rows": float(np.median([n for _, n in ended]))}


def tasks(rollouts: int) -> Iterator[tuple[Traffic, Models, int, int]]:
    """All kinds of rollouts; more of those in which an error would be one."""
    seed = 0
    for traffic in TRAFFIC:
        kinds = [Models(gap, apart) for gap in GAPS for apart in APART if abs(gap) <= apart or apart == APART[-1]]
        kinds += [
            Models(gap, 50.0, errors) for gap in (-10.0, -1.1, 0.0, 10.0) for errors in ("normal", "heavy", "skewed")
        ]
        kinds += [Models(10.0, 15.0, failed=failed) for failed in (0.05, 0.2)]
        for models in kinds:
            seed += 1
            hard = -2.0 <= models.gap <= 0.0 and models.failed == FAILED
            yield traffic, models, rollouts if hard else rollouts // 4, seed


def figures(cells: list[dict[str, object]]) -> dict[str, object]:
    """The rates by true difference, the largest over traffic and models, and the two that must be small."""
    sound = [c for c in cells if c["failed"] == FAILED]
    margin = 100 * Rollout().margin

    def largest(rows: list[dict[str, object]], end: str) -> float:
        return max(float(str(c[end])) for c in rows)

    by_gap = {
        f"{gap:+g}": {end: largest([c for c in sound if c["gap"] == gap and not c["errors"]], end) for end in ENDS}
        for gap in GAPS
    }
    return {
        "false_promotion_percent": largest([c for c in sound if float(str(c["gap"])) < -margin], "promoted"),
        "false_rollback_percent": largest([c for c in sound if float(str(c["gap"])) >= 0], "taken back"),
        "largest_by_points": by_gap,
        "promoted_by_window_and_points": {
            str(t.window): {
                f"{gap:+g}": round(
                    float(np.mean([float(str(c["promoted"])) for c in sound
                                   if c["window"] == t.window and c["gap"] == gap and not c["errors"]])), 1
                )
                for gap in GAPS
            }
            for t in TRAFFIC
        },
        # Better by ten points, but some of its requests fail.
        "failing_5_percent_promoted": largest([c for c in cells if c["failed"] == 0.05], "promoted"),
        "failing_20_percent_promoted": largest([c for c in cells if c["failed"] == 0.2], "promoted"),
    }  # fmt: skip


def main() -> None:
    """Simulate, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument(
        "--rollouts",
        type=int,
        default=2000,
        help="rollouts of each kind (a quarter of it where an error is out of reach)",
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        cells = list(pool.map(cell, tasks(options.rollouts), chunksize=4))
    found = figures(cells)
    table = found["largest_by_points"]
    assert isinstance(table, dict)
    print("true difference, points | " + " | ".join(f"{end}, %" for end in ENDS))
    for gap, ends in table.items():
        print(f"{gap:>23} | " + " | ".join(f"{ends[end]:{len(end) + 3}.2f}" for end in ENDS))
    print(f"false promotions, largest: {found['false_promotion_percent']:.2f} %")
    print(f"false rollbacks, largest:  {found['false_rollback_percent']:.2f} %")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    options.out.parent.mkdir(exist_ok=True)
    machine = {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}
    record = {
        "written_at": rfc3339(utcnow()), "commit": commit, "machine": machine, "rollouts": options.rollouts,
        "seconds": round(time.monotonic() - started, 1), "figures": found, "cells": cells,
    }  # fmt: skip
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
