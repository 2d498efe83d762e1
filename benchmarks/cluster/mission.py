"""The mission, step by step: train, serve, drift, retrain, canary, promote; then a bad version that is taken back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cluster import footprint, project
from benchmarks.cluster.load import Counted, Load
from benchmarks.cluster.waiting import Missed, until

from trimtab.core import bundle, ledger
from trimtab.core.records import parse_time
from trimtab.monitoring.campaign_records import CampaignState, all_campaigns

if TYPE_CHECKING:
    from benchmarks.cluster.place import Place

RATE = 15.0
# Bounds of what is awaited, seconds: several times what two busy cores take.
RUN, SERVE, DRIFT, CAMPAIGN, CANARY, BACK = 420.0, 120.0, 180.0, 420.0, 180.0, 180.0
# So many answers of the bad version before labels come back: it is a canary then, under real requests.
BAD_ANSWERS = 20
IDLE_SECONDS = 20.0


@dataclass
class Facts:
    """What the loop saw; `as_json` is what is written."""

    requests: int = 0
    failed_requests: int = 0
    failures: list[str] = field(default_factory=list)
    campaigns: int = 0
    promotions: int = 0
    rollbacks: int = 0
    trigger: str = ""
    alarm_to_serving_s: float = 0.0
    alarm_to_promoted_s: float = 0.0
    submit_to_published_s: float = 0.0
    slowest_answer_s: float = 0.0
    stage_pods: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    idle_before: dict[str, Any] = field(default_factory=dict)
    idle_after: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Mission:
    """One loop in one place.

    Args:
        place: where.
        folder: for the project and its data.
        say: told each step, in words.
    """

    def __init__(self, place: Place, folder: Path, say: Callable[[str], None] = print) -> None:
        self.place, self.folder, self.say = place, folder, say
        self.facts = Facts()
        self.store = place.store("oncall")
        self.file = project.write(folder)
        self.project = project.load(self.file)
        self._began = self._step_began = time.monotonic()

    def run(self) -> Facts:
        """All steps.

        Raises:
            Missed: what a step awaits did not come; the message says what was there instead.
        """
        first = self._train()
        self._took("train_and_serve")
        self.facts.idle_before = self._idle()
        self._took("idle_before")
        rows = project.rows(self.project)
        load = Load(
            self.place.gateway.url, project.MODEL, rows, RATE,
            token=self.place.keys.token, again=project.AGAIN, label_seconds=1.0,
        )  # fmt: skip
        with load:
            second = self._drift_and_retrain(load, first)
            self._took("drift_to_promoted")
            self._bad(load, second)
            self._took("bad_version")
            seen = load.stop()
        self.facts.idle_after = self._idle()
        self._took("idle_after")
        self._sum_up(seen, first)
        return self.facts

    # -- the steps ---------------------------------------------------------------------------------------------------

    def _train(self) -> str:
        """Submit; stages run as pods; the version that is published is promoted and served."""
        self.say("submit: the stages run as pods of the node")
        began = time.time()
        told = self._submit(self.file, "first")
        version = str(told["version_of_model"])
        published = bundle.read_manifest(self.store, project.MODEL, version).created_at.timestamp()
        self.facts.submit_to_published_s = round(published - began, 1)
        self.say(f"{version} is published; it is promoted, and KServe is to serve it")
        self._await(lambda: self._state().champion == version, SERVE, f"the promotion of {version}")
        self._await_route(version, SERVE)
        return version

    def _drift_and_retrain(self, load: Load, first: str) -> str:
        """New writers come; the alarm goes its way; the retrained version takes over."""
        self.say(f"replay: {RATE:g} requests a second, labels a second later; new writers arrive")
        self._await(lambda: load.seen.by_version[first] > 0 or None, 30, "a first answer", self._traffic(load))
        alarm = self._await(
            self.place.alerting.fired_at, DRIFT, "the alert TrimtabDrift", lambda: self._drift_words(load)
        )
        self.say("drift: Prometheus fires, Alertmanager tells the hook")
        campaign = self._await(
            self._campaign, 60, "a campaign of the hook's", lambda: self.place.alerting.words() + self._traffic(load)()
        )
        self.facts.trigger = str(campaign.opened.get("why") or "").partition(": ")[0]
        alarm = min(alarm, parse_time(str(campaign.opened["written_at"])).timestamp())
        self.say(f"campaign {campaign.n}: a retrain is submitted, its stages run as pods")
        version: str = self._await(
            lambda: self._retrained(first), CAMPAIGN, "a retrained version", self._campaign_words
        )
        self.say(f"{version} is published; it goes into the dark, then to a share of the requests")
        self._await(lambda: load.seen.first_answer.get(version), CANARY, f"an answer of {version}", self._traffic(load))
        self.facts.alarm_to_serving_s = round(load.seen.first_answer[version] - alarm, 1)
        self.say(f"{version} answers {self.facts.alarm_to_serving_s:g} s after the alarm")
        self._await(
            lambda: self._state().champion == version or None,
            CANARY,
            f"the promotion of {version}",
            self._traffic(load),
        )
        promoted = [e for e in self._events() if e.event == "promoted" and e.version == version]
        self.facts.alarm_to_promoted_s = round(promoted[-1].at.timestamp() - alarm, 1)
        self._await_route(version, CANARY)
        self._await(lambda: self._settled(version), CANARY, f"the end of the rollout of {version}", self._traffic(load))
        return version

    def _bad(self, load: Load, champion: str) -> None:
        """An upload whose labels are off by one: it passes its gates, becomes a canary, and labels send it back."""
        self.say(
            "a bad upload: every digit is called by the next one's name; labels of what is answered wait meanwhile"
        )
        load.hold_labels()
        data = project.write_mislabelled(self.project, self.folder / "bad")
        bad = project.write(data.parent, data.name)
        told = self._submit(bad, "a new upload")
        version = str(told["version_of_model"])
        self.say(f"{version} passed its gates; it becomes a canary")
        self._await(
            lambda: load.seen.by_version[version] >= BAD_ANSWERS or None, CANARY,
            f"{BAD_ANSWERS} answers of {version} as a canary", self._traffic(load),
        )  # fmt: skip
        self.say("the labels come: the judge takes it back")
        load.release_labels()
        self._await(
            lambda: (self._state().canary != version and version in self._given_up()) or None, BACK,
            f"the end of {version}", self._traffic(load),
        )  # fmt: skip
        self._await(lambda: self._settled(champion), BACK, f"all requests at {champion} again", self._traffic(load))
        assert self._state().champion == champion, self._event_words()

    def _submit(self, file: Path, reason: str) -> dict[str, Any]:
        """Submit as a person does, with the S3 user `pipeline`, and wait for the end of the run."""
        words = ("submit", str(file), "--wait", "--json", "--reason", reason)
        told: dict[str, Any] = json.loads(self.place.command("pipeline", *words, seconds=RUN))
        return told

    # -- what is looked at -------------------------------------------------------------------------------------------

    def _state(self) -> ledger.State:
        return ledger.state(self.store, project.MODEL)

    def _events(self) -> list[ledger.Entry]:
        return ledger.read(self.store, project.MODEL)

    def _event_words(self) -> str:
        return "ledger: " + "; ".join(
            f"{e.version} {e.event}{f' {e.percent} %' if e.percent else ''} ({e.why[:120]})" for e in self._events()
        )

    def _given_up(self) -> set[str]:
        return {e.version for e in self._events() if e.event in {"rejected", "rolled_back", "refused"}}

    def _campaign(self) -> CampaignState | None:
        found = all_campaigns(self.store, project.MODEL)
        return found[-1] if found else None

    def _retrained(self, first: str) -> str | None:
        """The newest version that a campaign has published, where its rollout has been asked for."""
        campaign = self._campaign()
        if campaign is not None and campaign.closed and campaign.outcome != "promoted":
            raise Missed(f"the campaign ended without a version.\n{self._campaign_words()}")
        versions = [e.version for e in self._events() if e.event == "published" and e.version != first]
        return versions[-1] if versions else None

    def _settled(self, champion: str) -> bool:
        """Whether one Deployment is left, and the gateway sends everything there, for this version."""
        shares = [w for w in self.place.gateway.weights.values() if w > 0]
        return len(shares) == 1 and len(self.place.ready("server")) == 1 and self._answers(champion)

    def _answers(self, version: str) -> bool:
        from trimtab.client import Client

        with Client(self.place.gateway.url, retries=0, timeout=5) as client:
            return client.ready(project.MODEL, version=version)

    def _await_route(self, version: str, seconds: float) -> None:
        self._await(lambda: self._answers(version) or None, seconds, f"an answer of {version} through the gateway")

    def _await(self, look: Callable[[], Any], seconds: float, what: str, more: Callable[[], str] = lambda: "") -> Any:
        def seen() -> str:
            return f"{more()}\n{self._event_words()}\n{self.place.describe()}".strip()

        return until(look, seconds, what, seen)

    def _traffic(self, load: Load) -> Callable[[], str]:
        return lambda: f"load: {load.seen.words()}"

    def _drift_words(self, load: Load) -> str:
        return f"load: {load.seen.words()}, {load.seen.right} right, {load.seen.labels} labels\n" + (
            self.place.alerting.words()
        )

    def _campaign_words(self) -> str:
        campaign = self._campaign()
        if campaign is None:
            return "no campaign"
        runs = [
            f"run {run.item['display_name']}: {run.item['state']} {run.messages}"
            for run in self.place.kubeflow.backend.runs.values()
        ]
        facts = f"campaign {campaign.n}: {campaign.phase} {campaign.outcome or ''} {campaign.why or ''}"
        return "\n".join([facts, *runs, self.place.describe("trimtab-hook")])

    def _idle(self) -> dict[str, Any]:
        uids = {name: list(self.place.ready(name).values()) for name in ("watch", "hook", "server")}
        found = footprint.measure(self.place.node.sandbox.cgroup, uids, IDLE_SECONDS).record()
        self.say(
            f"idle: {found['cpu']} CPU, {found['megabytes']} MB for watch, hook and server together, "
            f"{found['files']} MB of files beside"
        )
        return found

    def _took(self, name: str) -> None:
        now = time.monotonic()
        self.facts.seconds[name] = round(now - self._step_began, 1)
        self._step_began = now

    def _sum_up(self, seen: Counted, first: str) -> None:
        facts, events = self.facts, self._events()
        facts.requests, facts.failed_requests = seen.requests, seen.failed + seen.refused
        facts.failures = [f"{time.strftime('%H:%M:%S', time.gmtime(f.at))} {f.why}" for f in seen.failures]
        facts.slowest_answer_s = round(seen.slowest, 3)
        facts.versions = dict(seen.by_version)
        facts.campaigns = len(all_campaigns(self.store, project.MODEL))
        facts.promotions = sum(e.event == "promoted" and e.version != first for e in events)
        tried = {e.version for e in events if e.event == "canaried"}
        facts.rollbacks = len(tried & self._given_up())
        facts.stage_pods = len(self.place.stages.started)
        facts.events = [f"{e.version} {e.event}{f' {e.percent} %' if e.percent else ''}: {e.why}" for e in events]
        facts.seconds["all"] = round(time.monotonic() - self._began, 1)
