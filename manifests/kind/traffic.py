"""Sends scikit-learn's digits to a model, in the order of their file, as an application would, and labels back.

Thirteen writers follow each other in that file, so a model trained on the first drifts. Rows start again from the
beginning until as many versions have answered as asked for, or time is over. Every answer is counted; `--help` lists
what may be set.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import urllib3

MODEL = "digits"
# What the model was trained on first (examples/digits/project.yaml).
START = 276
BATCH = 69


class Traffic:
    """One sender.

    Args:
        url: of the gateway or the server.
        host: the model's host name, for the gateway; empty leaves the header as it is.
        token: of the server; for predictions and feedback.
    """

    def __init__(self, url: str, host: str, token: str) -> None:
        self.url = url.rstrip("/")
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        if host:
            self.headers["Host"] = host
        # No retries: a request that fails is one that a user has seen failing.
        self.pool = urllib3.PoolManager(timeout=10.0, retries=False)
        self.requests = 0
        self.failed: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.right: Counter[str] = Counter()

    def ask(self, record: dict[str, Any], truth: str) -> dict[str, Any] | None:
        """One row; the label that belongs to it, or nothing where the request failed."""
        self.requests += 1
        try:
            answer = self.pool.request(
                "POST",
                f"{self.url}/v1/models/{MODEL}:predict",
                body=json.dumps({"instances": [record]}),
                headers=self.headers,
            )
        except urllib3.exceptions.HTTPError as error:
            self.failed[type(error).__name__] += 1
            return None
        if answer.status != 200:
            self.failed[str(answer.status)] += 1
            return None
        version = str(answer.headers.get("X-Model-Version", ""))
        self.versions[version] += 1
        self.right[version] += str(answer.json()["predictions"][0]) == truth
        return {"id": answer.headers["X-Prediction-Id"], "value": truth, "source": "traffic"}

    def label(self, labels: list[dict[str, Any]]) -> bool:
        """Labels back; whether they were taken."""
        try:
            answer = self.pool.request(
                "POST",
                f"{self.url}/feedback",
                body=json.dumps({"model": MODEL, "labels": labels}),
                headers=self.headers,
            )
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 202

    def facts(self) -> dict[str, Any]:
        """What was seen."""
        return {
            "requests": self.requests,
            "failed": dict(self.failed),
            "failed_requests": sum(self.failed.values()),
            "versions": dict(self.versions),
            "right": dict(self.right),
        }


def main(arguments: list[str]) -> int:
    """Send; 0 when as many versions have answered as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--host", default="")
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--minutes", type=float, default=30.0, help="at most")
    parser.add_argument("--versions", type=int, default=2, help="end when so many have each answered 50 requests")
    parser.add_argument("--requests", type=int, default=0, help="end after so many; 0: no such end")
    parser.add_argument("--out", type=Path, help="where the facts go, JSON")
    chosen = parser.parse_args(arguments)
    traffic = Traffic(chosen.url, chosen.host, chosen.token_file.read_text().strip())
    reached = _send(traffic, chosen)
    text = json.dumps({**traffic.facts(), "reached": reached}, indent=2)
    sys.stdout.write(text + "\n")
    if chosen.out:
        chosen.out.write_text(text + "\n")
    return 0 if reached else 1


def _send(traffic: Traffic, chosen: argparse.Namespace) -> bool:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = [*range(START, len(digits.target))]
    labels: list[dict[str, Any]] = []
    end = time.monotonic() + chosen.minutes * 60
    for number in range(sys.maxsize):
        row = order[number % len(order)]
        began = time.monotonic()
        if began > end:
            return False
        # Its own name for the row, so that a second time round is another prediction.
        record = {"image": digits.images[row].tolist(), "image_id": f"{row}-{number // len(order)}"}
        one = traffic.ask(record, str(digits.target[row]))
        if one:
            labels.append(one)
        if len(labels) >= BATCH and traffic.label(labels):
            labels = []
        # A store that is away does not make the sender forget: no more than 1,000 go in one call.
        labels = labels[-1000:]
        if chosen.requests and traffic.requests >= chosen.requests:
            return not labels or traffic.label(labels)
        if not chosen.requests and sum(n >= 50 for n in traffic.versions.values()) >= chosen.versions:
            return True
        time.sleep(max(0.0, 1 / chosen.rate - (time.monotonic() - began)))
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
