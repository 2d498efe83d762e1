"""What Grafana's own API says about the dashboards: whether each loads, and whether each query runs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from dashboards.names import ALERTMANAGER, PROMETHEUS, TITLES
from dashboards.queries import asked, filled

TIMEOUT_SECONDS = 30.0


def complaints(url: str) -> list[str]:
    """Everything that is not as it should be, a line each; none when all is well.

    Args:
        url: where Grafana answers, without a slash at the end.
    """
    return [*_sources(url), *(line for uid in TITLES for line in _dashboard(url, uid))]


def _sources(url: str) -> Iterator[str]:
    for uid in (PROMETHEUS, ALERTMANAGER):
        status, answer = ask(f"{url}/api/datasources/uid/{uid}/health")
        # Alertmanager's plugin has no health check of its own: reaching it through Grafana is the check.
        if uid == ALERTMANAGER:
            status, answer = ask(f"{url}/api/alertmanager/{uid}/api/v2/alerts/groups")
        if status != 200:
            yield f"data source {uid}: {status} {_words(answer)}"


def _dashboard(url: str, uid: str) -> Iterator[str]:
    status, answer = ask(f"{url}/api/dashboards/uid/{uid}")
    if status != 200:
        yield f"dashboard {uid}: {status} {_words(answer)}"
        return
    found = answer["dashboard"]
    if not answer["meta"].get("provisioned"):
        yield f"dashboard {uid}: it is not provisioned"
    if found["title"] != TITLES[uid]:
        yield f"dashboard {uid}: its title is {found['title']!r}"
    for one in asked(found):
        query = {
            "refId": "A",
            "expr": filled(one.expr),
            "datasource": {"type": "prometheus", "uid": PROMETHEUS},
            "instant": one.instant,
            "range": not one.instant,
            "intervalMs": 15_000,
            "maxDataPoints": 500,
        }
        status, answer = ask(f"{url}/api/ds/query", {"from": "now-1h", "to": "now", "queries": [query]})
        result = answer.get("results", {}).get("A", {}) if isinstance(answer, dict) else {}
        if status != 200 or result.get("error"):
            yield f"{one.where}: {status} {result.get('error') or _words(answer)}"


def ask(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and JSON of an answer; 0 and the reason where nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError) as error:
        return 0, str(error)


def _words(answer: Any) -> str:
    return str(answer.get("message", "") if isinstance(answer, dict) else answer)[:300]
