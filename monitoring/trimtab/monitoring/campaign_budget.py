"""What campaigns have spent: pipeline runs, and the seconds that these took on each kind of hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from trimtab.core.policies import Campaign
from trimtab.core.records import parse_time, read_record
from trimtab.monitoring.campaign_records import CampaignState

if TYPE_CHECKING:
    from trimtab.core.store import Store

WEEK = timedelta(days=7)
# `gpu` is what a GPU was held for, `gpu_busy` what of it was computed in, where the GPU tells.
RESOURCES = {"wall": "wall_seconds", "cpu": "cpu_seconds", "gpu": "gpu_seconds", "gpu_busy": "gpu_busy_seconds"}
_RECORDS = {"result.json": "stage-result", "error.json": "stage-error"}


@dataclass(frozen=True)
class Spent:
    """What a model's campaigns have spent in seven days: pipeline runs, and hours of GPU in them."""

    runs: int = 0
    gpu_hours: float = 0.0

    def ratios(self, policy: Campaign) -> dict[str, float]:
        """Share of each budget that is spent, by its name; a budget that is not set has none."""
        found = {"runs": self.runs / policy.retrains_per_week}
        if policy.gpu_hours_per_week is not None:
            found["gpu"] = self.gpu_hours / policy.gpu_hours_per_week
        return found

    def over(self, policy: Campaign) -> str:
        """Why the budget allows no further run; empty while it does.

        >>> Spent(20).over(Campaign())
        'the budget of retrains is spent: 20 in 7 days, 20 allowed'
        >>> Spent(3, 2.5).over(Campaign(gpu_hours_per_week=2))
        'the budget of GPU hours is spent: 2.5 in 7 days, 2 allowed'
        """
        if self.runs >= policy.retrains_per_week:
            return f"the budget of retrains is spent: {self.runs} in 7 days, {policy.retrains_per_week} allowed"
        if policy.gpu_hours_per_week is not None and self.gpu_hours >= policy.gpu_hours_per_week:
            allowed = f"{policy.gpu_hours_per_week:g} allowed"
            return f"the budget of GPU hours is spent: {self.gpu_hours:.1f} in 7 days, {allowed}"
        return ""


def spent(store: Store, campaigns: Sequence[CampaignState], policy: Campaign, now: datetime) -> Spent:
    """What campaigns have spent in the seven days before a moment; a run counts from its start.

    Hours of GPU are added up only where the policy has a budget of them: that reads each run's records.
    """
    recent = [
        str(r.run["run_key"])
        for c in campaigns
        for r in c.retrains
        if r.run is not None and parse_time(str(r.run["written_at"])) > now - WEEK
    ]
    if policy.gpu_hours_per_week is None:
        return Spent(len(recent))
    seconds = sum(s for key in recent for (_, resource), s in run_cost(store, key).items() if resource == "gpu")
    return Spent(len(recent), seconds / 3600)


def run_cost(store: Store, key: str) -> dict[tuple[str, str], float]:
    """Seconds that a run has taken so far, by stage and resource (`RESOURCES`).

    Every attempt and try counts, failed ones too; a stage counts once it has ended, one that was killed never.
    """
    found: dict[tuple[str, str], float] = {}
    for name in store.list(f"runs/{key}/attempts/"):
        parts = name.split("/")
        if len(parts) != 7 or parts[6] not in _RECORDS:
            continue
        cost = read_record(store, name, _RECORDS[parts[6]]).get("cost") or {}
        for resource, field in RESOURCES.items():
            place = (parts[4].split(".")[0], resource)
            found[place] = found.get(place, 0.0) + float(cost.get(field) or 0.0)
    return found
