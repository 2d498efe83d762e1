"""The hook's metrics: folds of the store at each scrape, so that they survive restarts."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trimtab.core import ledger, rollouts
from trimtab.core.errors import TrimtabError
from trimtab.core.records import utcnow
from trimtab.monitoring import campaign
from trimtab.monitoring.campaign_budget import run_cost, spent
from trimtab.monitoring.campaign_close import lost_in_a_row
from trimtab.monitoring.campaign_records import CampaignState, all_campaigns, controls
from trimtab.monitoring.champion import published

if TYPE_CHECKING:
    from trimtab.core.store import Store

# `approval` is an open campaign that waits for a person, `paused` one that nobody answers for (or none that may open).
STATES = ("idle", "debounce", "approval", "training", "judging", "releasing", "following", "cooling", "paused")
OUTCOMES = ("promoted", "rejected", "failed", "cancelled")
RUN_OUTCOMES = ("succeeded", "failed", "cancelled")
# Who takes a version back: the judge by evidence, a person by hand, a server that refuses to load it.
TAKERS = ("judge", "person", "server")
Costs = dict[tuple[str, str], float]
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
        self._ended: dict[str, Costs] = {}
        self._known: dict[str, tuple[Counter[str], Costs]] = {}

    def describe(self) -> Iterable[Metric]:
        """The metrics without samples: registering reads no store."""
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        """The metrics of every model; a model that cannot be read is left out and said in the log."""
        families = _families()
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
                self._known[model] = self._runs(campaigns)
            except TrimtabError as error:
                _log.error(error.sentence(), extra={"model": model})
        # Counters over all models never fall because one of them cannot be read just now.
        outcomes: Counter[str] = Counter()
        costs: Costs = {}
        for mine, taken in self._known.values():
            outcomes.update(mine)
            for place, seconds in taken.items():
                costs[place] = costs.get(place, 0.0) + seconds
        for outcome in RUN_OUTCOMES:
            families["runs"].add_metric([outcome], outcomes[outcome])
        for (stage, resource), seconds in sorted(costs.items()):
            families["cost"].add_metric([stage, resource], seconds)
        return families.values()

    def _campaigns(self, families: dict[str, Any], model: str, campaigns: list[CampaignState]) -> None:
        at = campaign.state(self.store, model)
        state = ledger.state(self.store, model)
        about = published(self.store, model, state.champion) if state.champion else None
        said = controls(self.store, model)
        now = "idle" if at is None else str(at.phase)
        if said.paused or (about is not None and about.campaign.paused):
            now = "paused"
        elif at is not None and at.phase == "debounce" and at.n not in said.approved:
            now = "approval" if published(self.store, model, at.version).campaign.approval else now
        for one in STATES:
            families["state"].add_metric([model, one], float(one == now))
        if at is not None:
            families["phase"].add_metric([model, at.phase], at.phase_since.timestamp())
        closed = Counter(c.outcome for c in campaigns if c.closed)
        for outcome in OUTCOMES:
            families["campaigns"].add_metric([model, outcome], closed[outcome])
        families["lost"].add_metric([model], lost_in_a_row(campaigns))
        if about is not None:
            taken = spent(self.store, campaigns, about.campaign, utcnow())
            for budget, ratio in taken.ratios(about.campaign).items():
                families["budget"].add_metric([model, budget], ratio)

    def _runs(self, campaigns: list[CampaignState]) -> tuple[Counter[str], Costs]:
        """How the campaigns' runs ended, and what they cost so far."""
        outcomes: Counter[str] = Counter()
        costs: Costs = {}
        for one in campaigns:
            for retrain in one.retrains:
                if retrain.run is None:
                    continue
                if retrain.judged is not None:
                    outcomes["failed" if retrain.judged.get("failed") else "succeeded"] += 1
                elif one.closed:
                    outcomes["cancelled"] += 1
                key = str(retrain.run["run_key"])
                ended = retrain.judged is not None or one.closed
                for place, seconds in self._cost(key, ended).items():
                    costs[place] = costs.get(place, 0.0) + seconds
        return outcomes, costs

    def _rollouts(self, families: dict[str, Any], model: str) -> None:
        entries = ledger.read(self.store, model)
        state = ledger.fold(entries)
        if state.champion:
            families["share"].add_metric([model, state.champion], 1 - state.canary_percent / 100)
        if state.canary:
            families["share"].add_metric([model, state.canary], state.canary_percent / 100)
        waiting: dict[str, float] = {}
        for request in rollouts.undecided(self.store, model):
            waiting[request.kind] = min(waiting.get(request.kind, math.inf), request.at.timestamp())
        for kind, since in waiting.items():
            families["waiting"].add_metric([model, kind], since)
        events = Counter(e.event for e in entries)
        for event in ledger.EVENTS:
            families["events"].add_metric([model, event], events[event])
        back = taken_back(entries)
        for who in TAKERS:
            families["taken_back"].add_metric([model, who], back[who])

    def _cost(self, key: str, ended: bool) -> Costs:
        """Seconds by stage and resource of a run; read once where it has ended."""
        if key in self._ended:
            return self._ended[key]
        found = run_cost(self.store, key)
        if ended:
            self._ended[key] = found
        return found


def taken_back(entries: Iterable[ledger.Entry]) -> Counter[str]:
    """How many versions that answered requests were taken back, by whom. Pure.

    A version that was asked in the shadow alone answered nobody, and one that makes room for another was not taken back
    for its own sake: neither counts.
    """
    found: Counter[str] = Counter()
    state = ledger.State()
    for entry in entries:
        tried, serving = entry.version == state.canary, entry.version == state.champion
        if entry.event == "rejected" and tried and (entry.evidence or {}).get("key"):
            found["judge"] += 1
        elif entry.event == "rolled_back" and (tried or serving):
            found["person"] += 1
        elif entry.event == "refused" and (tried or serving):
            found["server"] += 1
        state = ledger.fold([entry], state)
    return found


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
        "taken_back": CounterMetricFamily(
            "trimtab_rollout_taken_back",
            "Versions that answered requests and were taken back, by whom: judge, person, server",
            labels=["model", "who"],
        ),
        "lost": GaugeMetricFamily(
            "trimtab_campaigns_lost_in_a_row",
            "Campaigns rejected on evidence or failed since the last that was won",
            labels=["model"],
        ),
        "budget": GaugeMetricFamily(
            "trimtab_campaign_budget_used_ratio",
            "Share of a weekly budget that campaigns have spent in 7 days (runs, gpu)",
            labels=["model", "budget"],
        ),
        "waiting": GaugeMetricFamily(
            "trimtab_rollout_waiting_since_timestamp_seconds",
            "When the oldest undecided rollout request of a kind was made; absent where none waits",
            labels=["model", "kind"],
        ),
        "runs": CounterMetricFamily("trimtab_runs", "Campaigns' pipeline runs that ended", labels=["outcome"]),
        "cost": CounterMetricFamily(
            "trimtab_run_cost_seconds", "What campaigns' pipeline runs cost", labels=["stage", "resource"]
        ),
    }
