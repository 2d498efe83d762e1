"""Policies compared on one stream: defaults from its length, what each gave, as facts and as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trimtab.core.errors import ProjectError
from trimtab.core.policies import Windows
from trimtab.monitoring import learners
from trimtab.monitoring.simulate import ours, replay
from trimtab.monitoring.simulate.candidates import CANDIDATES, candidate
from trimtab.monitoring.simulate.hindsight import change_points, facts, naive
from trimtab.monitoring.simulate.policy_file import from_file, unheeded
from trimtab.monitoring.simulate.replay import Course, Setting
from trimtab.monitoring.simulate.stream import Stream
from trimtab.monitoring.simulate.version import Train, quick

ALARMS = ("adwin", "ddm", "hddm", "page_hinkley")
# Ours by what opens a campaign: also a shown gain of other data, or a drift alone, as a project has it by default.
OURS: dict[str, Literal["gain", "drift"]] = {"trimtab": "gain", "trimtab_drift": "drift"}
POLICIES = ("static", "every", *ALARMS, *OURS)
MODELS = ("logistic", "hist_gradient_boosting", *CANDIDATES)
# A window is so small a part of the stream; the watch's are a quarter of it, but not below so many rows.
WINDOWS, WATCHED, LEAST_WATCHED = 40, 4, 300
LEAST_WINDOW, LEAST_TRAIN = 30, 200


@dataclass(frozen=True)
class Options:
    """What a simulation is asked for; 0 and empty take the defaults.

    Attributes:
        train_rows: rows that the first version is trained on.
        window: rows of a window.
        delay: rows until a label lands.
        model: which model serves; by default the better of the two quick ones on the first rows.
        policies: names, or files with a `campaign` block.
        cost: losses that one retrain counts as, in rows wholly wrong.
    """

    train_rows: int = 0
    window: int = 0
    delay: int = 0
    model: str = ""
    policies: Sequence[str] = field(default_factory=lambda: POLICIES)
    cost: float = 0.0


def setting(stream: Stream, options: Options) -> Setting:
    """What all policies have in common.

    Raises:
        ProjectError: an option does not fit the stream.
    """
    n = len(stream)
    window = options.window or max(LEAST_WINDOW, n // WINDOWS)
    train = options.train_rows or max(n // WINDOWS, min(LEAST_TRAIN, n // 5), LEAST_WINDOW)
    if window < LEAST_WINDOW:
        raise ProjectError(
            "the window is too small", object="--window", expected=f"at least {LEAST_WINDOW} rows", got=str(window)
        )
    if train < LEAST_WINDOW:
        raise ProjectError(
            "too few training rows", object="--train-rows", expected=f"at least {LEAST_WINDOW}", got=str(train)
        )
    if options.delay < 0:
        raise ProjectError(
            "a label cannot land before its row",
            object="--label-delay",
            expected="0 or more rows",
            got=str(options.delay),
        )
    if not math.isfinite(options.cost) or options.cost < 0:
        raise ProjectError(
            "a retrain cannot cost that", object="--retrain-cost", expected="a finite number, 0 or more",
            got=str(options.cost),
        )  # fmt: skip
    if n - train < 2 * window:
        raise ProjectError(
            "the stream is too short for these windows", object="--window",
            expected=f"two windows behind the {train:,} training rows", got=f"{n:,} rows in all",
            hint="name a smaller --window or fewer --train-rows",
        )  # fmt: skip
    if options.delay >= n - train:
        raise ProjectError(
            "no label would land before the stream ends", object="--label-delay",
            expected=f"less than the {n - train:,} rows behind the {train:,} training rows", got=f"{options.delay:,}",
            hint="name a smaller --label-delay",
        )  # fmt: skip
    first = np.arange(train)
    if stream.classes and len(np.unique(stream.truth[first])) < 2:
        raise ProjectError(
            f"the first {train:,} rows are all of one class", object="--train-rows", expected="two classes or more",
            got="one", hint="name more --train-rows",
        )  # fmt: skip
    x = stream.prepared(first).apply(stream.take(first)).reshape(train, -1)
    kind = learners.pick(x, stream.truth[first], len(stream.classes))
    model, train_one = _model(options.model, kind)
    watched = min(window, max(LEAST_WATCHED, window // WATCHED))
    return Setting(
        stream, train_one, model if model in learners.KINDS else kind, train, window, options.delay,
        windows=Windows(rows=watched),
    )  # fmt: skip


def _model(name: str, kind: learners.Kind) -> tuple[str, Train]:
    if name in CANDIDATES:
        return name, candidate(name)
    if name and name not in learners.KINDS:
        raise ProjectError("no such model", object="--model", expected=", ".join(MODELS), got=name)
    return (name or kind), quick(name or kind)


def _file(setting: Setting) -> Course:
    """A policy file's course, told what of the file a replay does not heed."""
    course = ours.trimtab(setting)
    if keys := unheeded(setting):
        course.unheeded = keys
        course.notes.insert(0, f"not replayed: {', '.join(keys)}")
    return course


def policies(names: Sequence[str], base: Setting) -> dict[str, Callable[[], Course]]:
    """What to replay, by name.

    Raises:
        ProjectError: a name is no policy, or a file cannot be read.
    """
    found: dict[str, Callable[[], Course]] = {}
    for name in dict.fromkeys(names or POLICIES):
        if name == "static":
            found[name] = lambda: replay.static(base)
        elif name == "every":
            found[name] = lambda: replay.every(base)
        elif name == "every_last":
            found[name] = lambda: replay.every(base, last=True)
        elif name in ("adwin", "ddm", "hddm", "hddm_w", "page_hinkley"):
            found[name] = partial(replay.alarmed, base, name)
        elif name in OURS:
            campaign = base.campaign.model_copy(update={"opens": OURS[name]})
            found[name] = partial(ours.trimtab, replace(base, campaign=campaign))
        elif Path(name).suffix in (".yaml", ".yml", ".json") or Path(name).is_file():
            found[Path(name).name] = partial(_file, from_file(Path(name), base))
        else:
            raise ProjectError(
                "no such policy", object="--policy", expected=f"{', '.join(POLICIES)}, every_last, hddm_w or a file",
                got=name,
            )  # fmt: skip
    return found


def simulate(stream: Stream, options: Options, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Replay every policy.

    Args:
        stream: the rows.
        options: what is asked for.
        tell: told the policy that begins.

    Raises:
        ProjectError: an option does not fit.
    """
    base = setting(stream, options)
    asked = policies(options.policies, base)
    tell("static")
    still = replay.static(base)
    found: dict[str, Any] = {}
    notes: dict[str, list[str]] = {}
    not_replayed: dict[str, list[str]] = {}
    for name, play in asked.items():
        tell(name)
        course = still if name == "static" else play()
        found[name] = facts(base, course, still, options.cost)
        if course.notes:
            notes[name] = course.notes
        if course.unheeded:
            not_replayed[name] = course.unheeded
    loss = replay.unchanged(base)
    still_level = 1 - loss if stream.classes else 1 - loss / max(naive(base), 1e-12)
    return {
        "stream": stream.name,
        "rows": len(stream),
        "task": "classification" if stream.classes else "regression",
        "classes": len(stream.classes),
        "features": len(stream.schema.features),
        "train_rows": base.train_rows,
        "window": base.window,
        "watch_window": base.windows.rows,
        "label_delay": base.delay,
        "model": options.model or str(base.probe),
        "retrain_cost": options.cost,
        "changes": [c + base.train_rows for c in change_points(still.losses, base.window)],
        "no_change_predictor": {"accuracy": round(100 * still_level, 3)},
        "policies": found,
        "notes": notes,
        "not_replayed": not_replayed,
    }


__all__ = ["MODELS", "OURS", "POLICIES", "Options", "change_points", "setting", "simulate"]
