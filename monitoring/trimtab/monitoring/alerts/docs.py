"""The tables of `docs/alerts-table.md`: alerts and thresholds, from the rules themselves."""

from __future__ import annotations

from trimtab.monitoring.alerts import rules, thresholds


def table() -> str:
    """Markdown: every alert, every threshold."""
    lines = [
        "# Alerts and their thresholds",
        "",
        "Written from `monitoring/trimtab/monitoring/alerts/`; [alerts.md](alerts.md) says how they work together.",
        "",
        "| alert | severity | owner | after | expression |",
        "|---|---|---|---|---|",
    ]
    for alert in rules.alerts():
        expr = alert.expr.replace("|", "\\|")
        lines.append(
            f"| [{alert.name}](../monitoring/runbooks/{alert.name}.md) | {alert.severity} | {alert.owner} "
            f"| {alert.wait:g} s | `{expr}` |"
        )
    lines += ["", "| threshold | value | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {value} | {unit} | {text} |" for name, value, unit, text in thresholds.table()]
    return "\n".join(lines) + "\n"
