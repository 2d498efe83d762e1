"""`--prometheus`: a Prometheus and an Alertmanager of the demo's own, between the watch and the hook.

The watch posts nothing then; it shows its verdict as a metric. Prometheus scrapes it, the rules of
`trimtab.monitoring.alerts` fire, Alertmanager routes the alert to the hook's webhook with the demo's token.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.core.errors import ProjectError
from trimtab.core.settings import Settings
from trimtab.demo.processes import Processes, free_ports
from trimtab.monitoring.alerts import rules
from trimtab.monitoring.alerts.alertmanager import NUDGE, Pace, configuration
from trimtab.monitoring.alerts.rule import Links

# A window stands for a day here: everything looks once a second.
INTERVAL = "1s"
PACE = Pace(wait="0s", interval="1s", repeat="1h", nudge="1s")
HISTORY = "1h"
# By their makers' names and by Debian's.
NAMES = {"prometheus": ("prometheus",), "alertmanager": ("alertmanager", "prometheus-alertmanager")}


def find_programs(settings: Settings, here: Path) -> dict[str, Path]:
    """Where Prometheus and Alertmanager are: TRIMTAB_PROMETHEUS_BIN, `.servers/prometheus`, PATH.

    Args:
        settings: may name the folder that holds both.
        here: the folder in which `make servers` was run.

    Raises:
        ProjectError: one of them is not to be found.
    """
    found = {}
    for program, names in NAMES.items():
        places = [settings.prometheus_bin] if settings.prometheus_bin else [str(here / ".servers" / "prometheus"), None]
        hits = (shutil.which(name, path=place) for place in places for name in names)
        hit = next(filter(None, hits), None)
        if hit is None:
            raise ProjectError(
                f"--prometheus needs {program}, and it is not here",
                object=settings.prometheus_bin or "PATH",
                expected=" or ".join(names),
                hint="in a clone: make servers; else install it, or name its folder: TRIMTAB_PROMETHEUS_BIN=<folder>",
            )
        found[program] = Path(hit)
    return found


class Alerting:
    """Prometheus and Alertmanager as processes of the demo.

    Args:
        processes: the demo's processes.
        programs: where the two programs are.
        folder: for their configuration and data.
    """

    def __init__(self, processes: Processes, programs: Mapping[str, Path], folder: Path) -> None:
        self.processes = processes
        self.programs = programs
        self.folder = folder
        self.prometheus = ""
        self.alertmanager = ""

    def start(self, targets: Mapping[str, str], hook_url: str, token_file: Path) -> None:
        """Start both and wait until they are ready.

        Args:
            targets: address of each process's metrics, by name.
            hook_url: base URL of the hook.
            token_file: with the token that the hook accepts.

        Raises:
            RunError: one of them ended, or does not answer.
        """
        self.folder.mkdir()
        port, alerts = free_ports(2)
        self.prometheus, self.alertmanager = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{alerts}"
        (self.folder / "rules.yml").write_text(rules.plain(Links(hook=hook_url), interval=INTERVAL))
        (self.folder / "alertmanager.yml").write_text(
            rules.dump(configuration(hook_url, str(token_file), pace=PACE)), encoding="utf-8"
        )
        pace = {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL}
        scraped = [{"job_name": name, "static_configs": [{"targets": [at]}]} for name, at in targets.items()]
        told = {
            "global": pace,
            "rule_files": ["rules.yml"],
            "scrape_configs": scraped,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}]},
        }
        (self.folder / "prometheus.yml").write_text(rules.dump(told))
        self.processes.launch(
            "alertmanager",
            [
                str(self.programs["alertmanager"]),
                f"--config.file={self.folder / 'alertmanager.yml'}",
                f"--storage.path={self.folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{alerts}",
                "--cluster.listen-address=",
            ],
        )
        self.processes.launch(
            "prometheus",
            [
                str(self.programs["prometheus"]),
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
        )
        self.processes.wait_until_answers("alertmanager", f"{self.alertmanager}/-/ready")
        self.processes.wait_until_answers("prometheus", f"{self.prometheus}/-/ready")

    def nudging(self, version: str) -> bool:
        """Whether Alertmanager holds the alert that asks the hook about a version."""
        return any(
            a["labels"].get("alertname") == NUDGE and a["labels"].get("version") == version
            for a in _json(f"{self.alertmanager}/api/v2/alerts") or []
        )

    def posts(self) -> int:
        """How many times Alertmanager has told the hook so far, whatever the hook did with it."""
        text = _text(f"{self.alertmanager}/metrics")
        found = re.findall(r'^alertmanager_notifications_total\{[^}]*integration="webhook"[^}]*\} (\S+)$', text, re.M)
        return int(sum(map(float, found)))

    def fired(self) -> list[dict[str, Any]]:
        """The alerts that fired since the start: name, severity, model, version, seconds."""
        counted = f"count_over_time(ALERTS{{alertstate='firing'}}[{HISTORY}])"
        told = _json(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': counted})}") or {}
        found = [
            {
                "alert": sample["metric"].get("alertname", ""),
                "severity": sample["metric"].get("severity", ""),
                "version": sample["metric"].get("version", ""),
                "seconds": int(float(sample["value"][1])),
            }
            for sample in told.get("data", {}).get("result", [])
        ]
        return sorted(found, key=lambda a: (a["alert"], a["version"], a["severity"]))


def _text(url: str) -> str:
    """What an address answers; empty where it does not."""
    with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
        return str(answer.read().decode())
    return ""


def _json(url: str) -> Any:
    text = _text(url)
    return json.loads(text) if text else None
