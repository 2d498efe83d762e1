"""Alertmanager's configuration: who gets which alert, and which alert silences which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# The one alert that asks for a retrain campaign. It is on the hook's route alone, and nothing silences it.
NUDGE = "TrimtabDrift"
# Causes that are a warning before they page.
WARNED_FIRST = ("TrimtabStoreTrouble", "TrimtabRealisedLoss", "TrimtabExpectedLoss")
HOOK, PAGER, TICKETS = "trimtab-hook", "trimtab-pager", "trimtab-tickets"


@dataclass(frozen=True)
class Pace:
    """How long alerts are gathered and how often they are said again, in Prometheus's writing.

    Attributes:
        wait: before a new group of alerts is said.
        interval: before further alerts of a group are said.
        repeat: before a page is said again.
        nudge: before the hook is asked again while a drift lasts; a lost request costs so much.
    """

    wait: str = "30s"
    interval: str = "5m"
    repeat: str = "1h"
    nudge: str = "5m"


def configuration(
    hook_url: str = "http://trimtab-hook:8090",
    token_file: str = "/etc/alertmanager/secrets/trimtab-hook/token",  # noqa: S107 - a path, not a secret
    pager_url_file: str = "",
    tickets_url_file: str = "",
    pace: Pace | None = None,
) -> dict[str, Any]:
    """What stands in `alertmanager.yml`.

    Args:
        hook_url: base URL of the retrain hook, as Alertmanager reaches it.
        token_file: file with the bearer token that the hook accepts.
        pager_url_file: file that holds the URL of a webhook to the team's pager; empty leaves that receiver without a
            way out, to be filled in.
        tickets_url_file: the same for the team's tickets.
        pace: how long alerts are gathered and how often they are said again.
    """
    at = pace or Pace()
    hook = {
        "url": f"{hook_url}/alerts",
        "send_resolved": False,
        "http_config": {"authorization": {"type": "Bearer", "credentials_file": token_file}},
    }
    return {
        "route": {
            "receiver": TICKETS,
            "group_by": ["alertname", "model"],
            "group_wait": at.wait,
            "group_interval": at.interval,
            "repeat_interval": "12h",
            "routes": [
                {
                    "receiver": HOOK,
                    "matchers": [f'alertname="{NUDGE}"'],
                    "group_by": ["model"],
                    "group_wait": "0s",
                    "group_interval": at.nudge,
                    "repeat_interval": at.nudge,
                },
                {"receiver": PAGER, "matchers": ['severity="page"'], "repeat_interval": at.repeat},
                {"receiver": TICKETS, "matchers": ['severity="warning"']},
            ],
        },
        "inhibit_rules": inhibitions(),
        "receivers": [
            {"name": HOOK, "webhook_configs": [hook]},
            _receiver(PAGER, pager_url_file),
            _receiver(TICKETS, tickets_url_file),
        ],
    }


def inhibitions() -> list[dict[str, Any]]:
    """A root cause silences its symptoms. None silences the nudge: the hook looks at the facts by itself.

    What pages is silenced by what pages alone: a cause's warning wakes nobody, so it may silence warnings only.

    One installation has one store and one hook, so those two silence the symptoms of every model.
    """
    stale = ["TrimtabInputDrift", "TrimtabExpectedLoss", "TrimtabRealisedLoss", "TrimtabCalibrationLost"]
    return [
        *_inhibit(
            "TrimtabStoreTrouble",
            ["TrimtabWatchStale", "TrimtabPredictionLogStuck", "TrimtabCampaignStuck", "TrimtabRollbackNotDone"],
        ),
        *_inhibit("TrimtabHookDown", ["TrimtabCampaignStuck", "TrimtabRollbackNotDone"]),
        *_inhibit(
            "TrimtabServerDown",
            ["TrimtabServerErrorsBurn", "TrimtabServerLatencyBurn", "TrimtabPredictionLogStuck"],
            "model",
        ),
        *_inhibit("TrimtabWatchStale", [*stale, "TrimtabLabelsLate"], "model"),
        *_inhibit("TrimtabCampaignsLost", ["TrimtabCampaignFailed"], "model"),
        # Labels have spoken: what the estimate and the inputs say adds nothing at night.
        *_inhibit("TrimtabRealisedLoss", ["TrimtabExpectedLoss", "TrimtabInputDrift"], "model", "version"),
        *_inhibit("TrimtabExpectedLoss", ["TrimtabInputDrift"], "model", "version"),
        {
            "source_matchers": ['severity="page"'],
            "target_matchers": ['severity="warning"', f'alertname!="{NUDGE}"', 'alertname=~"Trimtab.*"'],
            "equal": ["alertname", "model", "version", "job", "cause"],
        },
    ]


def _inhibit(cause: str, symptoms: list[str], *equal: str) -> list[dict[str, Any]]:
    """A cause's page silences every symptom, its warning those that are warnings."""
    return [
        {
            "source_matchers": [f'alertname=~"{cause}"', f'severity="{source}"'],
            "target_matchers": [f'alertname=~"{"|".join(symptoms)}"', f'severity=~"{targets}"'],
            "equal": list(equal),
        }
        for source, targets in (("page", "page|warning"), ("warning", "warning"))
        if source == "page" or cause in WARNED_FIRST
    ]


def _receiver(name: str, url_file: str) -> dict[str, Any]:
    return {"name": name, **({"webhook_configs": [{"url_file": url_file}]} if url_file else {})}
