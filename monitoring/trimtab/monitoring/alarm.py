"""The alarm: the same webhook body that Alertmanager posts, sent to the retrain hook while a verdict is `drift`.

It is posted once a window, so a lost one costs a window; what the hook answered is a record beside the verdict.
"""

from __future__ import annotations

import hashlib
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from trimtab.monitoring import windows
from trimtab.monitoring.windows import Verdict

if TYPE_CHECKING:
    from trimtab.core.store import Store

NAME = "TrimtabDrift"
TIMEOUT_SECONDS = 5.0
# Pauses after posts that got no answer: doubled from the first to the last, seconds.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
_log = logging.getLogger(__name__)

Answer = tuple[int, dict[str, Any]]
Send = Callable[[dict[str, Any]], Answer]


def body(model: str, verdict: Verdict, hook_url: str) -> dict[str, Any]:
    """Alertmanager's webhook body, version 4, with one firing alert."""
    labels = {"alertname": NAME, "model": model, "version": verdict.version, "severity": "warning"}
    since = (verdict.since or {}).get("point") or verdict.first_time
    base = hook_url.rstrip("/")
    annotations = {
        "summary": f"{model} {verdict.version} has drifted (window {verdict.window})",
        "description": verdict.words,
        "runbook_url": f"{base}/runbooks/{NAME}",
        "dashboard_url": f"{base}/{windows.folder(model, verdict.version, verdict.window)}",
        "report_url": f"{base}/{verdict.report}" if verdict.report else "",
    }
    key = json.dumps(labels, sort_keys=True)
    return {
        "version": "4",
        "groupKey": f"{{}}:{key}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "trimtab-hook",
        "groupLabels": {"model": model},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": base,
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": since,
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": base,
                "fingerprint": hashlib.sha256(key.encode()).hexdigest()[:16],
            }
        ],
    }


def http_sender(url: str, token: str) -> Send:
    """A sender to the hook at a base URL, with a bearer token."""

    def send(message: dict[str, Any]) -> Answer:
        request = urllib.request.Request(  # noqa: S310 - the operator's own URL
            f"{url.rstrip('/')}/alerts",
            data=json.dumps(message).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())

    return send


class Alarm:
    """Posts drift verdicts, once a window, until the hook has answered.

    Args:
        store: where the answers are recorded.
        model: the model's name.
        hook_url: base URL of the hook, for the links in the body.
        send: posts a body; raises OSError where nobody answers.
    """

    def __init__(self, store: Store, model: str, hook_url: str, send: Send) -> None:
        self.store = store
        self.model = model
        self.hook_url = hook_url
        self.send = send
        self._answered: tuple[str, int] | None = None
        self._again: datetime | None = None
        self._pause = FIRST_PAUSE

    def step(self, verdict: Verdict | None, now: datetime) -> bool:
        """Post the newest verdict when it is `drift` and its window was not answered yet; whether it was posted."""
        if verdict is None or verdict.verdict != "drift" or self._answered == (verdict.version, verdict.window):
            return False
        if self._again is not None and now < self._again:
            return False
        prefix = windows.folder(self.model, verdict.version, verdict.window)
        if any(True for _ in self.store.list(f"{prefix}alarm-")):
            self._answered = (verdict.version, verdict.window)
            return False
        try:
            status, answer = self.send(body(self.model, verdict, self.hook_url))
        except OSError as error:
            self._later(now, f"the hook does not answer: {error}")
            return False
        if status != 202:
            # A wrong token, an overload, a store that is away: a person or time mends it, so it is posted again.
            self._later(now, f"the hook answered {status}: {answer.get('error') or answer.get('reason')}")
            return True
        known: dict[str, Any] = {k: v for k, v in answer.items() if k in ("campaign", "reason")}
        facts: dict[str, Any] = {"status": status, "window": verdict.window, "verdict": verdict.k, **known}
        windows.create_next(self.store, prefix, "alarm", "alarm", facts, 1)
        self._answered, self._again, self._pause = (verdict.version, verdict.window), None, FIRST_PAUSE
        return True

    def _later(self, now: datetime, why: str) -> None:
        _log.warning("%s; the alarm is posted again in %.0f s", why, self._pause)
        self._again = now + timedelta(seconds=self._pause)
        self._pause = min(LAST_PAUSE, 2 * self._pause)


def _json(text: bytes) -> dict[str, Any]:
    try:
        found: Any = json.loads(text)
    except ValueError:
        found = text[:200].decode(errors="replace")
    return found if isinstance(found, dict) else {"reason": str(found)[:200]}
