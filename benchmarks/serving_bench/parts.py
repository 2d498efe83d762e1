"""The parts of the benchmark; each returns rows for the table, with every repeat's facts, and ratios."""

from __future__ import annotations

import compileall
import contextlib
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from benchmarks.serving_bench import models, ours, requests, servers
from benchmarks.serving_bench.environments import NotInstalled
from benchmarks.serving_bench.load import Load
from benchmarks.serving_bench.measure import mean, ratios, spread, summary, under
from benchmarks.serving_bench.servers import Server

import trimtab.core
import trimtab.serving
from trimtab import cli
from trimtab.serving.config import ServerConfig

Facts = dict[str, Any]
BATCH = 1000
FLAT = (models.MLP[0],)
# Pairs of processes with and without the log, how often each is measured in turn, and seconds before each time: rows
# must be on their way to the store when it begins.
LOG_TURNS, LOG_SLICES, LOG_WARM = 9, 3, 0.8


@dataclass
class Run:
    """What one run was told.

    Attributes:
        folder: for stores, spools and logs; removed afterwards.
        repeats: of each measurement, interleaved.
        seconds: of each measurement.
        peers: which of them.
    """

    folder: Path
    repeats: int
    seconds: float
    peers: tuple[str, ...]

    def place(self, name: str) -> ours.Place:
        """A fresh store."""
        folder = self.folder / name
        folder.mkdir()
        return ours.Place(folder)

    def graph(self) -> Path:
        """The small model as a file that all share."""
        path = self.folder / "mlp.onnx"
        if not path.exists():
            path.write_bytes(models.mlp())
        return path


def say(line: str) -> None:
    print(line, flush=True)


def interleaved(run: Run, load: Load, cases: dict[str, tuple[Server, list[str]]]) -> dict[str, list[Facts]]:
    """Every case once, then every case again, as often as there are repeats."""
    found: dict[str, list[Facts]] = {name: [] for name in cases}
    settle(server for server, _ in cases.values())
    for turn in range(run.repeats):
        for name, (server, sent) in cases.items():
            facts = under(server, load, requests=sent)
            found[name].append(facts)
            say(
                f"  {turn + 1}/{run.repeats} {name:<24} {facts['cpu_us']:>9.1f} us CPU {facts['rps']:>9.0f}/s "
                f"p50 {facts['p50_ms']:.3f} p99 {facts['p99_ms']:.3f} ms"
            )
    return found


def settle(these: Iterable[Server]) -> None:
    """Wait until each of them idles."""
    for server in {one.port: one for one in these}.values():
        server.settle()


def packed(found: dict[str, list[Facts]]) -> Facts:
    """Repeats and their medians, by case."""
    return {name: {"median": summary(rows), "repeats": rows} for name, rows in found.items() if rows}


def cpu(run: Run) -> Facts:
    """One row at 8 connections: the bare app, ours in three protocols, the peers in theirs."""
    place, graph = run.place("cpu"), run.graph()
    name, many = place.promote("mlp", graph.read_bytes()), servers.one_row()
    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(servers.bare(graph, run.folder))
        mine = stack.enter_context(place.serve(name, label="trimtab"))
        theirs, missing = stack.enter_context(servers.peers(graph, run.folder, run.peers))
        cases: dict[str, tuple[Server, list[str]]] = {
            "bare V1": (bare, bare.requests),
            "trimtab V1": (mine, requests.v1(many, name, place.headers)),
            "trimtab V2": (mine, requests.v2(many, name, place.headers)),
            "trimtab V2 binary": (mine, requests.v2_binary(many, name, place.headers)),
            "bare V2": (bare, requests.v2(many, "mlp", {})),
            "bare V2 binary": (bare, requests.v2_binary(many, "mlp", {})),
        }
        try:
            servers.expect(mine.port, cases["trimtab V2 binary"][1][0])
        except RuntimeError as error:
            missing["trimtab V2 binary"] = str(error)
            del cases["trimtab V2 binary"]
        cases |= {peer: (server, server.requests) for peer, server in theirs.items()}
        # The sibling's own start (its imports) is no part of what a row costs.
        under(mine, Load(0, [], 8, 0.5))
        first = drained(mine)
        idle = idling([bare, mine, *theirs.values()])
        found = interleaved(run, Load(0, [], 8, run.seconds), cases)
        shipped = drained(mine, first)
    base = found["bare V1"]
    over = {name: ratios(rows, base, "cpu_us") for name, rows in found.items() if name.startswith("trimtab")}
    same = {
        f"trimtab {p}": ratios(found[f"trimtab {p}"], found[f"bare {p}"], "cpu_us")
        for p in ("V1", "V2", "V2 binary")
        if f"trimtab {p}" in found
    }
    v1 = found["trimtab V1"]
    return {
        "rows": packed(found),
        "cpu_over_bare": over,
        "cpu_over_bare_of_the_same_protocol": same,
        "rps_over": {p: ratios(v1, found[p], "rps") for p in theirs},
        "cpu_of": {p: ratios(found[p], v1, "cpu_us") for p in theirs},
        "with_shipper": whole(base, v1, shipped),
        "idle_cores": idle,
        "rss_mb": max(row["rss_mb"] for p in over for row in found[p]),
        "shipper": shipped,
        "missing": missing,
    }


def idling(running: list[Server], seconds: float = 2.0) -> dict[str, float]:
    """Cores that each server uses while nobody asks it: what it takes from the others while they are measured."""
    before = {one.name: one.use() for one in running}
    time.sleep(seconds)
    return {one.name: round(one.use().since(before[one.name]).cpu / seconds, 4) for one in running}


def whole(base: list[Facts], v1: list[Facts], shipped: Facts) -> dict[str, float]:
    """CPU of answering and of shipping the log together, a V1 request, over the bare app's."""
    return spread([(a["cpu_us"] + shipped["cpu_us_a_row"]) / b["cpu_us"] for a, b in zip(v1, base, strict=True)])


def drained(server: Server, before: Facts | None = None, limit: float = 120.0) -> Facts:
    """Wait until every answered row is in the store: what the sibling used for it, all protocols together.

    `before` is what this said earlier: rows and CPU are counted from there on.
    """
    deadline = time.monotonic() + limit
    rows = dropped = 0
    while time.monotonic() < deadline:
        rows, dropped = ours.rows_logged(server), ours.rows_logged(server, "dropped")
        if rows and rows + dropped >= ours.rows_logged(server, "spooled"):
            break
        time.sleep(0.25)
    use, before = server.use(), before or {"rows": 0, "cpu_s": 0.0}
    fresh = max(1, rows - before["rows"])
    return {
        "rows": rows,
        "dropped": dropped,
        "cpu_s": round(use.shipper_cpu, 3),
        "cpu_us_a_row": round(1e6 * (use.shipper_cpu - before["cpu_s"]) / fresh, 2),
        "rss_mb": round(use.shipper_rss_mb, 1),
        "whole": rows + dropped >= ours.rows_logged(server, "spooled"),
    }


def rate(run: Run) -> Facts:
    """500 requests a second, whatever the answers do: latencies of one row. A peer runs alone, a third as often.

    `still` answers without looking: what its tail has, no server can be without on this machine.
    """
    place, graph = run.place("rate"), run.graph()
    name = place.promote("mlp", graph.read_bytes())
    load = Load(0, [], 16, max(5.0, run.seconds), rate=500)
    with (
        place.serve(name, label="trimtab") as mine,
        servers.bare(graph, run.folder) as bare,
        servers.still(run.folder) as still,
    ):
        found = interleaved(run, load, {one.name: (one, one.requests) for one in (mine, bare, still)})
    missing: dict[str, str] = {}
    for peer in run.peers:
        with servers.peers(graph, run.folder, (peer,)) as (theirs, why):
            missing |= why
            fewer = replace(run, repeats=-(-run.repeats // 3))
            found |= interleaved(fewer, load, {one.name: (one, one.requests) for one in theirs.values()})
    tail = {name: spread([row["p99_ms"] / row["p50_ms"] for row in rows]) for name, rows in found.items()}
    over = {name: ratios(rows, found["still"], "p99_ms") for name, rows in found.items() if len(rows) == run.repeats}
    return {"rows": packed(found), "p99_over_p50": tail, "p99_over_still": over, "missing": missing}


def log(run: Run) -> Facts:
    """The same server with the prediction log on and off, each flat out; in each turn processes of their own.

    Where a process's memory happens to lie makes it up to a tenth faster or slower than another one of the same code,
    for as long as it lives; and a virtual processor may be a quarter slower from one second to the next. Either is more
    than what is looked for.
    """
    place, graph = run.place("log"), run.graph()
    name = place.promote("mlp", graph.read_bytes())
    often = ("--flush-seconds", "0.5")  # what is logged is shipped while it is measured, not afterwards
    found: dict[str, list[Facts]] = {"log on": [], "log off": []}
    load = Load(0, [], 8, run.seconds / LOG_SLICES, LOG_WARM, awake=True)
    for turn in range(max(LOG_TURNS, run.repeats)):
        # Both are started in the same way, for that has a part in where memory lies.
        with (
            place.serve(name, *often, label="log on", queue=ServerConfig.queue_rows) as on,
            place.serve(name, *often, label="log off", queue=0) as off,
        ):
            cases = {"log on": on, "log off": off}
            slices: dict[str, list[Facts]] = {name: [] for name in cases}
            settle(cases.values())
            for slice_ in range(LOG_SLICES):
                for case in list(cases) if (turn + slice_) % 2 else list(reversed(cases)):
                    slices[case].append(under(cases[case], load))
                    if case == "log on":
                        drained(on)  # what is left to ship must not fall into the other's time
            for case, these in slices.items():
                found[case].append(mean(these))
        said = ", ".join(f"{c} {found[c][-1]['rps']:.0f}/s {found[c][-1]['cpu_us']:.1f} us" for c in cases)
        say(f"  {turn + 1} {said}")
    kept = ratios(found["log on"], found["log off"], "rps")
    return {
        "rows": packed(found),
        "cost_percent": {k: round(100 * (1 - v), 2) if k != "repeats" else v for k, v in kept.items()},
        "cpu_over_without": ratios(found["log on"], found["log off"], "cpu_us"),
    }


def batch(run: Run) -> Facts:
    """1,000 rows in one request, against the raw session plus decoding in a process of its own."""
    place, graph = run.place("batch"), run.graph()
    name, many = place.promote("mlp", graph.read_bytes()), requests.rows(8, BATCH, FLAT)
    sent = {
        "V1": requests.v1(many, name, place.headers),
        "V2": requests.v2(many, name, place.headers),
        "V2 binary": requests.v2_binary(many, name, place.headers),
    }
    missing: dict[str, str] = {}
    with place.serve(name, label="trimtab") as mine, servers.bare(graph, run.folder) as bare:
        try:
            servers.expect(mine.port, sent["V2 binary"][0])
        except RuntimeError as error:
            missing["trimtab V2 binary"] = str(error)
            del sent["V2 binary"]
        found: dict[str, list[Facts]] = {f"{who} {p}": [] for p in sent for who in ("raw", "bare", "trimtab")}
        load = Load(0, [], 1, run.seconds)
        settle([mine, bare])
        for turn in range(run.repeats):
            for p, these in sent.items():
                found[f"raw {p}"].append(raw(graph, p, these, run.seconds / 2))
                found[f"bare {p}"].append(under(bare, load, requests=these))
                found[f"trimtab {p}"].append(under(mine, load, requests=these))
                drained(mine)  # what is left to ship must not fall into the others' time
                said = ", ".join(
                    f"{who} {found[f'{who} {p}'][-1]['p50_ms']:.2f} ms, {found[f'{who} {p}'][-1]['cpu_us']:.0f} us CPU"
                    for who in ("raw", "bare", "trimtab")
                )
                say(f"  {turn + 1}/{run.repeats} {p}: {said}")
    return {
        "rows": packed(found),
        "time_over_raw": {p: ratios(found[f"trimtab {p}"], found[f"raw {p}"], "p50_ms") for p in sent},
        "cpu_over_raw": {p: ratios(found[f"trimtab {p}"], found[f"raw {p}"], "cpu_us") for p in sent},
        "missing": missing,
    }


def raw(graph: Path, protocol: str, sent: list[str], seconds: float) -> Facts:
    """Decode the same bodies, run the session, encode the answer, in a loop of this process."""
    session = models.session(graph)
    bodies = [one.encode("latin-1").split(b"\r\n\r\n", 1)[1] for one in sent]
    heads = [int(one.partition("Inference-Header-Content-Length: ")[2].partition("\r")[0] or 0) for one in sent]
    times: list[float] = []
    used, end, i = time.process_time(), time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        began = time.perf_counter()
        body, head = bodies[i % len(bodies)], heads[i % len(bodies)]
        if protocol == "V1":
            x = np.array(orjson.loads(body)["instances"], np.float32)
        elif head:
            x = np.frombuffer(body, np.float32, offset=head).reshape(BATCH, -1)
        else:
            x = np.array(orjson.loads(body)["inputs"][0]["data"], np.float32).reshape(BATCH, -1)
        out = session.run(["probabilities"], {"input": x})[0]
        _ = out.tobytes() if head else orjson.dumps({"predictions": out}, option=requests.NUMPY)
        times.append(time.perf_counter() - began)
        i += 1
    return {
        "p50_ms": round(1000 * statistics.median(times), 4),
        "cpu_us": round(1e6 * (time.process_time() - used) / i, 1),
        "requests": i,
    }


def adaptive(run: Run) -> Facts:
    """ResNet-18 at 32 connections, one image each: ours, ours with `batch_rows: 1`, and the bare app.

    The bare app runs one row at a time, as one worker with one thread of ONNX Runtime does. Ours also runs as many
    batches at once as there are processors: `gain` is both, `gain_over_own_unbatched` is joining alone.
    """
    # Nothing is shed, however slow the machine: what is refused is no throughput.
    patient = {"latency_ms": 60_000, "deadline_ms": 60_000}
    place, graph = run.place("adaptive"), run.folder / "resnet.onnx"
    graph.write_bytes(models.resnet18())
    name = place.promote("resnet", graph.read_bytes(), patient)
    alone = place.promote("resnet", graph.read_bytes(), {**patient, "batch_rows": 1}, name="resnet-alone")
    sent = {one: ours.images(one, place.headers) for one in (name, alone)}
    with (
        place.serve(name, row=sent[name][0], label="batched") as joined,
        place.serve(alone, row=sent[alone][0], label="unbatched") as single,
        servers.bare(graph, run.folder, sent[name][0]) as bare,
    ):
        cases = {
            "trimtab": (joined, sent[name]),
            "trimtab, batch_rows 1": (single, sent[alone]),
            "bare": (bare, sent[name]),
        }
        found = interleaved(run, Load(0, [], 32, max(6.0, run.seconds), warm=1.0), cases)
        lone = interleaved(run, Load(0, [], 1, run.seconds), {f"{k}, alone": v for k, v in cases.items()})
    return {
        "rows": packed(found | lone),
        "gain": ratios(found["trimtab"], found["bare"], "rps"),
        "gain_over_own_unbatched": ratios(found["trimtab"], found["trimtab, batch_rows 1"], "rps"),
        "cpu_gain_over_own_unbatched": ratios(found["trimtab, batch_rows 1"], found["trimtab"], "cpu_us"),
        "latency_alone_over_bare": ratios(lone["trimtab, alone"], lone["bare, alone"], "p50_ms"),
    }


def start(run: Run) -> Facts:
    """From a process's start to its first good answer, in turn; the first turn warms the cache, unused.

    Our bytecode is compiled before, as `make setup`, pip and the images leave it: a checkout that was changed since
    would be compiled at each start where Python may not write.
    """
    for package in (
        Path(trimtab.core.__file__).parents[1],
        Path(trimtab.serving.__file__).parent,
        Path(cli.__file__).parent,
    ):
        compileall.compile_dir(package, quiet=2)
    place, graph = run.place("start"), run.graph()
    name = place.promote("mlp", graph.read_bytes())
    found: dict[str, list[Facts]] = {"trimtab": [], "kserve": [], "bare": []}
    missing: dict[str, str] = {}
    for turn in range(run.repeats + 1):
        makers: dict[str, Callable[[], contextlib.AbstractContextManager[Server]]] = {
            "trimtab": lambda: place.serve(name, label="trimtab"),
            "bare": lambda: servers.bare(graph, run.folder),
            "kserve": lambda: servers.kserve(graph, run.folder),
        }
        for who, make in makers.items():
            if who in missing or (who == "kserve" and "kserve" not in run.peers):
                continue
            try:
                with make() as server:
                    facts = {"seconds": round(server.first_answer, 3), "cpu_s": round(server.use().cpu, 2)}
            except (NotInstalled, RuntimeError) as error:
                missing[who] = str(error)
                continue
            if turn:
                found[who].append(facts)
                say(f"  {turn}/{run.repeats} {who:<8} {facts['seconds']:.2f} s, {facts['cpu_s']:.2f} s CPU")
    both = bool(found["kserve"])
    return {
        "rows": packed(found),
        "kserve_over_ours": ratios(found["kserve"], found["trimtab"], "seconds") if both else {},
        "cpu_kserve_over_ours": ratios(found["kserve"], found["trimtab"], "cpu_s") if both else {},
        "missing": missing,
    }


PARTS = {"cpu": cpu, "rate": rate, "log": log, "batch": batch, "adaptive": adaptive, "start": start}
