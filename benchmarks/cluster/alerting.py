"""A real Prometheus and a real Alertmanager of the machine that runs the node, with our rules and our routes.

Debian's Prometheus is built without discovery by the Kubernetes API, so a file tells it where the pods are; what is in
the file is what the PodMonitors of manifests/base would have the operator find: pods of ours with a port `metrics`.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tests.servers.prometheus import AlertmanagerServer, PrometheusServer

from trimtab.core.records import parse_time
from trimtab.monitoring.alerts import rules
from trimtab.monitoring.alerts.alertmanager import NUDGE, Pace, configuration
from trimtab.monitoring.alerts.rule import Links

if TYPE_CHECKING:
    from tests.servers.kubernetes.cluster import Cluster

INTERVAL = "1s"
PACE = Pace(wait="0s", interval="1s", repeat="1h", nudge="1s")
LABEL = "app.kubernetes.io"


class Prometheus(PrometheusServer):
    """Scrapes what a file of targets names.

    Args:
        folder: its data, configuration and log.
        targets: the file.
        rule_file: our rules.
        alertmanager: its address.
    """

    def __init__(self, folder: Path, targets: Path, rule_file: Path, alertmanager: str) -> None:
        super().__init__(folder, {}, [rule_file], alertmanager, INTERVAL)
        file = folder / "prometheus.yml"
        content = yaml.safe_load(file.read_text())
        found = {"files": [str(targets)], "refresh_interval": INTERVAL}
        content["scrape_configs"] = [{"job_name": "pods", "file_sd_configs": [found]}]
        file.write_text(yaml.safe_dump(content, sort_keys=False))


def targets_of(pods: list[Any]) -> list[dict[str, Any]]:
    """Where Prometheus is to look, for pods of the Kubernetes client: those that run and have a port `metrics`."""
    found = []
    for pod in pods:
        ports = [p.container_port for c in pod.spec.containers for p in c.ports or () if p.name == "metrics"]
        labels = pod.metadata.labels or {}
        if not ports or pod.status.phase != "Running" or not pod.status.pod_ip:
            continue
        namespace, component = pod.metadata.namespace, labels.get(f"{LABEL}/component", "")
        found.append(
            {
                "targets": [f"{pod.status.pod_ip}:{ports[0]}"],
                "labels": {
                    "job": f"{namespace}/trimtab-{component}",
                    "namespace": namespace,
                    "pod": pod.metadata.name,
                },
            }
        )
    return found


class Alerting:
    """Both servers; `with Alerting(…) as alerting` starts and ends them.

    Args:
        folder: their data.
        cluster: where pods are.
        namespace: whose pods are scraped.
        hook_url: base URL of the hook, as this machine reaches it.
        token_file: with the token that the hook accepts.
    """

    def __init__(self, folder: Path, cluster: Cluster, namespace: str, hook_url: str, token_file: Path) -> None:
        self._folder, self._cluster, self._namespace = folder, cluster, namespace
        self._targets, self._stopped = folder / "targets.json", threading.Event()
        self._thread = threading.Thread(target=self._find, name="scraped-pods", daemon=True)
        self.alertmanager = AlertmanagerServer(
            folder / "alertmanager", configuration(hook_url, str(token_file), pace=PACE)
        )
        self._rules = folder / "rules.yml"
        self._rules.write_text(rules.plain(Links(hook=hook_url), interval=INTERVAL))
        self.prometheus: Prometheus | None = None

    def __enter__(self) -> Alerting:
        self._targets.write_text("[]")
        self._thread.start()
        self.alertmanager.start()
        address = self.alertmanager.url.removeprefix("http://")
        self.prometheus = Prometheus(self._folder / "prometheus", self._targets, self._rules, address)
        self.prometheus.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=10)
        if self.prometheus is not None:
            self.prometheus.stop()
        self.alertmanager.stop()

    def _find(self) -> None:
        """Write the file of targets anew whenever pods come or go."""
        from kubernetes.client import ApiException, CoreV1Api
        from urllib3.exceptions import HTTPError

        known = ""
        with self._cluster.client() as client:
            while not self._stopped.wait(1.0):
                # The API may be away for a moment: the next look finds it.
                with contextlib.suppress(ApiException, HTTPError):
                    pods = CoreV1Api(client).list_namespaced_pod(
                        self._namespace, label_selector=f"{LABEL}/name=trimtab"
                    )
                    text = json.dumps(targets_of(pods.items))
                    if text != known:
                        part = self._targets.with_suffix(".part")
                        part.write_text(text)
                        part.replace(self._targets)
                        known = text

    def scraped(self) -> Mapping[str, bool]:
        """Jobs to whether all their pods answer."""
        assert self.prometheus is not None
        found: dict[str, bool] = {}
        for sample in self.prometheus.query("up"):
            job = sample["metric"]["job"].rpartition("/")[2]
            found[job] = found.get(job, True) and sample["value"][1] == "1"
        return found

    def fired_at(self) -> float | None:
        """When the alert that asks for a campaign began to fire, seconds since the epoch; None while it has not."""
        starts = [a["startsAt"] for a in self.alertmanager.alerts() if a["labels"].get("alertname") == NUDGE]
        return min((parse_time(_micro(s)).timestamp() for s in starts), default=None)

    def words(self) -> str:
        """What both say now, in a few lines."""
        assert self.prometheus is not None
        alerts = [
            f"{a['labels'].get('alertname')} {a['labels'].get('version', '')}" for a in self.alertmanager.alerts()
        ]
        verdicts = [
            f"{s['metric'].get('layer')}={s['value'][1]}" for s in self.prometheus.query("trimtab_watch_verdict")
        ]
        log = self.alertmanager.log.read_text(errors="replace").splitlines()[-3:]
        return "\n".join(
            [
                f"scraped: {dict(self.scraped())}",
                f"verdicts by layer: {', '.join(verdicts) or 'none'}",
                f"alerts: {', '.join(alerts) or 'none'}",
                *(f"alertmanager: {line[:300]}" for line in log),
            ]
        )


def _micro(text: str) -> str:
    """A time of Alertmanager's, with at most microseconds.

    >>> _micro("2026-11-22T05:00:00.123456789Z")
    '2026-11-22T05:00:00.123456Z'
    """
    head, dot, rest = text.partition(".")
    digits = rest[:6].rstrip("Z")
    return f"{head}.{digits}Z" if dot and digits.isdigit() else text
