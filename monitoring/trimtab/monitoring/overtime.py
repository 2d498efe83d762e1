"""Drift over a stretch of time, from the windows' records alone: verdicts, episodes, fields by how often they moved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ProjectError
from trimtab.core.records import parse_time, rfc3339
from trimtab.monitoring import windows
from trimtab.monitoring.windows import Verdict

if TYPE_CHECKING:
    from trimtab.core.store import Store

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(m|h|d|w)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# So many windows in a row that end before the asked time mean that all earlier ones do: late rows blur the order.
_BEFORE = 3


def since_of(text: str, now: datetime) -> datetime:
    """A moment, as a person names it: `24h`, `7d`, or a time.

    Raises:
        ProjectError: neither.

    >>> since_of("36h", datetime(2026, 11, 21, tzinfo=UTC)).isoformat()
    '2026-11-19T12:00:00+00:00'
    >>> since_of("2026-11-20", datetime(2026, 11, 21, tzinfo=UTC)).isoformat()
    '2026-11-20T00:00:00+00:00'
    """
    match = _SPAN.fullmatch(text.strip())
    expected = "a span such as 24h or 7d, or a time such as 2026-11-20T14:00:00Z"
    try:
        if match:
            return now - timedelta(**{_UNITS[match[2]]: float(match[1])})
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ProjectError("a moment outside of the calendar", object=text[:80], expected=expected) from None
    except ValueError:
        raise ProjectError("no such moment", object=text[:80], expected=expected) from None


def over_time(store: Store, model: str, since: datetime, versions: Sequence[str] | None = None) -> dict[str, Any]:
    """What was seen since a moment.

    Args:
        store: all that is read.
        model: the model.
        since: windows that ended before are left out.
        versions: whose windows; by default of all that were watched.

    Returns:
        `windows` (in order of time), `episodes` (runs of windows of one version that are not `none`), `fields` (those
        that moved, by number of windows), `counts` by verdict.
    """
    names = list(versions) if versions is not None else watched(store, model)
    said = sorted((v for name in names for v in _since(store, model, name, since)), key=lambda v: v.last_time)
    return {
        "model": model,
        "since": rfc3339(since),
        "windows": [_row(v) for v in said],
        "episodes": _episodes(said),
        "fields": _fields(said),
        "counts": {level: sum(v.verdict == level for v in said) for level in ("none", "watch", "drift")},
    }


def watched(store: Store, model: str) -> list[str]:
    """Versions that have windows, sorted by name; lists one key a version."""
    prefix = f"windows/{model}/"
    found: list[str] = []
    after: str | None = None
    while (key := next(iter(store.list(prefix, after=after)), None)) is not None:
        found.append(key[len(prefix) :].split("/", 1)[0])
        after = f"{prefix}{found[-1]}/zzzz"
    return found


def _since(store: Store, model: str, version: str, since: datetime) -> Iterator[Verdict]:
    """Verdicts of windows that ended since then, the newest first; earlier windows' records are not read."""
    by_window = windows.keys_by_window(store, model, version)
    before = 0
    for window in sorted(by_window, reverse=True):
        key = windows.newest(by_window[window], "verdict")
        if key is None:
            continue
        said = windows.read_verdict(store, key)
        if parse_time(said.last_time) >= since:
            before = 0
            yield said
        else:
            before += 1
            if before == _BEFORE:
                return


def _row(said: Verdict) -> dict[str, Any]:
    return {
        "version": said.version,
        "window": said.window,
        "first_time": said.first_time,
        "last_time": said.last_time,
        "verdict": said.verdict,
        "layers": dict(said.layers),
        "rows": said.rows,
        "labelled": said.labelled,
        "metric": said.performance.get("metric", ""),
        "realised": (said.performance.get("realised") or {}).get("value"),
        "expected": (said.performance.get("expected") or {}).get("value"),
        "reference": (said.performance.get("reference") or {}).get("value"),
        "fields": [f["name"] for f in said.fields],
        "cost_per_day": said.cost_per_day,
        "cause": said.cause,
        "words": said.words,
        "report": said.report,
    }


def _episodes(said: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Runs of windows of one version that are not `none`, with the worst of each."""
    found: list[dict[str, Any]] = []
    for version in dict.fromkeys(v.version for v in said):
        run: list[Verdict] = []
        for one in [*(v for v in said if v.version == version), None]:
            if one is not None and one.verdict != "none":
                run.append(one)
                continue
            if run:
                found.append(_episode(run, over=one is not None))
                run = []
    return sorted(found, key=lambda e: str(e["first_time"]))


def _episode(run: Sequence[Verdict], *, over: bool) -> dict[str, Any]:
    worst = max(run, key=lambda v: (v.verdict == "drift", v.cost_per_day))
    since = next((v.since for v in run if v.verdict == worst.verdict and v.since), None)
    return {
        "version": worst.version,
        "verdict": worst.verdict,
        "first_window": run[0].window,
        "last_window": run[-1].window,
        "first_time": run[0].first_time,
        "last_time": run[-1].last_time,
        "over": over,
        "since": dict(since) if since else None,
        "cost_per_day": worst.cost_per_day,
        "cause": worst.cause,
        "words": worst.words,
        "report": worst.report,
    }


def _fields(said: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Fields that moved, those that did in most windows first."""
    found: dict[str, dict[str, Any]] = {}
    for one in said:
        if one.layers.get("inputs") == "none":
            continue
        for moved in one.fields:
            known = found.setdefault(
                moved["name"],
                {"name": moved["name"], "windows": 0, "effect": 0.0, "unit": moved["unit"], "since": one.first_time},
            )
            known["windows"] += 1
            if moved["effect"] >= known["effect"]:
                known |= {"effect": moved["effect"], "unit": moved["unit"], "words": moved.get("words", "")}
            known["last_window"] = one.window
    return sorted(found.values(), key=lambda f: (-f["windows"], -f["effect"]))
