"""The mission, whole, on a Kubernetes node: drift → alert → campaign → stages as pods → canary → promoted; and back.

    python -m benchmarks.cluster_loop [--out FILE] [--keep FOLDER]

Writes `results/cluster.json` with `figures`. What is real and what is played: `benchmarks/cluster/place.py`, and
docs/testing-on-kubernetes.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import datetime as dt
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.docker import Docker
    from tests.servers.kubernetes.node import Node

RESULTS = Path(__file__).parent / "results"
FIGURES = ("failed_requests", "campaigns", "promotions", "rollbacks", "alarm_to_serving_s")
MORE = ("requests", "submit_to_published_s", "alarm_to_promoted_s", "slowest_answer_s", "stage_pods")


def play(node: Node, docker: Docker, folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run the loop on a node.

    Args:
        node: the node; everything that is made on it is removed.
        docker: builds our images.
        folder: for keys, logs, data.
        say: told each step, in words.

    Returns:
        `figures`, and the facts that they are of.

    Raises:
        Missed: what a step awaits did not come; the message says what was there instead.
    """
    from benchmarks.cluster.mission import Mission
    from benchmarks.cluster.place import Place
    from benchmarks.cluster.project import MODEL

    began = time.monotonic()
    with Place(node, docker, folder, MODEL, say) as place:
        setup = round(time.monotonic() - began, 1)
        facts = Mission(place, folder / "project", say).run().as_json()
    facts["seconds"]["setup"] = setup
    figures = {name: facts[name] for name in (*FIGURES, *MORE)}
    for name in ("idle_before", "idle_after"):
        figures |= {f"{name}_cpu": facts[name]["cpu"], f"{name}_mb": facts[name]["megabytes"]}
    return {"figures": figures, "facts": facts}


def save(found: dict[str, Any], out: Path) -> None:
    """Write the result with commit, time and machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    ).stdout
    about = {
        "commit": commit.strip(),
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**about, **found}, indent=1) + "\n")


def main() -> int:
    """The command; 0 when the loop came through."""
    parser = argparse.ArgumentParser(prog="make cluster-loop", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "cluster.json", help="the JSON to write")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this folder")
    chosen = parser.parse_args()
    from benchmarks.cluster.waiting import Missed
    from tests.servers import docker as dockers
    from tests.servers.kubernetes import fixtures, node

    why = fixtures.lacking() or node.lacking() or ("" if dockers.find() else dockers.NONE_THERE)
    if why:
        sys.stderr.write(f"make cluster-loop: {why}\n")
        return 2
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="trimtab-loop-") as scratch:
        folder = chosen.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        ours = node.Node(folder / "node")
        say("a Kubernetes node starts")
        ours.start()
        try:
            with dockers.Docker() as docker:
                found = play(ours, docker, folder / "loop", say)
        except Missed as missed:
            sys.stderr.write(f"{missed}\n")
            return 1
        finally:
            ours.stop()
    save(found, chosen.out)
    for name, value in found["figures"].items():
        print(f"{name:24} {value}")
    print(f"written: {chosen.out}")
    return 0 if found["figures"]["failed_requests"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
