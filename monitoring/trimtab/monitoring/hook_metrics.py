"""The hook's metrics: folds of the store at each scrape, so that they survive restarts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trimtab.core import ledger, runs
from trimtab.core.errors import TrimtabError
from trimtab.monitoring import campaign
from trimtab.monitoring.campaign_records import CampaignState, all_campaigns, controls

if TYPE_CHECKING:
    from trimtab.core.store import Store

STATES = ("idle", "debounce", "training", "judging", "releasing", "following", "cooling", "paused")
OUTCOMES = ("promoted", "rejected", "failed", "cancelled")
RESOURCES = {"wall": "wall_seconds", "cpu": "cpu_seconds", "gpu": "gpu_seconds"}
_log = logging.getLogger(__name__)


class HookCollector(Collector):
    """Collects the hook's metrics.

    Args:
        store: what is folded.
        models: gives the models' names.
    """

    def __init__(self, store: Store, models: Callable[[], list[str]]) -> None:
        self.store = store
        self.models = models
        self._costs: dict[str, dict[tuple[str, str], float]] = {}

    def describe(self) -> Iterable[Metric]:
        """The metrics without samples: registering reads no store."""
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        """The metrics of every model; a model that cannot be read is left out and said in the log."""
        families = _families()
        finished: Counter[str] = Counter()
        costs: dict[tuple[str, str], float] = {}
        try:
            names = self.models()
        except TrimtabError as error:
            _log.error(error.sentence())
            names = []
        for model in names:
            try:
                campaigns = all_campaigns(self.store, model)
                self._campaigns(families, model, campaigns)
                self._rollouts(families, model)
            except TrimtabError as error:
                _log.error(error.sentence(), extra={"model": model})
                continue
            for retrain in (r for c in campaigns for r in c.retrains if r.run and r.judged):
                assert retrain.judged is not None
                assert retrain.run is not None
                finished["failed" if retrain.judged.get("failed") else "succeeded"] += 1
                for place, seconds in self._cost(str(retrain.run["run_key"])).items():
                    costs[place] = costs.get(place, 0.0) + seconds
        for outcome in ("succeeded", "failed"):
            families["runs"].add_metric([outcome], finished[outcome])
        for (stage, resource), seconds in sorted(costs.items()):
            families["cost"].add_metric([stage, resource], seconds)
        return families.values()

    def _campaigns(self, families: dict[str, Any], model: str, campaigns: list[CampaignState]) -> None:
        at = campaign.state(self.store, model)
        now = "idle" if at is None else str(at.phase)
        if controls(self.store, model).paused and (at is None or at.closed):
            now = "paused"
        for state in STATES:
            families["state"].add_metric([model, state], float(state == now))
        if at is not None:
            families["phase"].add_metric([model, at.phase], at.phase_since.timestamp())
        closed = Counter(c.outcome for c in campaigns if c.closed)
        for outcome in OUTCOMES:
            families["campaigns"].add_metric([model, outcome], closed[outcome])

    def _rollouts(self, families: dict[str, Any], model: str) -> None:
        entries = ledger.read(self.store, model)
        state = ledger.fold(entries)
        if state.champion:
            families["share"].add_metric([model, state.champion], 1 - state.canary_percent / 100)
        if state.canary:
            families["share"].add_metric([model, state.canary], state.canary_percent / 100)
        events = Counter(e.event for e in entries)
        for event in ledger.EVENTS:
            families["events"].add_metric([model, event], events[event])

    def _cost(self, key: str) -> dict[tuple[str, str], float]:
        """Seconds by stage and resource of a run that has ended; read once."""
        if key not in self._costs:
            found: dict[tuple[str, str], float] = {}
            for stage, record in runs.stage_results(self.store, key).items():
                for resource, name in RESOURCES.items():
                    place = (stage.split(".")[0], resource)
                    seconds = float((record.get("cost") or {}).get(name) or 0.0)
                    found[place] = found.get(place, 0.0) + seconds
            self._costs[key] = found
        return self._costs[key]


def _families() -> dict[str, Any]:
    return {
        "state": GaugeMetricFamily(
            "trimtab_campaign_state", "1 for the state that the model's campaigns are in", labels=["model", "state"]
        ),
        "phase": GaugeMetricFamily(
            "trimtab_campaign_phase_started_timestamp_seconds",
            "When the newest campaign's phase began",
            labels=["model", "phase"],
        ),
        "campaigns": CounterMetricFamily(
            "trimtab_campaigns", "Campaigns closed, by outcome", labels=["model", "outcome"]
        ),
        "share": GaugeMetricFamily(
            "trimtab_rollout_share_ratio", "Share of requests that a version is to answer", labels=["model", "version"]
        ),
        "events": CounterMetricFamily(
            "trimtab_rollout_events", "Entries of the ledger, by event", labels=["model", "event"]
        ),
        "runs": CounterMetricFamily("trimtab_runs", "Campaigns' pipeline runs that ended", labels=["outcome"]),
        "cost": CounterMetricFamily(
            "trimtab_run_cost_seconds", "What campaigns' pipeline runs cost", labels=["stage", "resource"]
        ),
    }
