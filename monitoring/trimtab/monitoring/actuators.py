"""The place where versions serve: what it counts, and what has to be done there after a decision."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Protocol

from trimtab.core import ledger

_log = logging.getLogger(__name__)


class Actuator(Protocol):
    """A place where versions serve. Everything may be repeated.

    Attributes:
        judges_replacements: whether a version that replaces another at once is judged by a replay of the log first;
            a single server goes back in a moment, and is not.
    """

    judges_replacements: bool

    def failures(self, model: str) -> Mapping[str, tuple[int, int]]:
        """Version to (requests, requests answered with 5xx), as its servers count them; versions may lack."""
        ...

    def act(self, model: str, state: ledger.State) -> None:
        """Make the place follow the ledger's state."""
        ...

    def troubles(self, model: str) -> Mapping[str, str]:
        """Version to why it will not serve there, where waiting longer is in vain."""
        ...

    def cannot_split(self, model: str) -> str:
        """Why requests cannot be split between two versions there; empty where they can."""
        ...


class SingleServer:
    """One model server, which follows the ledger and splits traffic by itself.

    Args:
        metrics_url: its metrics endpoint, `http://…/metrics`; empty where it is not known, then failures are not
            judged.
        timeout: seconds to wait for it.
    """

    judges_replacements = False

    def __init__(self, metrics_url: str = "", timeout: float = 2.0) -> None:
        self.metrics_url = metrics_url
        self.timeout = timeout

    def failures(self, model: str) -> Mapping[str, tuple[int, int]]:
        """Counted since the server started; empty while it does not answer."""
        if not self.metrics_url:
            return {}
        try:
            with urllib.request.urlopen(self.metrics_url, timeout=self.timeout) as answer:  # noqa: S310 - from settings
                text = answer.read().decode()
        except (OSError, urllib.error.URLError, ValueError) as error:
            _log.warning("the server's metrics cannot be read", extra={"url": self.metrics_url, "error": str(error)})
            return {}
        return count_failures(text, model)

    def act(self, model: str, state: ledger.State) -> None:
        """Nothing: the server reads the ledger."""

    def troubles(self, model: str) -> Mapping[str, str]:  # noqa: ARG002 - the place's interface
        """None: what the server will not load it refuses in the store."""
        return {}

    def cannot_split(self, model: str) -> str:  # noqa: ARG002
        """It can."""
        return ""


def count_failures(text: str, model: str) -> dict[str, tuple[int, int]]:
    r"""Requests and failed requests by version from a server's metrics in Prometheus' text format.

    >>> count_failures('trimtab_server_requests_total{model="m",version="v1",protocol="v1",code="500"} 2\n', "m")
    {'v1': (2, 2)}
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, tuple[int, int]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name != "trimtab_server_requests_total" or sample.labels.get("model") != model:
                continue
            version = sample.labels.get("version", "")
            requests, failed = found.get(version, (0, 0))
            bad = sample.labels.get("code", "").startswith("5")
            found[version] = (requests + int(sample.value), failed + (int(sample.value) if bad else 0))
    return found
