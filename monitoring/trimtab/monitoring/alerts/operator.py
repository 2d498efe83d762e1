"""Alertmanager's configuration as the Prometheus operator takes it: an AlertmanagerConfig beside the hook."""

from __future__ import annotations

import re
from typing import Any

from trimtab.monitoring.alerts.alertmanager import HOOK, PAGER, TICKETS, Pace, configuration

# `credentials` names a Secret's key: the operator copies it, no configuration holds it.
TOKEN = {"name": "trimtab-tokens", "key": "token"}
_MATCHER = re.compile(r'(?P<name>\w+)(?P<how>=~|!~|!=|=)"(?P<value>.*)"')


def alertmanager_config(
    hook_url: str = "http://trimtab-hook.trimtab.svc:8090", pace: Pace | None = None
) -> dict[str, Any]:
    """The resource; what `configuration` says, in the operator's words.

    Args:
        hook_url: base URL of the hook, as Alertmanager reaches it.
        pace: as for `configuration`.

    >>> alertmanager_config()["spec"]["receivers"][0]["webhookConfigs"][0]["httpConfig"]["authorization"]["credentials"]
    {'name': 'trimtab-tokens', 'key': 'token'}
    """
    said = configuration(hook_url, pace=pace)
    hook = {
        "url": f"{hook_url}/alerts",
        "sendResolved": False,
        "httpConfig": {"authorization": {"type": "Bearer", "credentials": dict(TOKEN)}},
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "AlertmanagerConfig",
        "metadata": {
            "name": "trimtab",
            "labels": {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "monitoring"},
        },
        "spec": {
            "route": _route(said["route"]),
            "inhibitRules": [_inhibition(rule) for rule in said["inhibit_rules"]],
            "receivers": [{"name": HOOK, "webhookConfigs": [hook]}, {"name": PAGER}, {"name": TICKETS}],
        },
    }


def _route(route: dict[str, Any]) -> dict[str, Any]:
    words = {
        "receiver": "receiver",
        "group_by": "groupBy",
        "group_wait": "groupWait",
        "group_interval": "groupInterval",
        "repeat_interval": "repeatInterval",
    }
    found: dict[str, Any] = {theirs: route[ours] for ours, theirs in words.items() if ours in route}
    if "matchers" in route:
        found["matchers"] = _matchers(route["matchers"])
    if "routes" in route:
        found["routes"] = [_route(below) for below in route["routes"]]
    return found


def _inhibition(rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "sourceMatch": _matchers(rule["source_matchers"]),
        "targetMatch": _matchers(rule["target_matchers"]),
        **({"equal": list(rule["equal"])} if rule["equal"] else {}),
    }


def _matchers(texts: list[str]) -> list[dict[str, str]]:
    return [_matcher(text) for text in texts]


def _matcher(text: str) -> dict[str, str]:
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f"this is no matcher of Alertmanager's: {text}")
    return {"name": found["name"], "matchType": found["how"], "value": found["value"]}
