"""The main job, step by step.

1. Compile the example project and run it with KFP's local runner on the first rows; the first version is published
   and promoted.
2. Start server, watch and retrain hook on loopback.
3. Replay the other rows as requests, window by window; labels come back at each window's end.
4. The watch judges, alarms, the hook answers with campaigns; the replay waits where a day would have passed.
5. Sum up: table, JSON, picture.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from trimtab.client import Client
from trimtab.core import runs
from trimtab.core import settings as settings_module
from trimtab.core.errors import RunError
from trimtab.core.project import Project
from trimtab.core.signing import ensure_keypair
from trimtab.core.store import open_store
from trimtab.core.tokens import ensure_token
from trimtab.demo.alerting import Alerting, find_programs
from trimtab.demo.data import make_rows
from trimtab.demo.facts import Facts, Window
from trimtab.demo.follow import Follower, trigger
from trimtab.demo.picture import draw
from trimtab.demo.processes import Processes, free_ports
from trimtab.demo.replay import Answered, Replay
from trimtab.demo.view import View
from trimtab.demo.workspace import Workspace
from trimtab.monitoring.campaign_records import CampaignState

# Rows of the first training; the rest is replayed.
FIRST_ROWS = 276
LAST_ROW = 1797
# How often server and watch look for news, seconds: a window stands for a day here.
POLL = "0.25"


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        project: the example's project file.
        live: never wait for verdicts or campaigns.
        shuffle: permute all rows first: the control without drift.
        seed: of that permutation.
        rate: requests a second at most; 0 for no limit.
        keep: leave the server up at the end until Ctrl-C.
        prometheus: put a Prometheus and an Alertmanager between the watch and the hook.
    """

    project: Path
    live: bool = False
    shuffle: bool = False
    seed: int = 0
    rate: float = 0.0
    keep: bool = False
    prometheus: bool = False


class Demo:
    """One demo in one workspace.

    Args:
        workspace: its places.
        project: the example's project.
        options: as the user asked.
        console: where progress is shown.
    """

    def __init__(self, workspace: Workspace, project: Project, options: Options, console: Console) -> None:
        self.workspace = workspace
        self.project = project
        self.options = options
        self.console = console
        self.environment = workspace.environment()
        self.settings = settings_module.load(self.environment)
        ensure_keypair(self.settings)
        self.store = open_store(workspace.store_url, self.settings)
        self.processes = Processes(self.environment, workspace.logs)
        self.alerting: Alerting | None = None
        if options.prometheus:
            # Looked for before anything is trained: a missing program is said at once.
            programs = find_programs(self.settings, Path.cwd())
            self.alerting = Alerting(self.processes, programs, workspace.folder / "prometheus")
        mode = ("shuffled" if options.shuffle else "file order") + (", Prometheus" if options.prometheus else "")
        self.facts = Facts(
            model=project.name,
            store=workspace.store_url,
            folder=str(workspace.folder),
            mode=mode + (", live" if options.live else ""),
            seed=options.seed if options.shuffle else None,
        )

    def source(self, first: int, last: int) -> dict[str, Any]:
        """The source that gives a stretch of the (permuted) images."""
        order = {"order_seed": self.options.seed} if self.options.shuffle else {}
        return {"sklearn": "digits", "rows": [first, last], **order}

    def run(self) -> Facts:
        """Steps 1 to 5.

        Raises:
            TrimtabError: a step failed; the processes are ended by `close`.
        """
        started = time.monotonic()
        self.train()
        self.facts.pipeline_seconds = time.monotonic() - started
        server = self.start()
        self.replay(server)
        self.facts.wall_seconds = time.monotonic() - started
        self.sum_up()
        return self.facts

    def train(self) -> None:
        """Step 1: the pipeline, in a process of its own, so that its output and its end are its own."""
        self.console.print(f"[bold]1[/] Training on the first {FIRST_ROWS} images: KFP's local runner, every stage")
        pipeline = self.workspace.folder / "pipeline.yaml"
        self._command("compile", ["compile", str(self.options.project), "--out", str(pipeline)])
        data = json.dumps(self.source(0, FIRST_ROWS))
        self._command("run", ["run", str(self.options.project), "--data", data, "--reason", "demo", "--json"])

    def _command(self, name: str, arguments: list[str]) -> None:
        started = time.monotonic()
        self.processes.start(name, arguments)
        with self.console.status(f"trimtab {name} …"):
            code = self.processes.wait(name)
        if code:
            raise RunError(
                f"`trimtab {name}` failed with exit code {code}",
                object=str(self.workspace.logs / f"{name}.log"),
                got=_last_line(self.workspace.logs / f"{name}.log"),
                hint="read its log",
            )
        self.console.print(f"  trimtab {name}: {time.monotonic() - started:.0f} s", highlight=False)

    def start(self) -> str:
        """Step 2: server, watch and hook; returns the server's address."""
        model = self.project.name
        port, metrics, watch, hook, hook_metrics = free_ports(5)
        server_url, hook_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{hook}"
        self.processes.environment |= {"TRIMTAB_SERVER_URL": server_url, "TRIMTAB_HOOK_URL": hook_url}
        ensure_token(self.settings)
        self.console.print(f"[bold]2[/] Starting the server, the watch and the retrain hook: {server_url}")
        self.processes.start("serve", ["serve", model, "--port", str(port), "--metrics-port", str(metrics),
                                       "--poll-seconds", POLL, "--flush-seconds", POLL])  # fmt: skip
        posts = ["--hook", "-"] if self.alerting else []
        self.processes.start("watch", ["watch", model, "--metrics-port", str(watch), "--poll-seconds", POLL, *posts])
        self.processes.start("hook", ["hook", "--port", str(hook), "--metrics-port", str(hook_metrics),
                                      "--server-metrics", f"http://127.0.0.1:{metrics}/metrics",
                                      "--poll-seconds", POLL])  # fmt: skip
        self.processes.wait_until_answers("serve", f"{server_url}/v2/models/{model}/ready")
        self.processes.wait_until_answers("hook", f"{hook_url}/healthz")
        self.processes.wait_until_answers("watch", f"http://127.0.0.1:{watch}/metrics")
        if self.alerting:
            targets = {"server": metrics, "watch": watch, "hook": hook_metrics}
            self.alerting.start(
                {name: f"127.0.0.1:{at}" for name, at in targets.items()}, hook_url, self.settings.token_file
            )
            self.console.print(f"  Prometheus {self.alerting.prometheus}, Alertmanager {self.alerting.alertmanager}")
        return server_url

    def replay(self, server: str) -> None:
        """Steps 3 and 4."""
        model, windows = self.project.name, self.project.windows.rows
        token = self.settings.token_file.read_text().strip()
        client = Client(server, token=token)
        follower = Follower(
            self.store,
            model,
            windows,
            lambda v: client.ready(model, version=v),
            self.processes.check,
            self.alerting,
        )
        first = follower.state().champion
        if first is None:
            raise RunError("the first version was not promoted", object=model, hint="read the run's log")
        self.facts.first_version = first
        rows = make_rows(self.store, self.project, first, self.settings, self.source(FIRST_ROWS, LAST_ROW))
        self.console.print(
            f"[bold]3[/] Replaying {len(rows)} images as requests, {windows} a window, labels at its end"
        )
        with View(self.console, len(rows)) as view:
            replay = Replay(client, model, self.project_key(), windows, self.options.rate, view.advance)
            end = self._never_wait(view) if self.options.live else self._wait(follower, view)
            self.facts.windows = replay.run(rows, end)
            if self.options.live:
                self._fill_in_verdicts(follower)
        self._totals(replay.answered, follower)

    def project_key(self) -> str:
        """The field by which labels come back."""
        field = self.project.schema().id_field
        return field.name if field else ""

    def _never_wait(self, view: View) -> Callable[[Window, Answered], None]:
        def end(window: Window, _answered: Answered) -> None:
            self.processes.check()
            view.window(window)

        return end

    def _wait(self, follower: Follower, view: View) -> Callable[[Window, Answered], None]:
        known = {a.campaign for a in self._all_alarms(follower)}

        def end(window: Window, answered: Answered) -> None:
            view.say("waiting for the verdict")
            verdict = follower.wait_for_verdict(answered.by_version)
            if verdict is not None:
                window.verdict, window.words = verdict.verdict, verdict.words
                if verdict.verdict == "drift":
                    alarm = follower.wait_for_alarm(verdict)
                    if alarm is not None and alarm.campaign is not None:
                        if alarm.campaign not in known:
                            known.add(alarm.campaign)
                            window.campaign, window.trigger = alarm.campaign, alarm.trigger
                        view.say(f"alarm: campaign {alarm.campaign} retrains and judges")
                        follower.hold_for_campaign(alarm.campaign)
            view.say("")
            view.window(window)

        return end

    def _fill_in_verdicts(self, follower: Follower) -> None:
        """In live mode windows of the replay and of the watch run apart: mark the alarms by their time only."""
        for alarm in self._all_alarms(follower):
            if alarm.campaign is not None and self.facts.windows:
                window = self.facts.windows[min(alarm.window, len(self.facts.windows)) - 1]
                window.campaign, window.trigger = alarm.campaign, alarm.trigger

    def _all_alarms(self, follower: Follower) -> list[Any]:
        versions = {e["version"] for e in follower.events() if e["version"]}
        return sorted((a for v in versions for a in follower.alarms(v)), key=lambda a: a.at)

    def _totals(self, answered: Answered, follower: Follower) -> None:
        facts = self.facts
        facts.requests, facts.failed_requests = answered.requests, answered.failed
        events = [e for e in follower.events() if e["version"] != facts.first_version]
        facts.promotions = sum(e["event"] == "promoted" for e in events)
        facts.rejections = sum(e["event"] in {"rejected", "refused", "rolled_back"} for e in events)
        alarms = self._all_alarms(follower)
        for campaign in follower.campaigns():
            alarm = min((a.at for a in alarms if a.campaign == campaign.n), default=None)
            self._campaign(campaign, alarm, answered)

    def _campaign(self, campaign: CampaignState, alarm: float | None, answered: Answered) -> None:
        judged = [r for r in campaign.retrains if r.judged is not None]
        self.facts.retrains += sum(r.run is not None for r in campaign.retrains)
        self.facts.rejections += sum(not r.won for r in judged)
        first = judged[0].version if judged else None
        if alarm is not None and first in answered.first_answer:
            self.facts.alarm_to_serving_seconds.append(round(answered.first_answer[first] - alarm, 2))
        self.facts.campaigns.append(
            {
                "campaign": campaign.n,
                "phase": campaign.phase,
                "trigger": trigger(campaign),
                "outcome": campaign.outcome,
                "why": campaign.why,
                "retrains": [
                    {"version": r.version, "won": r.won, "why": (r.judged or {}).get("why", "")}
                    for r in campaign.retrains
                ],
            }
        )

    def sum_up(self) -> None:
        """Step 5: the picture and the list of reports."""
        if self.alerting:
            self.facts.alerts = self.alerting.fired()
        picture = self.workspace.folder / "accuracy.png"
        draw(self.facts, picture)
        self.facts.picture = str(picture)
        self.facts.reports = [f"{self.workspace.store_url}/{k}" for k in self.store.list("reports/")]
        (self.workspace.folder / "result.json").write_text(json.dumps(self.facts.as_json(), indent=1))

    def wait_until_interrupted(self) -> None:
        """`--keep`: leave the processes up, say how to try them, and wait for Ctrl-C."""
        url = self.processes.environment["TRIMTAB_SERVER_URL"]
        self.console.print(f"\nThe server stays up: {url} (its page). Ctrl-C ends it.", soft_wrap=True)
        hook = self.processes.environment["TRIMTAB_HOOK_URL"]
        self.console.print(
            f"Windows, campaigns and reports: {hook}/ (sign in with the token in {self.settings.token_file})",
            soft_wrap=True,
        )
        if self.alerting:
            self.console.print(f"Prometheus: {self.alerting.prometheus}  Alertmanager: {self.alerting.alertmanager}")
            self.console.print(
                f"Dashboards: make grafana TRIMTAB_PROMETHEUS_URL={self.alerting.prometheus} "
                f"TRIMTAB_ALERTMANAGER_URL={self.alerting.alertmanager} "
                f"TRIMTAB_HOOK_URL={hook}",
                soft_wrap=True,
            )
        while True:
            time.sleep(0.5)
            self.processes.check()

    def close(self) -> None:
        """End every process, the campaigns' pipeline runs too."""
        self.processes.stop()
        from trimtab.pipelines.launcher import LocalLauncher

        launcher = LocalLauncher(self.store, self.settings)
        for key in runs.list_runs(self.store):
            launcher.cancel(key)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
