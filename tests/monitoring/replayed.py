"""A replay through the real processes: server, watch and hook, with Prometheus and Alertmanager looking at them.

A model is trained by the real pipeline, answers requests, and then the world turns: the same inputs have other
truths. The watch alarms, the hook retrains and releases, and a person takes a version back.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml
from tests.servers.prometheus import AlertmanagerServer, PrometheusServer

from trimtab.client import Client
from trimtab.core import ledger, settings
from trimtab.core.store import Store, open_store
from trimtab.core.tokens import ensure_token
from trimtab.demo.processes import Processes, free_ports
from trimtab.monitoring import windows
from trimtab.monitoring.alerts.rule import Links
from trimtab.monitoring.alerts.rules import plain
from trimtab.monitoring.campaign_records import all_campaigns

MODEL = "replayed"
POLL = "0.2"
PROJECT = {
    "name": MODEL,
    "task": {"kind": "classification", "target": "bought", "statement": "Say who buys."},
    "data": {"source": {"path": "rows.csv"}, "test_fraction": 0.3, "seed": 0},
    "fields": {
        "pages": {"kind": "number"},
        "minutes": {"kind": "number"},
        "plan": {"kind": "category", "categories": ["basic", "plus"]},
        "visit": {"kind": "id"},
    },
    "candidates": {"linear": None},
    "metric": "accuracy",
    "windows": {"rows": 60},
    "campaign": {"follow_ups": 0},
    "rollout": {"shares": [50], "step_rows": 10, "step_labelled": 0},
}


def rows(rng: np.random.Generator, n: int, start: int, turned: bool = False) -> list[dict[str, Any]]:
    """Visits, with whether they bought; `turned`: those who bought before do not, and many more pages are read."""
    pages = rng.normal(3.0 if turned else 0.0, 1.0, n)
    minutes = rng.normal(size=n)
    noise = rng.normal(scale=0.4, size=n)
    bought = (minutes + noise > 0) ^ turned
    return [
        {
            "pages": float(pages[i]),
            "minutes": float(minutes[i]),
            "plan": "plus" if i % 3 else "basic",
            "visit": f"v{start + i}",
            "bought": "yes" if bought[i] else "no",
        }
        for i in range(n)
    ]


@dataclass
class Replay:
    """The running whole.

    Attributes:
        folder: everything on disk.
        store: the store.
        prometheus, alertmanager: the real ones.
        hook: the hook's address.
        token: what it accepts.
        began: when Prometheus began to look, Unix seconds.
    """

    folder: Path
    store: Store
    processes: Processes
    prometheus: PrometheusServer
    alertmanager: AlertmanagerServer
    client: Client
    hook: str
    token: str
    began: float
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    sent: int = 0

    def answer(self, n: int, turned: bool = False, labelled: bool = True) -> None:
        """Requests, and their labels."""
        visits = rows(self.rng, n, 10_000 + self.sent, turned)
        self.sent += n
        for one in visits:
            self.client.predict(MODEL, [{k: v for k, v in one.items() if k != "bought"}])
        if labelled:
            self.client.feedback(MODEL, [{"key": one["visit"], "value": one["bought"]} for one in visits])

    def until(self, look: Callable[[], Any], what: str, seconds: float = 400.0, turned: bool = True) -> Any:
        """Go on answering until something is there."""
        end = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < end, f"nothing came within {seconds:g} s: {what}"
            self.processes.check()
            self.answer(20, turned)
            time.sleep(0.1)  # the processes that are awaited need the processor too
        return found

    def champion(self) -> str | None:
        """Who serves."""
        return ledger.state(self.store, MODEL).champion

    def asked(self, expr: str) -> list[dict[str, Any]]:
        """The series of an expression over the whole replay."""
        answer = self.prometheus.get(
            "/api/v1/query_range", query=expr, start=f"{self.began:.3f}", end=f"{time.time():.3f}", step="1"
        )
        found = answer["data"]["result"]
        assert isinstance(found, list)
        return found


def trimtab(environment: dict[str, str], folder: Path, *arguments: str) -> None:
    """One command, to its end."""
    command = [sys.executable, "-m", "trimtab.cli.app", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Replay]:
    """Train, start everything, and end it all afterwards."""
    home = folder / "home"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIMTAB_")}
    server, server_metrics, watch_metrics, hook, hook_metrics = free_ports(5)
    environment |= {
        "TRIMTAB_STORE": (folder / "store").as_uri(),
        "TRIMTAB_HOME": str(home),
        "TRIMTAB_SPOOL": str(folder / "spool"),
        "TRIMTAB_SERVER_URL": f"http://127.0.0.1:{server}",
        "TRIMTAB_HOOK_URL": f"http://127.0.0.1:{hook}",
        "OMP_NUM_THREADS": "1",
    }
    table = pa.Table.from_pylist(rows(np.random.default_rng(1), 600, 0))
    pyarrow.csv.write_csv(table, folder / "rows.csv")
    (folder / "project.yaml").write_text(yaml.safe_dump(PROJECT, sort_keys=False))
    trimtab(environment, folder, "run", "project.yaml")
    (folder / "logs").mkdir()
    processes = Processes(environment, folder / "logs")
    rules = folder / "rules.yml"
    rules.write_text(plain(Links(hook=f"http://127.0.0.1:{hook}")))
    nobody = {"route": {"receiver": "nobody", "group_by": ["model"]}, "receivers": [{"name": "nobody"}]}
    alertmanager = AlertmanagerServer(folder / "alertmanager", nobody)
    targets = {
        f"trimtab-{name}": [f"127.0.0.1:{port}"]
        for name, port in (("server", server_metrics), ("watch", watch_metrics), ("hook", hook_metrics))
    }
    prometheus: PrometheusServer | None = None
    try:
        alertmanager.start()
        prometheus = PrometheusServer(
            folder / "prometheus", targets, [rules], alertmanager.url.removeprefix("http://"), interval="1s"
        )
        prometheus.start()
        began = time.time()
        processes.start("serve", ["serve", MODEL, "--port", str(server), "--metrics-port", str(server_metrics),
                                  "--poll-seconds", POLL, "--flush-seconds", POLL])  # fmt: skip
        processes.start("watch", ["watch", MODEL, "--metrics-port", str(watch_metrics), "--poll-seconds", POLL])
        processes.start("hook", ["hook", "--port", str(hook), "--metrics-port", str(hook_metrics),
                                 "--server-metrics", f"http://127.0.0.1:{server_metrics}/metrics",
                                 "--poll-seconds", POLL])  # fmt: skip
        processes.wait_until_answers("serve", f"http://127.0.0.1:{server}/v2/models/{MODEL}/ready")
        processes.wait_until_answers("hook", f"http://127.0.0.1:{hook}/healthz")
        chosen = settings.load(environment)
        token = ensure_token(chosen)
        with Client(environment["TRIMTAB_SERVER_URL"], token=token) as client:
            yield Replay(
                folder, open_store(chosen.store, chosen), processes, prometheus, alertmanager, client,
                f"http://127.0.0.1:{hook}", token, began,
            )  # fmt: skip
    finally:
        processes.stop()
        alertmanager.stop()
        if prometheus is not None:
            prometheus.stop()


def story(replay: Replay) -> dict[str, Any]:
    """What happened, for messages."""
    versions = sorted({e.version for e in ledger.read(replay.store, MODEL)})
    return {
        "events": [(e.event, e.version) for e in ledger.read(replay.store, MODEL)],
        "campaigns": [(c.n, c.phase, c.outcome, c.why) for c in all_campaigns(replay.store, MODEL)],
        "verdicts": {v: [w.verdict for w in windows.verdicts(replay.store, MODEL, v)] for v in versions},
    }


def drift_and_answer(replay: Replay) -> None:
    """The whole story: quiet, a drift, an alarm, a campaign, a promotion, and a rollback."""
    first = replay.champion()
    assert first is not None
    replay.answer(120)
    try:
        replay.until(lambda: all_campaigns(replay.store, MODEL), "a campaign")
        replay.until(lambda: replay.champion() != first, "a promotion")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{json.dumps(story(replay), indent=1)}") from None
    # A window of the new champion, so that its metrics are seen too; and a person who takes it back.
    replay.answer(80, turned=True)
    environment = replay.processes.environment
    trimtab(environment, replay.folder, "rollback", MODEL, "--why", "tried")
