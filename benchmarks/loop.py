"""Loops compared: what each way of retraining gives on streams with known drifts, at default settings.

    python -m benchmarks.loop [--out FILE] [--streams sea digits …] [--processes 2]

Writes `results/loop.json` (`figures.streams.<stream>.<policy>.{accuracy, retrains, delay}`, means over the seeds),
`results/loop.md` (the table of docs/loop.md) and `results/loop.png`. Nothing here is a copy: the replay calls the
functions that watch, choose and judge beside a server.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small fits are slower with more

import argparse
import json
import platform
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
POLICIES = ("static", "every", "every_last", "adwin", "ddm", "hddm", "page_hinkley", "trimtab", "trimtab_drift")
# Ours stand out in the plot: with `campaign.opens: gain`, and with `drift`, a project's default.
OURS = {"trimtab": "C3", "trimtab_drift": "C1"}
# The longest first, so that both processes end together.
FIRST = ("digits", "sea", "recurring", "gradual", "incremental", "no_drift")
# The windows of digits are the example project's: 13 writers of about 138 images, two windows each.
OPTIONS: dict[str, dict[str, Any]] = {"digits": {"train_rows": 276, "window": 69, "model": "mlp"}}


def play(job: tuple[str, int]) -> tuple[str, int, dict[str, Any], float]:
    """Replay one stream under all policies."""
    from benchmarks.streams import STREAMS

    from trimtab.monitoring.simulate.run import Options, simulate

    name, number = job
    began = time.process_time()
    found = simulate(STREAMS[name][number](), Options(policies=POLICIES, **OPTIONS.get(name, {})))
    return name, number, found, time.process_time() - began


def figures(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Means over the seeds of each stream."""
    out: dict[str, Any] = {}
    for name, runs in found.items():
        out[name] = {
            p: {
                "accuracy": round(_mean([r["policies"][p]["accuracy"] for r in runs]) or 0.0, 3),
                "retrains": _mean([r["policies"][p]["retrains"] for r in runs]),
                "most_retrains": max(r["policies"][p]["retrains"] for r in runs),
                "delay": _mean([r["policies"][p]["delay"] for r in runs]),
                "false_campaigns": _mean([r["policies"][p]["false_campaigns"] for r in runs]),
            }
            for p in POLICIES
        }
        out[name]["no_change"] = {"accuracy": _mean([r["no_change_predictor"]["accuracy"] for r in runs])}
    return out


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(sum(known) / len(known), 3) if known else None


def table(streams: dict[str, Any]) -> str:
    """The table as Markdown: accuracy in percent, and the retrains it took."""
    lines = ["| stream | " + " | ".join(POLICIES) + " | no change |", "|---" * (len(POLICIES) + 2) + "|"]
    for name, by_policy in streams.items():
        cells = [f"{by_policy[p]['accuracy']:.1f} ({by_policy[p]['retrains']:g})" for p in POLICIES]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {by_policy['no_change']['accuracy']:.1f} |")
    return "\n".join(lines) + "\n"


def draw(streams: dict[str, Any], path: Path) -> None:
    """Accuracy over retrains, a panel a stream."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown, axes = plt.subplots(2, -(-len(streams) // 2), figsize=(12, 6.5), squeeze=False)
    for at, (name, by_policy) in zip(axes.ravel(), streams.items(), strict=False):
        for policy in POLICIES:
            x, y = by_policy[policy]["retrains"], by_policy[policy]["accuracy"]
            at.plot(x, y, "o", color=OURS.get(policy, "0.55"))
            at.annotate(policy, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
        at.set_title(name, fontsize=9)
        at.set_xlabel("retrains", fontsize=8)
        at.set_ylabel("accuracy, %", fontsize=8)
        at.margins(0.2)
    for spare in axes.ravel()[len(streams) :]:
        spare.remove()
    shown.tight_layout()
    shown.savefig(path, dpi=110)


def main() -> None:
    """Run, write, show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "loop.json")
    parser.add_argument(
        "--streams", nargs="*", default=["digits", "sea", "recurring", "gradual", "incremental", "no_drift"]
    )
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    from benchmarks.streams import STREAMS

    jobs = [(name, i) for name in asked.streams for i in range(len(STREAMS[name]))]
    began = time.monotonic()
    found: dict[str, list[dict[str, Any]]] = {}
    with ProcessPoolExecutor(asked.processes) as pool:
        for name, number, one, cpu in pool.map(play, jobs):
            found.setdefault(name, []).append(one)
            ours = one["policies"]["trimtab"]
            sys.stderr.write(
                f"{name} {number}: {ours['accuracy']:.2f} % at {ours['retrains']} retrains, {cpu:.0f} CPU-s\n"
            )
    streams = figures(found)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=RESULTS.parent
    )
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "figures": {"streams": streams},
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "wall_s": round(time.monotonic() - began, 1),
        "models": {name: sorted({r["model"] for r in runs}) for name, runs in found.items()},
        "runs": found,
    }
    asked.out.write_text(json.dumps(record, indent=1) + "\n")
    asked.out.with_suffix(".md").write_text(table(streams))
    draw(streams, asked.out.with_suffix(".png"))
    sys.stdout.write(table(streams))


if __name__ == "__main__":
    main()
