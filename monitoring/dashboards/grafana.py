"""`make grafana`: the dashboards in a real Grafana on this machine, provisioned, on the loopback interface.

Grafana is taken from the folder that TRIMTAB_GRAFANA names (an unpacked archive of grafana.com/grafana/download), else
from PATH, else as the official image by Docker. It gets nothing but this folder's files: data sources, dashboards, a
data folder of its own, and an anonymous viewer; no account is made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dashboards.names import FOLDER, HOOK

HERE = Path(__file__).parent
IMAGE = "grafana/grafana:12.4.0"
READY_SECONDS = 120.0
# Where packages put what an archive has at its top: conf/ and public/.
SHARES = ("..", "../share/grafana", "../../share/grafana", "/usr/share/grafana")
WAY = (
    "no Grafana was found. One of these will do:\n"
    "  - unpack an archive of grafana.com/grafana/download and name its folder: make grafana TRIMTAB_GRAFANA=<folder>\n"
    "  - install it as your system does (brew install grafana, apt-get install grafana), so that `grafana` is on PATH\n"
    f"  - install Docker: the image {IMAGE} is used then (TRIMTAB_GRAFANA_IMAGE names another)\n"
    "Or load them into a Grafana of yours: monitoring/dashboards/provisioning and monitoring/dashboards/json."
)


@dataclass(frozen=True)
class Options:
    """What the dashboards look at, and where Grafana answers."""

    prometheus: str = "http://127.0.0.1:9090"
    alertmanager: str = "http://127.0.0.1:9093"
    hook: str = HOOK
    port: int = 3000
    data: Path = Path(".trimtab/grafana")


def copy(options: Options) -> Path:
    """The dashboards for this machine's hook, in the data folder; their folder."""
    target = (options.data / "dashboards").resolve()
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(FOLDER.glob("*.json")):
        (target / file.name).write_text(file.read_text().replace(json.dumps(HOOK), json.dumps(options.hook)))
    return target


def settings(options: Options, dashboards: str, provisioning: str, data: str) -> dict[str, str]:
    """Grafana's environment: loopback, anonymous viewer, nothing sent home."""
    return {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(options.port),
        "GF_PATHS_PROVISIONING": provisioning,
        "GF_PATHS_DATA": data,
        "GF_PATHS_LOGS": f"{data}/log",
        "GF_PATHS_PLUGINS": f"{data}/plugins",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"{dashboards}/trimtab-overview.json",
        "GF_LOG_LEVEL": "warn",
        "TRIMTAB_PROMETHEUS_URL": options.prometheus,
        "TRIMTAB_ALERTMANAGER_URL": options.alertmanager,
        "TRIMTAB_DASHBOARDS": dashboards,
    }


def program(environment: Mapping[str, str]) -> tuple[list[str], Path] | None:
    """Grafana's command and home folder on this machine; None where it has none."""
    given = environment.get("TRIMTAB_GRAFANA")
    place = f"{given}{os.pathsep}{given}/bin" if given else environment.get("PATH", "")
    for name, more in (("grafana", ["server"]), ("grafana-server", [])):
        found = shutil.which(name, path=place)
        if found is None:
            continue
        beside = Path(found).resolve().parent
        homes = [Path(given)] if given else []
        homes += [(beside / share).resolve() for share in SHARES]
        home = next((h for h in homes if (h / "conf" / "defaults.ini").exists()), None)
        if home is not None:
            return [found, *more], home
    return None


def command(options: Options, environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]] | None:
    """What to run and with which additions to the environment; None where there is no Grafana."""
    dashboards, data = copy(options), options.data.resolve()
    local = program(environment)
    if local is not None:
        words, home = local
        (data / "plugins").mkdir(parents=True, exist_ok=True)
        return [*words, "--homepath", str(home)], settings(
            options, str(dashboards), str(HERE / "provisioning"), str(data)
        )
    docker = shutil.which("docker", path=environment.get("PATH", ""))
    if docker is None:
        return None
    inside = settings(options, "/trimtab/dashboards", "/trimtab/provisioning", "/var/lib/grafana")
    where = ["--network", "host"]
    if sys.platform != "linux":  # Docker runs in a machine of its own there: this one is host.docker.internal
        where = ["--publish", f"127.0.0.1:{options.port}:{options.port}"]
        inside["GF_SERVER_HTTP_ADDR"] = "0.0.0.0"  # noqa: S104 - inside the container; published on loopback alone
        for name in ("TRIMTAB_PROMETHEUS_URL", "TRIMTAB_ALERTMANAGER_URL"):
            inside[name] = inside[name].replace("127.0.0.1", "host.docker.internal")
    words = [docker, "run", "--rm", *where]
    words += ["--volume", f"{dashboards}:/trimtab/dashboards:ro"]
    words += ["--volume", f"{HERE / 'provisioning'}:/trimtab/provisioning:ro"]
    for name, value in sorted(inside.items()):
        words += ["--env", f"{name}={value}"]
    return [*words, environment.get("TRIMTAB_GRAFANA_IMAGE") or IMAGE], {}


def wait(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until Grafana answers with a sound database; False where it ended or took too long."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/api/health", timeout=2) as answer:  # noqa: S310 - loopback
                if json.load(answer).get("database") == "ok":
                    return True
        except (urllib.error.URLError, OSError, ValueError):
            pass
        time.sleep(0.2)
    return False


def run(options: Options, environment: Mapping[str, str], check: bool = False) -> int:
    """Start Grafana, and keep it until Ctrl-C; with `check`, ask it for everything once and end it.

    Returns:
        0 when all is well, 1 where Grafana failed or reports an error, 2 where there is none.
    """
    from dashboards.api import complaints

    chosen = command(options, environment)
    if chosen is None:
        sys.stderr.write(f"make grafana: {WAY}\n")
        return 2
    words, more = chosen
    url = f"http://127.0.0.1:{options.port}"
    process = subprocess.Popen(words, env={**environment, **more})
    try:
        if not wait(url, process):
            sys.stderr.write(f"make grafana: {words[0]} did not answer on {url}; its words are above\n")
            return 1
        if check:
            found = complaints(url)
            sys.stderr.write("".join(f"{line}\n" for line in found) or "Grafana reports no error\n")
            return 1 if found else 0
        sys.stderr.write(f"== grafana: {url}/d/trimtab-overview (Ctrl-C ends it)\n")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def main(arguments: Sequence[str]) -> int:
    """Read the options and run."""
    plain = Options()
    parser = argparse.ArgumentParser(prog="make grafana", description="The dashboards in a real Grafana, here.")
    parser.add_argument("--prometheus", default=os.environ.get("TRIMTAB_PROMETHEUS_URL") or plain.prometheus)
    parser.add_argument("--alertmanager", default=os.environ.get("TRIMTAB_ALERTMANAGER_URL") or plain.alertmanager)
    parser.add_argument("--hook", default=os.environ.get("TRIMTAB_HOOK_URL") or plain.hook)
    parser.add_argument("--port", type=int, default=plain.port)
    parser.add_argument("--data", type=Path, default=plain.data)
    parser.add_argument("--check", action="store_true", help="ask Grafana's API for every dashboard and query, and end")
    told = parser.parse_args(arguments)
    options = Options(told.prometheus, told.alertmanager, told.hook.rstrip("/"), told.port, told.data)
    return run(options, os.environ, told.check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
