"""What answers on the network: the store's clock, our own processes, Prometheus, Alertmanager, Kubeflow."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.core.urls import without_secrets
from trimtab.doctor.checks import Finding

if TYPE_CHECKING:
    from trimtab.doctor.checks import Where

SECONDS = 3.0
# S3 refuses signatures that are a quarter of an hour off; records of machines that far apart are in a wrong order.
CLOCK_WARNING, CLOCK_FAILED = 5.0, 600.0
_WORDS = re.compile(r"[a-z_]+")
JOBS = ("server", "watch", "hook")
# The first of Kubeflow's releases that these pipelines are tried on.
KUBEFLOW = (2, 15)


class Reply(NamedTuple):
    """An answer, or why there is none (`status` 0)."""

    status: int
    body: bytes = b""
    date: str = ""
    why: str = ""

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def get(url: str, headers: Mapping[str, str] | None = None) -> Reply:
    """GET a URL once, without following it elsewhere."""
    import urllib3

    try:
        answer = urllib3.request("GET", url, headers=headers, timeout=SECONDS, retries=False, redirect=False)
    except urllib3.exceptions.HTTPError as error:
        return Reply(0, why=str(error.__cause__ or error).split(": ")[-1])
    return Reply(answer.status, answer.data, answer.headers.get("Date", ""))


def check_clock(where: Where) -> Iterator[Finding]:
    """This machine's clock against that of S3."""
    settings = where.settings
    if not settings.store.startswith("s3://"):
        yield Finding("clock", "not looked at", "a folder has no clock of its own")
        return
    endpoint = (
        without_secrets(settings.s3.endpoint, "AWS_ENDPOINT_URL") or f"https://s3.{settings.s3.region}.amazonaws.com"
    )
    reply = get(endpoint)
    if not reply.date:
        yield Finding("clock", "warning", f"{endpoint} tells no time ({reply.why or reply.status})")
        return
    off = abs(time.time() - parsedate_to_datetime(reply.date).timestamp())
    says = f"{off:.0f} s off the store's"
    if off > CLOCK_WARNING:
        hint = "set the clock by NTP; S3 refuses requests from clocks that are 15 minutes off"
        yield Finding("clock", "failed" if off > CLOCK_FAILED else "warning", says, hint)
    else:
        yield Finding("clock", "ok", says)


def check_server(where: Where) -> Iterator[Finding]:
    """Whether a model server answers where clients look for it, and is ready."""
    url = without_secrets(where.settings.server_url, "TRIMTAB_SERVER_URL").rstrip("/")
    reply = get(f"{url}/v2")
    if not reply.status:
        yield Finding("server", "not looked at", f"nothing answers on {url} ({reply.why})", "trimtab serve")
        return
    about = reply.json()
    if not isinstance(about, dict) or about.get("name") != "trimtab":
        hint = "serve on another port (--port) and name it in TRIMTAB_SERVER_URL"
        yield Finding("server", "failed", f"something else answers on {url}", hint)
        return
    ready = get(f"{url}/v2/health/ready")
    if ready.status == 200:
        yield Finding("server", "ok", f"{url} (trimtab {about.get('version')}) is ready")
    else:
        yield Finding("server", "warning", f"{url} answers and has no model ready", "its log says why; trimtab status")


def check_hook(where: Where) -> Iterator[Finding]:
    """Whether the retrain hook answers."""
    url = without_secrets(where.settings.hook_url, "TRIMTAB_HOOK_URL").rstrip("/")
    reply = get(f"{url}/healthz")
    if not reply.status:
        yield Finding("hook", "not looked at", f"nothing answers on {url} ({reply.why})", "trimtab hook")
    elif reply.status == 200 and get(f"{url}/v2").status == 404:
        yield Finding("hook", "ok", f"{url} answers")
    else:
        hint = "answer on another port (--port) and name it in TRIMTAB_HOOK_URL"
        yield Finding("hook", "failed", f"something else than the hook answers on {url}", hint)


def check_prometheus(where: Where) -> Iterator[Finding]:
    """Whether our processes are scraped, and our rules loaded."""
    url = where.prometheus.rstrip("/")
    if not url:
        yield Finding("Prometheus", "not looked at", "no --prometheus URL")
        return
    reply = get(f"{url}/api/v1/targets?state=active")
    facts = reply.json()
    if reply.status != 200 or not isinstance(facts, dict) or facts.get("status") != "success":
        yield Finding("Prometheus", "failed", f"{url} does not answer as one ({reply.why or reply.status})")
        return
    targets = facts["data"]["activeTargets"]
    for job in JOBS:
        mine = [one for one in targets if job in _words(one["labels"].get("job", "")) and _ours(one)]
        down = [one for one in mine if one["health"] != "up"]
        if not mine:
            hint = "monitoring/prometheus.yml has the jobs; on a cluster, the PodMonitors"
            yield Finding(f"scraped: {job}", "warning", "Prometheus has no such target", hint)
        elif down:
            why = down[0].get("lastError") or down[0]["health"]
            yield Finding(f"scraped: {job}", "warning", f"{down[0]['scrapeUrl']}: {why}", f"does the {job} run there?")
        else:
            yield Finding(f"scraped: {job}", "ok", ", ".join(one["scrapeUrl"] for one in mine))
    yield from _rules(url)


def _words(name: str) -> list[str]:
    return name.replace("/", "-").split("-")


def _ours(target: dict[str, Any]) -> bool:
    return "trimtab" in target["labels"].get("job", "")


def _rules(url: str) -> Iterator[Finding]:
    from trimtab.monitoring.alerts.rules import alerts, names

    facts = get(f"{url}/api/v1/rules?type=alert").json() or {}
    groups = facts.get("data", {}).get("groups", [])
    loaded = {rule["name"] for group in groups for rule in group["rules"]}
    ours = names(alerts())
    lacking = [name for name in ours if name not in loaded]
    if lacking:
        said = f"{len(lacking)} of our {len(ours)} alerts are not loaded: {', '.join(lacking[:5])}"
        hint = "python -m trimtab.monitoring.alerts --plain rules.yml writes them for a rule file"
        yield Finding("alert rules", "warning", said + (", …" if lacking[5:] else ""), hint)
    else:
        yield Finding("alert rules", "ok", f"all {len(ours)} are loaded")


def check_alertmanager(where: Where) -> Iterator[Finding]:
    """Whether alerts reach the hook."""
    url = where.alertmanager.rstrip("/")
    if not url:
        yield Finding("Alertmanager", "not looked at", "no --alertmanager URL")
        return
    reply = get(f"{url}/api/v2/status")
    facts = reply.json()
    if reply.status != 200 or not isinstance(facts, dict):
        yield Finding("Alertmanager", "failed", f"{url} does not answer as one ({reply.why or reply.status})")
    # The receiver's URL is kept back as a secret; its name and kind are not.
    elif not {"trimtab", "webhook_configs"} <= set(_WORDS.findall(str(facts.get("config", {}).get("original", "")))):
        hint = "monitoring/alertmanager has a route and a receiver that post to the hook's /alerts"
        yield Finding("Alertmanager", "warning", "its configuration posts to no hook: drift retrains nothing", hint)
    else:
        yield Finding("Alertmanager", "ok", f"{url} has a receiver that posts to a hook")


def check_kubeflow(where: Where) -> Iterator[Finding]:
    """Whether Kubeflow Pipelines answers, and as which release."""
    url = where.kubeflow.rstrip("/")
    if not url:
        yield Finding("Kubeflow", "not looked at", "no --host URL and no KF_PIPELINES_ENDPOINT")
        return
    reply = get(f"{url}/apis/v2beta1/healthz")
    facts = reply.json()
    if reply.status != 200 or not isinstance(facts, dict):
        why = reply.why or reply.status
        yield Finding("Kubeflow", "failed", f"{url} does not answer as its API ({why})", "is it the API's own address?")
        return
    name = str(facts.get("tag_name") or "unknown")
    release = tuple(int(part) for part in name.split(".")[:2] if part.isdigit())
    if len(release) == 2 and release < KUBEFLOW:
        yield Finding(
            "Kubeflow",
            "warning",
            f"{url} is {name}",
            f"pipelines are tried on {'.'.join(map(str, KUBEFLOW))} and later",
        )
    else:
        yield Finding("Kubeflow", "ok", f"{url} answers (release {name})")
