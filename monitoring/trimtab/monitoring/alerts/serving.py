"""Rules about answers: how fast the error budgets of 30 days burn, over several windows (SRE workbook, chapter 5)."""

from __future__ import annotations

from trimtab.monitoring.alerts.rule import Alert, Group, Record
from trimtab.monitoring.alerts.thresholds import BURNS, Burn, Thresholds

REQUESTS = "trimtab_server_requests_total"
SECONDS = "trimtab_server_request_seconds"
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


def group(at: Thresholds) -> Group:
    """Failed and slow requests."""
    in_time = f'{SECONDS}_bucket{{le="{at.latency_seconds!r}"}}'
    records = []
    for window in WINDOWS:
        records += [
            Record(
                f"trimtab:server_errors:rate{window}",
                f'sum by (model) (rate({REQUESTS}{{code=~"5.."}}[{window}]))',
            ),
            Record(f"trimtab:server_requests:rate{window}", f"sum by (model) (rate({REQUESTS}[{window}]))"),
            Record(
                f"trimtab:server_slow:rate{window}",
                f"sum by (model) (rate({SECONDS}_count[{window}])) - sum by (model) (rate({in_time}[{window}]))",
            ),
        ]
    return Group(
        "trimtab-serving",
        [
            *records,
            *(_burn("TrimtabServerErrorsBurn", "errors", at.availability, b, at) for b in BURNS),
            *(_burn("TrimtabServerLatencyBurn", "slow", at.latency, b, at) for b in BURNS),
        ],
    )


def _burn(name: str, kind: str, objective: float, burn: Burn, at: Thresholds) -> Alert:
    limit = burn.factor * (1 - objective)
    # One failed request among few must not burn a budget of 30 days in a minute.
    least = at.least_bad / _seconds(burn.long)

    def ratio(window: str) -> str:
        return f"trimtab:server_{kind}:rate{window} / trimtab:server_requests:rate{window}"

    expr = (
        f"({ratio(burn.long)} > {limit:.6g}) and ({ratio(burn.short)} > {limit:.6g}) "
        f"and (trimtab:server_{kind}:rate{burn.long} > {least:.6g})"
    )
    what = "fail" if kind == "errors" else f"take longer than {at.latency_seconds:g} s"
    return Alert(
        name=name,
        severity="page" if burn.severity == "page" else "warning",
        owner="platform",
        expr=expr,
        summary=f"{{{{ $value | humanizePercentage }}}} of {{{{ $labels.model }}}}'s requests {what}",
        description=f"Over {burn.long} and over {burn.short}: {burn.factor:g} times what the objective of "
        f"{objective:.4%} over 30 days allows.".replace("00%", "%"),
        dashboard="trimtab-serving",
        labels={"long": burn.long},
    )


def _seconds(window: str) -> float:
    return float(window[:-1]) * {"m": 60, "h": 3600, "d": 86_400}[window[-1]]
