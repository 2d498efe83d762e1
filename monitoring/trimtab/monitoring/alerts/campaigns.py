"""Rules about campaigns and releases."""

from __future__ import annotations

from trimtab.monitoring.alerts.rule import Alert, Group
from trimtab.monitoring.alerts.thresholds import Thresholds

CAMPAIGNS = "campaigns/{{ $labels.model }}/"


def group(at: Thresholds) -> Group:
    """A campaign that is stuck, failed, or lost twice; a canary taken back; a rollback that is not done."""
    window = f"{at.event_seconds:g}s"
    return Group(
        "trimtab-campaigns",
        [
            Alert(
                name="TrimtabCampaignStuck",
                severity="page",
                owner="model",
                expr=_stuck(at),
                summary="{{ $labels.model }}'s campaign is stuck in {{ $labels.phase }}",
                description="It has been there for {{ $value | humanizeDuration }}, longer than that phase takes. The "
                "drift that it answers goes on.",
                dashboard="trimtab-campaigns",
                report=CAMPAIGNS,
            ),
            Alert(
                name="TrimtabCampaignFailed",
                severity="warning",
                owner="model",
                expr=f'sum by (model, outcome) (increase(trimtab_campaigns_total{{outcome=~"rejected|failed"}}'
                f"[{window}])) > 0",
                summary="A campaign of {{ $labels.model }} was {{ $labels.outcome }}",
                description="The champion stays. The challenger is kept with the reason; after a pause the next "
                "campaign tries on newer data.",
                dashboard="trimtab-campaigns",
                report=CAMPAIGNS,
            ),
            Alert(
                name="TrimtabCampaignsLost",
                severity="page",
                owner="model",
                expr=f"max by (model) (trimtab_campaigns_lost_in_a_row) >= {at.lost_in_a_row:g}",
                summary="{{ $value | humanize }} campaigns of {{ $labels.model }} were lost in a row",
                description="Retraining does not help here. What was tried, and why it lost, is in the campaigns' "
                "records; a person has to look.",
                dashboard="trimtab-campaigns",
                report=CAMPAIGNS,
            ),
            Alert(
                name="TrimtabCanaryRolledBack",
                severity="warning",
                owner="model",
                expr=f"sum by (model, who) (increase(trimtab_rollout_taken_back_total[{window}])) > 0",
                summary="A version of {{ $labels.model }} that answered requests was taken back by the "
                "{{ $labels.who }}",
                description="The version before it answers them again. Why, and on which evidence, is in the ledger: "
                "trimtab history {{ $labels.model }}",
                dashboard="trimtab-campaigns",
                report=CAMPAIGNS,
            ),
            Alert(
                name="TrimtabRollbackNotDone",
                severity="page",
                owner="platform",
                expr='time() - min by (model) (trimtab_rollout_waiting_since_timestamp_seconds{kind="rollback"}) '
                f"> {at.rollback_seconds:g}",
                summary="A rollback of {{ $labels.model }} is not done",
                description="It was asked for {{ $value | humanizeDuration }} ago and the version still serves.",
                dashboard="trimtab-campaigns",
                report=CAMPAIGNS,
            ),
        ],
    )


def _stuck(at: Thresholds) -> str:
    """How long the phase lasts, where that is longer than it may, seconds."""
    most = {
        "debounce": at.debounce_seconds,
        "training": at.training_seconds,
        "judging": at.judging_seconds,
        "releasing": at.releasing_seconds,
        "following": at.following_seconds,
    }
    return " or ".join(
        f'(time() - max by (model, phase) (trimtab_campaign_phase_started_timestamp_seconds{{phase="{phase}"}})'
        f" > {seconds:g})"
        for phase, seconds in most.items()
    )
