"""Rules about our processes and the store: a silent exporter never looks healthy.

Each process is missed by what another one knows of it, so that no list of targets has to be kept.
"""

from __future__ import annotations

from trimtab.monitoring.alerts.rule import Alert, Group, Record
from trimtab.monitoring.alerts.thresholds import Thresholds

SERVED = "max by (model) (trimtab_rollout_share_ratio)"
LOOKED = "max by (model) (trimtab_watch_last_look_timestamp_seconds)"
ERRORS = "sum by (job) (increase(trimtab_store_errors_total[{}]))"


def group(at: Thresholds) -> Group:
    """Watch stale, hook or server away, store trouble."""
    return Group(
        "trimtab-processes",
        [
            Record("trimtab:watch_age_seconds", f"time() - {LOOKED}"),
            Alert(
                name="TrimtabWatchStale",
                severity="page",
                owner="platform",
                expr=f"trimtab:watch_age_seconds > {at.stale_seconds:g} or ({SERVED} unless on (model) {LOOKED})",
                summary="Nobody watches {{ $labels.model }}",
                description="The watch's last look that succeeded is too long ago, or its metrics are gone. What it "
                "showed last stands still: a good verdict means nothing.",
                wait=at.down_seconds,
            ),
            Alert(
                name="TrimtabHookDown",
                severity="page",
                owner="platform",
                expr="absent(trimtab_runs_total)",
                summary="The retrain hook is away",
                description="No metrics of the hook arrive. Drift is not answered, canaries neither rise nor go back, "
                "and a rollback is carried out by its command alone.",
                wait=at.down_seconds,
                dashboard="trimtab-campaigns",
            ),
            Alert(
                name="TrimtabServerDown",
                severity="page",
                owner="platform",
                expr=f"{SERVED} unless on (model) max by (model) (trimtab_server_in_flight)",
                summary="No server of {{ $labels.model }} shows itself",
                description="The model has a champion, and no server's metrics arrive: it is down or is not scraped.",
                wait=at.down_seconds,
                dashboard="trimtab-serving",
            ),
            Alert(
                name="TrimtabStoreTrouble",
                severity="warning",
                owner="platform",
                expr=f"{ERRORS.format('10m')} >= {at.store_errors:g}",
                summary="Requests of {{ $labels.job }} to the store fail",
                description="{{ $value | humanize }} in ten minutes. They are tried again, and nothing is lost so far.",
                labels={"scope": "store"},
            ),
            Alert(
                name="TrimtabStoreTrouble",
                severity="page",
                owner="platform",
                expr=f"{ERRORS.format('5m')} > 0",
                summary="The store has been failing {{ $labels.job }} for a long time",
                description="{{ $value | humanize }} failed requests in five minutes, without a pause since the alert "
                "began. Servers answer on and spool; watch, campaigns and rollouts stand still.",
                wait=at.store_page_seconds,
                labels={"scope": "store"},
            ),
        ],
    )
