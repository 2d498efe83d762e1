"""A real Prometheus and a real Alertmanager on free loopback ports, gone when the tests are."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from tests.servers import install_prometheus
from tests.servers.fixtures import without
from tests.servers.minio import die_with_parent, free_port

FOLDER = Path(__file__).resolve().parents[2] / ".servers" / "prometheus"
_READY_SECONDS = 60.0
T = TypeVar("T")


def program(name: str) -> Path:
    """One of `prometheus`, `promtool`, `alertmanager`, `amtool`; without it the test skips, and fails in CI."""
    found = install_prometheus.find(FOLDER).get(name)
    return found or without(f"no {name} to test with: run `make servers`, or set TRIMTAB_PROMETHEUS_BIN=<folder>")


class Server:
    """A process that answers HTTP on a loopback port.

    Attributes:
        url: its address, without a slash at the end.
    """

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, port: int) -> list[str]:
        """The command line that listens on a port."""
        raise NotImplementedError

    def start(self, port: int | None = None) -> None:
        """Start it and wait until it is ready; another port is tried where one was taken in the meantime."""
        for _ in range(3):
            chosen = port or free_port()
            self.url = f"http://127.0.0.1:{chosen}"
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command(chosen), cwd=self.folder, stdout=log, stderr=log, preexec_fn=die_with_parent
                )
            if self._ready():
                return
            self.stop()
        raise RuntimeError(f"{self.name} did not become ready:\n{self.log.read_text()[-2000:]}")

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder / f"{self.name}.log"

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(20)
            self._process = None

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON under a path."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.url}{path}{query}", timeout=10) as answer:
            return json.load(answer)

    def _ready(self) -> bool:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
                    return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        return False


class PrometheusServer(Server):
    """Prometheus scraping addresses.

    Args:
        folder: its data, configuration and log.
        targets: addresses (`127.0.0.1:9091`) by job.
        rules: rule files (plain ones, with `groups` at the top).
        alertmanager: address of the Alertmanager (`127.0.0.1:9093`); empty for none.
        interval: of scrapes and rules, Prometheus's way of writing it.
    """

    name = "prometheus"

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Sequence[str]],
        rules: Sequence[Path] = (),
        alertmanager: str = "",
        interval: str = "1s",
    ) -> None:
        super().__init__(folder)
        configuration = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(r) for r in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
                for job, addresses in targets.items()
            ],
        }
        if alertmanager:
            configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration, sort_keys=False))

    def command(self, port: int) -> list[str]:
        """The command line that listens on a port."""
        return [
            str(program("prometheus")),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The newest samples of an expression: `[{"metric": {…}, "value": [time, "…"]}]`."""
        answer = self.get("/api/v1/query", query=expression)
        result = answer["data"]["result"]
        assert isinstance(result, list)
        return result

    def wait_for(self, expression: str, seconds: float = 60.0) -> list[dict[str, Any]]:
        """The samples of an expression once it has any."""
        return wait_until(lambda: self.query(expression), seconds, expression)


class AlertmanagerServer(Server):
    """Alertmanager with a configuration.

    Args:
        folder: its data, configuration and log.
        configuration: what would stand in `alertmanager.yml`.
    """

    name = "alertmanager"

    def __init__(self, folder: Path, configuration: Mapping[str, Any]) -> None:
        super().__init__(folder)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(configuration), sort_keys=False))

    def command(self, port: int) -> list[str]:
        """The command line that listens on a port."""
        return [
            str(program("alertmanager")),
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=info",
        ]

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that it has now."""
        found = self.get("/api/v2/alerts")
        assert isinstance(found, list)
        return found


def wait_until(look: Callable[[], T], seconds: float, what: str) -> T:
    """What `look` gives as soon as it gives something; an AssertionError that names it where nothing comes."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing came within {seconds:g} s: {what}"
        time.sleep(0.1)
    return found
