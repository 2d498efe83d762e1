"""Sends rows to the server as an application would, and labels back later."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.client import Client
from trimtab.core.errors import RequestError
from trimtab.demo.facts import Window


@dataclass(frozen=True)
class Row:
    """One image: what is sent, the row's own key, the truth, and whether the first version gets it right."""

    record: dict[str, Any]
    key: str
    truth: str
    static_right: bool


@dataclass
class Answered:
    """What the replay has seen so far."""

    requests: int = 0
    failed: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    first_answer: dict[str, float] = field(default_factory=dict)


# What happens when a window's labels are in: it may wait, and fills in the verdict.
WindowEnd = Callable[[Window, Answered], None]


class Replay:
    """Replays rows in windows; one request a row, V1 and V2 in turn.

    Args:
        client: of the server, with the token for feedback.
        model: the model's name.
        key_field: the field by which half of the labels come back.
        window_rows: rows of a window.
        rate: requests a second at most; 0 for no limit.
        advance: called after each row, to draw.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        key_field: str,
        window_rows: int,
        rate: float = 0.0,
        advance: Callable[[int], None] = lambda _rows: None,
    ) -> None:
        self.client = client
        self.model = model
        self.key_field = key_field
        self.window_rows = window_rows
        self.rate = rate
        self.advance = advance
        self.answered = Answered()

    def run(self, rows: Sequence[Row], window_end: WindowEnd) -> list[Window]:
        """Replay all rows.

        Returns:
            One record a window; the last may be shorter.
        """
        done = []
        for number, start in enumerate(range(0, len(rows), self.window_rows), start=1):
            window, labels = self._window(number, rows[start : start + self.window_rows])
            self._feedback(labels)
            window_end(window, self.answered)
            done.append(window)
        return done

    def _window(self, number: int, rows: Sequence[Row]) -> tuple[Window, list[dict[str, Any]]]:
        right = 0
        versions: Counter[str] = Counter()
        labels: list[dict[str, Any]] = []
        start = time.monotonic()
        for i, row in enumerate(rows):
            if self.rate:
                time.sleep(max(0.0, start + i / self.rate - time.monotonic()))
            answer = self._ask(row, v2=i % 2 == 1)
            self.advance(1)
            if answer is None:
                continue
            identity, version, label = answer
            versions[version] += 1
            right += label == row.truth
            # Half of the labels come back by prediction id, half by the row's own key.
            named = {"id": identity} if i % 4 < 2 else {"key": row.key}
            labels.append({**named, "value": row.truth, "source": "demo"})
        self.answered.by_version.update(versions)
        window = Window(
            window=number,
            rows=len(rows),
            static_right=sum(r.static_right for r in rows),
            served_right=right,
            version=versions.most_common(1)[0][0] if versions else "",
            versions=dict(versions),
        )
        return window, labels

    def _ask(self, row: Row, *, v2: bool) -> tuple[str, str, str] | None:
        """One request: prediction id, version, label; None where it failed (counted, never hidden)."""
        self.answered.requests += 1
        try:
            if v2:
                inference = self.client.infer(self.model, {name: [value] for name, value in row.record.items()})
                identity, version, label = inference.ids[0], inference.version, inference.outputs["label"][0]
            else:
                prediction = self.client.predict(self.model, [row.record])
                identity, version, label = prediction.ids[0], prediction.version, prediction.predictions[0]
        except (RequestError, OSError):
            self.answered.failed += 1
            return None
        self.answered.first_answer.setdefault(version, time.time())
        return identity, version, str(label)

    def _feedback(self, labels: list[dict[str, Any]]) -> None:
        if labels:
            self.client.feedback(self.model, labels)
