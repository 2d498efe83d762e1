"""Write rules and Alertmanager's configuration: `python -m trimtab.monitoring.alerts --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

from trimtab.monitoring.alerts.alertmanager import configuration
from trimtab.monitoring.alerts.docs import table
from trimtab.monitoring.alerts.operator import alertmanager_config
from trimtab.monitoring.alerts.rule import Links
from trimtab.monitoring.alerts.rules import HEAD, dump, plain, resources


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(prog="python -m trimtab.monitoring.alerts", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("monitoring/rules"), help="folder for the rules")
    parser.add_argument("--hook-url", default=Links.hook, help="the hook as people reach it, for the alerts' links")
    parser.add_argument("--grafana-url", default=Links.grafana, help="Grafana as people reach it")
    parser.add_argument("--plain", type=Path, help="write one rule file for a Prometheus without an operator here")
    parser.add_argument("--alertmanager", type=Path, help="write Alertmanager's configuration here")
    parser.add_argument("--operator", type=Path, help="write it as an AlertmanagerConfig here")
    parser.add_argument("--docs", type=Path, help="write the tables of alerts and thresholds here")
    chosen = parser.parse_args()
    links = Links(chosen.hook_url.rstrip("/"), chosen.grafana_url.rstrip("/"))
    if chosen.plain:
        chosen.plain.write_text(plain(links))
    else:
        chosen.out.mkdir(parents=True, exist_ok=True)
        for name, text in resources(links).items():
            (chosen.out / name).write_text(text)
    if chosen.alertmanager:
        chosen.alertmanager.write_text(HEAD.format("alertmanager.py") + dump(configuration()))
    if chosen.operator:
        chosen.operator.write_text(HEAD.format("operator.py") + dump(alertmanager_config()))
    if chosen.docs:
        chosen.docs.write_text(table())


if __name__ == "__main__":
    main()
