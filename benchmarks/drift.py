"""How often the watch is wrong, what it sees, and what that costs: `make bench-drift`.

Windows of a mixed world (`mixed.py`) go through the very code that watches (`windows.py`); whole processes are
measured on big windows (`costs.py`). Seeds are fixed. Writes a table to the screen, `results/drift.json` and
`results/drift.png`.

    python -m benchmarks.drift [--scale 1.0] [--only false,power,drop,cost] [--folder FOLDER]
"""

from __future__ import annotations

import os

# Before numpy is loaded, which reads them once: two processes of two threads each take three times as long.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}

import argparse
import json
import platform
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import costs
from benchmarks.mixed import SHIFTED_NORMAL, World
from benchmarks.windows import Tally, Task, tally, total

from trimtab.core.records import rfc3339, utcnow

RESULTS = Path(__file__).parent / "results"
SIZES = (100, 300, 1_000, 3_000, 10_000)
LARGE = 10_000
# Versions of one size and reference, and consecutive windows of each: windows that share a reference err together.
VERSIONS, WINDOWS = 200, 6
POWER_VERSIONS, POWER_WINDOWS = 200, 2
DROP_RUNS = 2_500
CHUNK = 10


def chunks(task: Task, size: int = CHUNK) -> list[Task]:
    """A task in pieces, each with a seed of its own."""
    pieces = range(0, task.references, size)
    return [replace(task, seed=(*task.seed, i), references=min(size, task.references - i)) for i in pieces]


def run(pool: ProcessPoolExecutor, task: Task, size: int = CHUNK) -> Tally:
    """All pieces of a task, by the pool."""
    return total(pool.map(tally, chunks(task, size)))


def percent(part: int, whole: int) -> float:
    return round(100 * part / max(1, whole), 3)


def interval(part: int, whole: int) -> tuple[float, float]:
    """95 % interval of a share, in percent (Jeffreys)."""
    from scipy import special

    low = 0.0 if part == 0 else special.betaincinv(part + 0.5, whole - part + 0.5, 0.025)
    high = 1.0 if part == whole else special.betaincinv(part + 0.5, whole - part + 0.5, 0.975)
    return round(100 * float(low), 3), round(100 * float(high), 3)


def false_alarms(pool: ProcessPoolExecutor, scale: float) -> list[dict[str, Any]]:
    """Windows without drift, with references of their own size and of 10,000 rows."""
    rows = []
    for n in SIZES:
        for m in sorted({n, LARGE}):
            versions = max(2, round(VERSIONS * scale * (1.2 if m == n == LARGE else 1)))
            found = run(pool, Task((1, m, n), m, n, versions, WINDOWS))
            rows.append(told(facts("no drift", m, n, found)))
            p = np.array(found.p)
            rows[-1]["inputs_p"] = {
                str(q): round(float((p <= q).mean()), 5) for q in (0.0015, 0.005, 0.01, 0.05, 0.1, 0.5)
            }
    return rows


def power(pool: ProcessPoolExecutor, scale: float) -> list[dict[str, Any]]:
    """A shift of 0.3 standard deviations in 5 of 25 columns."""
    rows = []
    for name, shifted in (("0.3 sigma, 5 mixed numbers", World().shifted), ("0.3 sigma, 5 normal", SHIFTED_NORMAL)):
        for n in (300, 1_000):
            for m in sorted({n, LARGE}):
                versions = max(2, round(POWER_VERSIONS * scale))
                world = World(shift=0.3, shifted=shifted)
                found = run(pool, Task((2, m, n), m, n, versions, POWER_WINDOWS, world))
                rows.append(told(facts(name, m, n, found)))
    return rows


def drop(pool: ProcessPoolExecutor, scale: float) -> list[dict[str, Any]]:
    """Accuracy 90 %, known from 10,000 rows, falls by 5 points: seen within 3 windows of 300?"""
    runs = max(20, round(DROP_RUNS * scale))
    task = Task((3,), LARGE, 300, runs, 3, World(drop=0.05), stop=True, only_labels=True)
    found = run(pool, task, 100)
    return [told(facts("accuracy 90 % falls by 5 points, 3 windows", LARGE, 300, found))]


def facts(name: str, m: int, n: int, found: Tally) -> dict[str, Any]:
    """A row of the table."""
    whole, part = (found.versions, found.answered) if "3 windows" in name else (found.windows, found.watched)
    return {
        "what": name, "reference_rows": m, "rows": n, "windows": found.windows, "versions": found.versions,
        "watch_percent": percent(part, whole), "interval": interval(part, whole), "drift": found.drifted,
        "layers": dict(found.layers), "cpu_ms_a_window": round(1000 * found.cpu / max(1, found.windows), 1),
    }  # fmt: skip


def cost(folder: Path, scale: float) -> dict[str, Any]:
    """Processes that compare big windows: ours and Evidently's on the same files, and a window ten times as big."""
    small = max(10_000, round(1e6 * scale))
    costs.write(folder / "reference.parquet", 10_000, 25, seed=7)
    costs.write(folder / "window.parquet", small, 25, seed=8)
    mine = costs.measure("ours", folder / "window.parquet", folder / "reference.parquet")
    say(f"1e6 x 25: {mine}")
    theirs = costs.measure("evidently", folder / "window.parquet", folder / "reference.parquet")
    say(f"Evidently, the same: {theirs}")
    costs.write(folder / "reference100.parquet", 10_000, 100, seed=9)
    costs.write_many(folder / "big", max(100_000, round(1e7 * scale)), 100, files=10)
    say(f"written: {sum(f.stat().st_size for f in (folder / 'big').iterdir()) / 1e9:.1f} GB")
    big = costs.measure("ours", folder / "big", folder / "reference100.parquet")
    say(f"1e7 x 100: {big}")
    return {"ours_1e6x25": mine, "evidently_1e6x25": theirs, "ours_1e7x100": big}


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """The figures that the project promises, those that this run has."""
    shown: dict[str, Any] = {}
    if still := found.get("false"):
        # The larger of the two references' shares.
        by_rows = {str(n): [r for r in still if r["rows"] == n] for n in SIZES}
        shown["watch_false_percent"] = {n: max(r["watch_percent"] for r in of) for n, of in by_rows.items()}
        shown["drift_false_percent"] = {
            n: percent(sum(r["drift"] for r in of), sum(r["windows"] for r in of)) for n, of in by_rows.items()
        }
        windows, drifts = sum(r["windows"] for r in still), sum(r["drift"] for r in still)
        shown |= {"drift_false_windows": drifts, "windows_without_drift": windows}
        shown["drift_false_per_2160_windows"] = round(2160 * drifts / windows, 3)
    for n in (1000, 300):
        if of := [r for r in found.get("power", ()) if r["rows"] == n]:
            shown[f"power_{n}_percent"] = min(r["watch_percent"] for r in of)
    if of := found.get("drop"):
        shown["drop_power_percent"] = of[0]["watch_percent"]
    if of := found.get("cost"):
        mine, theirs, big = of["ours_1e6x25"], of["evidently_1e6x25"], of["ours_1e7x100"]
        shown |= {
            "cpu_s_1e6x25": mine["cpu_s"],
            "rss_mb_1e6x25": mine["rss_mb"],
            "cpu_ratio_over_evidently_1e6x25": round(theirs["cpu_s"] / mine["cpu_s"], 1),
            "wall_s_1e7x100": big["wall_s"],
            "rss_mb_1e7x100": big["rss_mb"],
        }
    return shown


def plot(found: dict[str, Any], path: Path) -> None:
    """False alarms by size, calibration of the inputs' p-value, CPU against Evidently."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for large in (False, True):
        rows = [r for r in found.get("false", ()) if (r["reference_rows"] == LARGE) == large]
        name = f"reference of {LARGE:,} rows" if large else "reference of the window's size"
        y = np.array([r["watch_percent"] for r in rows])
        ends = np.array([r["interval"] for r in rows]).reshape(-1, 2)
        x = np.arange(len(rows)) + 0.1 * large
        left.errorbar(x, y, np.abs(ends.T - y), fmt="o", capsize=3, label=name)
        for r in rows:
            q = [float(k) for k in r["inputs_p"]]
            middle.loglog(q, [max(v, 1e-5) for v in r["inputs_p"].values()], "-o" if large else "--s", ms=3,
                          label=f"{r['rows']:,} rows" if large else None)  # fmt: skip
    left.axhline(1.0, color="grey", lw=1)
    left.set_xticks(range(len(SIZES)), [f"{n:,}" for n in SIZES])
    left.set(title="windows without drift that say watch", xlabel="rows of the window", ylabel="%", ylim=(0, None))
    left.legend()
    middle.plot([1e-3, 1], [1e-3, 1], color="grey", lw=1)
    middle.set(title="inputs' p-value without drift", xlabel="level", ylabel="share of windows at or below it")
    middle.legend(fontsize=8)
    if of := found.get("cost"):
        names = {"ours_1e6x25": "Trimtab\n1e6 x 25", "evidently_1e6x25": "Evidently\n1e6 x 25",
                 "ours_1e7x100": "Trimtab\n1e7 x 100"}  # fmt: skip
        bars = right.bar(list(names.values()), [of[k]["cpu_s"] for k in names])
        right.bar_label(bars, [f"{of[k]['cpu_s']:.1f} s, {of[k]['rss_mb']:.0f} MB" for k in names])
        right.set(title="CPU seconds and peak memory of the process", yscale="log")
    figure.savefig(path, dpi=110)


def say(line: str) -> None:
    print(line, flush=True)


def told(r: dict[str, Any]) -> dict[str, Any]:
    """A row of the table, on the screen as soon as it is known."""
    low, high = r["interval"]
    said = f"{r['what']:<44} {r['reference_rows']:>7,} {r['rows']:>7,} {r['windows']:>7,}"
    say(f"{said}  {r['watch_percent']:>7.2f} %  ({low:.2f} to {high:.2f})  drift {r['drift']}  {r['layers']}")
    return r


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the windows, runs and rows")
    parser.add_argument("--only", default="cost,false,power,drop", help="parts to run")
    parser.add_argument("--folder", type=Path, help="where the big files go (10 GB), by default a temporary folder")
    asked = parser.parse_args()
    began, found = time.monotonic(), {}
    parts = asked.only.split(",")
    RESULTS.mkdir(exist_ok=True)
    if "cost" in parts:  # first, while nothing else of ours runs
        folder = Path(tempfile.mkdtemp(prefix="trimtab-bench-", dir=asked.folder))
        try:
            found["cost"] = cost(folder, asked.scale)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    say(f"{'':<44} {'ref.':>7} {'rows':>7} {'windows':>7}  watch or higher")
    simulated = {"false": false_alarms, "power": power, "drop": drop}
    with ProcessPoolExecutor(2) as pool:
        for name, part in simulated.items():
            if name in parts:
                found[name] = part(pool, asked.scale)
    shown = figures(found)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    about = {"commit": commit, "machine": machine, "at": rfc3339(utcnow()), "scale": asked.scale}
    seconds = round(time.monotonic() - began, 1)
    text = json.dumps({**about, "seconds": seconds, "figures": shown, "details": found}, indent=1)
    (RESULTS / "drift.json").write_text(text)
    if "false" in found:
        plot(found, RESULTS / "drift.png")
    say(json.dumps(shown, indent=1))
    say(f"{seconds:.0f} s; {RESULTS / 'drift.json'}")


if __name__ == "__main__":
    main()
