"""The model server against a bare ASGI app and four other servers, in one run: `make bench-serving`.

Every server gets the same ONNX graph and ONNX Runtime settings; each peer runs in an environment of its own (`.bench/`,
made by pip on first use). Repeats are interleaved and medians are told with their spread; CPU seconds come from /proc,
for the whole process tree. Writes a table to the screen, `results/serving.json` and `results/serving.png`.

    python -m benchmarks.serving [--only cpu,rate,log,batch,adaptive,start] [--peers kserve,…] [--repeats 5]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.serving_bench.environments import version_of
from benchmarks.serving_bench.parts import PARTS, Run, say
from benchmarks.serving_bench.servers import NAMES

from trimtab.core.records import rfc3339, utcnow

RESULTS = Path(__file__).parent / "results"
WANTED = {
    "v1_cpu_over_bare": "<= 1.5", "v2_json_cpu_over_bare": "<= 1.8", "v2_binary_cpu_over_bare": "<= 1.5",
    "rps_over_kserve": ">= 5", "rps_over_mlserver": ">= 5", "rps_over_bentoml": ">= 12", "rps_over_litserve": ">= 10",
    "p99_over_p50_at_500rps": "<= 3", "log_cost_percent": "<= 5", "adaptive_batching_gain": ">= 2",
    "start_over_kserve": ">= 4", "rss_mb": "<= 150", "batch_1000_v1_over_raw": "<= 1.5",
    "batch_1000_v2_json_over_raw": "<= 1.5", "batch_1000_v2_binary_over_raw": "<= 1.5", "start_seconds": "<= 2",
}  # fmt: skip
COLOURS = {"trimtab": "tab:orange", "bare": "tab:grey"}
PROTOCOLS = {"v1": "V1", "v2_json": "V2", "v2_binary": "V2 binary"}


def figures(found: dict[str, Any]) -> dict[str, float | None]:
    """The figures that the project promises, medians; None where this run has none (a part or a peer left out)."""

    def median(part: str, *keys: str) -> float | None:
        here: Any = found.get(part, {})
        for key in keys:
            here = here.get(key, {}) if isinstance(here, dict) else {}
        return here.get("median") if isinstance(here, dict) else None

    shown: dict[str, float | None] = {
        f"{name}_cpu_over_bare": median("cpu", "cpu_over_bare", f"trimtab {p}") for name, p in PROTOCOLS.items()
    }
    shown |= {f"rps_over_{peer}": median("cpu", "rps_over", peer) for peer in NAMES}
    shown["p99_over_p50_at_500rps"] = median("rate", "p99_over_p50", "trimtab")
    shown["log_cost_percent"] = median("log", "cost_percent")
    shown["adaptive_batching_gain"] = median("adaptive", "gain")
    shown["start_over_kserve"] = median("start", "kserve_over_ours")
    shown["rss_mb"] = found.get("cpu", {}).get("rss_mb")
    # Beyond the twelve above: what else is promised, and what stands beside it.
    shown["shipper_rss_mb"] = found.get("cpu", {}).get("shipper", {}).get("rss_mb")
    shown["v1_cpu_over_bare_with_shipper"] = median("cpu", "with_shipper")
    shown["shipper_cpu_us_a_row"] = found.get("cpu", {}).get("shipper", {}).get("cpu_us_a_row")
    # The tails of a server that does next to nothing, and of one that answers unread: what the machine has by itself.
    for name in ("bare", "still"):
        shown[f"{name}_p99_over_p50_at_500rps"] = median("rate", "p99_over_p50", name)
    shown["batching_gain_over_own_unbatched"] = median("adaptive", "gain_over_own_unbatched")
    shown["batching_cpu_gain_over_own_unbatched"] = median("adaptive", "cpu_gain_over_own_unbatched")
    shown["log_cpu_cost_ratio"] = median("log", "cpu_over_without")
    shown |= {f"batch_1000_{name}_over_raw": median("batch", "time_over_raw", p) for name, p in PROTOCOLS.items()}
    started = found.get("start", {}).get("rows", {}).get("trimtab", {}).get("median", {})
    shown["start_cpu_over_kserve"] = median("start", "cpu_kserve_over_ours")
    shown["start_seconds"] = started.get("seconds")
    return shown


def holds(value: float, wanted: str) -> bool:
    """Whether a figure is what is wanted.

    >>> holds(1.4, "<= 1.5"), holds(4.9, ">= 5")
    (True, False)
    """
    sign, _, limit = wanted.partition(" ")
    return value <= float(limit) if sign == "<=" else value >= float(limit)


def table(found: dict[str, Any], shown: dict[str, float | None]) -> list[str]:
    """The run as lines of text: servers first, then figures beside what is wanted."""
    lines = [f"{'':<26} {'CPU us':>9} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'RSS MB':>8}"]
    for part in ("cpu", "rate", "log", "batch", "adaptive"):
        for name, row in found.get(part, {}).get("rows", {}).items():
            m = row["median"]
            cells = [m["cpu_us"], m.get("rps", 0), m["p50_ms"], m.get("p99_ms", 0), m.get("rss_mb", 0)]
            shapes = ("{:>9.1f}", "{:>11,.0f}", "{:>8.3f}", "{:>8.3f}", "{:>8.0f}")
            texts = [f.format(c) if c else " " * len(f.format(0)) for f, c in zip(shapes, cells, strict=True)]
            lines.append(f"{part + ': ' + name:<26} " + " ".join(texts))
    for name, row in found.get("start", {}).get("rows", {}).items():
        m = row["median"]
        lines.append(f"{'start: ' + name:<26} {m['seconds']:.2f} s to the first answer, {m['cpu_s']:.2f} s CPU")
    lines.append("")
    for name, value in shown.items():
        if value is None:
            lines.append(f"{name:<38} {'not measured':>12}")
        else:
            wanted = WANTED.get(name, "")
            verdict = "" if not wanted else ("holds" if holds(value, wanted) else "DOES NOT HOLD")
            lines.append(f"{name:<38} {value:>12.3f}   {wanted:<8} {verdict}")
    return lines


def doubts(found: dict[str, Any], load_before: float) -> list[str]:
    """What makes this run's figures less sure."""
    said = []
    if load_before > 0.3:
        said.append(f"The machine was busy before the start (load {load_before:.1f}): compare ratios, not times.")
    for part, facts in found.items():
        for name, row in facts.get("rows", {}).items():
            if row["median"].get("client_cores", 0) > 0.9:
                said.append(f"{part}: {name} may be faster than told: the load generator had no more to give.")
        for key in ("cpu_over_bare", "rps_over"):
            for name, ratio in facts.get(key, {}).items():
                if ratio["high"] > 1.3 * ratio["low"]:
                    said.append(f"{part}: {name}, {key}: from {ratio['low']:.2f} to {ratio['high']:.2f} over repeats.")
    return said


def plot(found: dict[str, Any], path: Path) -> None:
    """CPU a request, requests a second, latencies at a fixed rate, time to the first answer."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(18, 4.4), layout="constrained")
    for axis, (part, key, title) in zip(
        axes,
        (
            ("cpu", "cpu_us", "CPU a request, µs (8 connections)"),
            ("cpu", "rps", "requests a second (8 connections)"),
            ("rate", "p99_ms", "latency at 500 requests a second, ms"),
            ("start", "seconds", "process start to first answer, s"),
        ),
        strict=True,
    ):
        rows = found.get(part, {}).get("rows", {})
        names = list(rows)[::-1]
        axis.set_title(title)
        if not names:
            axis.set_axis_off()
            continue
        medians = [rows[n]["median"][key] for n in names]
        ends = [[r[key] for r in rows[n]["repeats"]] for n in names]
        below = [m - min(e) for m, e in zip(medians, ends, strict=True)]
        above = [max(e) - m for m, e in zip(medians, ends, strict=True)]
        colours = [COLOURS.get(n.split()[0], "tab:blue") for n in names]
        bars = axis.barh(names, medians, xerr=[below, above], color=colours, capsize=2)
        axis.bar_label(bars, fmt="%.3g", padding=4)
        if part == "rate":
            axis.barh(names, [rows[n]["median"]["p50_ms"] for n in names], color="black", alpha=0.35)
            axis.set_xlabel("p99; dark: p50")
        axis.set_xscale("log")
        axis.margins(x=0.25)
    figure.savefig(path, dpi=110)


def processor() -> str:
    """The processor's name, where Linux tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def about(asked: argparse.Namespace) -> dict[str, Any]:
    """Commit, machine and settings of a run."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    cpu = processor() or platform.machine()
    return {
        "commit": commit,
        "uncommitted_changes": bool(changed.strip()),
        "machine": f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "at": rfc3339(utcnow()),
        "load_average_before": os.getloadavg()[0],
        "settings": {"repeats": asked.repeats, "seconds": asked.seconds, "parts": asked.only},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run")
    parser.add_argument("--peers", default=",".join(NAMES), help="peers to compare with; empty: none")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement, interleaved")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=RESULTS / "serving.json", help="the JSON; the plot lies beside it")
    parser.add_argument("--keep", action="store_true", help="keep stores and servers' logs, and say where")
    asked = parser.parse_args()
    parts, peers = [p for p in asked.only.split(",") if p], tuple(p for p in asked.peers.split(",") if p)
    for given, known in ((parts, PARTS), (peers, NAMES)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    facts, found, began = about(asked), {}, time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="trimtab-bench-"))
    run = Run(folder, asked.repeats, asked.seconds, peers)
    try:
        for name in parts:
            say(f"== {name}: {(PARTS[name].__doc__ or '').splitlines()[0]}")
            try:
                found[name] = PARTS[name](run)
            except (RuntimeError, OSError) as error:  # a server that fails must not cost the other parts
                found[name] = {"missing": {"all of it": str(error)}}
                say(f"{name} failed: {error}")
    finally:
        if asked.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    shown = figures(found)
    facts["seconds"] = seconds = round(time.monotonic() - began, 1)
    facts["peers"] = {peer: version_of(peer) for peer in peers}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps({**facts, "figures": shown, "details": found}, indent=1))
    plot(found, asked.out.with_suffix(".png"))
    say("\n".join(table(found, shown)))
    for part, name, why in [(p, n, w) for p, f in found.items() for n, w in f.get("missing", {}).items()]:
        say(f"{part}: {name} is missing: {why.splitlines()[-1][:200] if why else ''}")
    say("\n".join(doubts(found, facts["load_average_before"])))
    say(f"{seconds:.0f} s; {asked.out}")
    if any("all of it" in facts.get("missing", {}) for facts in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
