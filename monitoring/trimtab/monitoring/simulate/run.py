"""Policies compared on one stream: defaults from its length, what each gave, as facts and as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import ValidationError

from trimtab.core.errors import ProjectError
from trimtab.core.policies import Block, Campaign, Rollout, Windows
from trimtab.monitoring import learners
from trimtab.monitoring.simulate import ours, replay
from trimtab.monitoring.simulate.candidates import CANDIDATES, candidate
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
BLOCKS: dict[str, type[Block]] = {"windows": Windows, "campaign": Campaign, "rollout": Rollout}


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
    train = options.train_rows or max(n // WINDOWS, min(LEAST_TRAIN, n // 5))
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
    if n - train < 2 * window:
        raise ProjectError(
            "the stream is too short for these windows", object="--window",
            expected=f"two windows behind the {train:,} training rows", got=f"{n:,} rows in all",
            hint="name a smaller --window or fewer --train-rows",
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
            changed = _from_file(Path(name), base)
            found[Path(name).name] = partial(ours.trimtab, changed)
        else:
            raise ProjectError(
                "no such policy", object="--policy", expected=f"{', '.join(POLICIES)}, every_last, hddm_w or a file",
                got=name,
            )  # fmt: skip
    return found


def _from_file(path: Path, base: Setting) -> Setting:
    """Ours with the blocks of a project file, or of a file that holds a `campaign` block alone."""
    try:
        read: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProjectError(
            "the policy file cannot be read", object=str(path), got=str(error).splitlines()[0][:120],
            hint="it is YAML with a `campaign` block",
        ) from None  # fmt: skip
    if not isinstance(read, dict):
        raise ProjectError("the policy file holds no blocks", object=str(path), expected="a `campaign` block")
    blocks = read if any(k in BLOCKS for k in read) else {"campaign": read}
    made: dict[str, Any] = {}
    for name, block in BLOCKS.items():
        if name not in blocks:
            continue
        values = blocks[name] or {}
        if name == "windows" and isinstance(values, dict):
            values = {"rows": base.windows.rows, **values}
        try:
            made[name] = block.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join([name, *map(str, first["loc"])])
            raise ProjectError(
                f"{where}: {first['msg']}", object=str(path), hint="docs/project-file.md lists the fields"
            ) from None
    return replace(base, **made)


def facts(base: Setting, course: Course, still: Course, cost: float) -> dict[str, Any]:
    """What a policy gave, as a record.

    Args:
        base: the setting.
        course: the policy's.
        still: that of `static`: an alarm is false where the first version has not become worse.
        cost: what one retrain counts as, in rows wholly wrong.
    """
    mean = float(course.losses.mean())
    delays, false = _alarms(base, course, still)
    found: dict[str, Any] = {"accuracy": round(100 * (1 - mean), 3)} if base.stream.classes else {
        "accuracy": round(100 * (1 - mean / max(_naive(base), 1e-12)), 3), "mean_absolute_error": mean,
    }  # fmt: skip
    return {
        **found,
        "retrains": len(course.retrains),
        "promoted": len(course.promoted),
        "delay": delays,
        "campaigns": len(course.campaigns),
        "false_campaigns": false,
        "cost": round(
            float(course.losses.sum()) / (1.0 if base.stream.classes else max(_naive(base), 1e-12))
            + cost * len(course.retrains),
            1,
        ),
        "at": course.retrains,
    }


def _naive(base: Setting) -> float:
    """Mean absolute error of the training rows' median: what a regression's accuracy is a part of."""
    truth = base.stream.truth
    return float(np.mean(np.abs(truth[base.train_rows :] - np.median(truth[: base.train_rows]))))


def _alarms(base: Setting, course: Course, still: Course) -> tuple[float | None, int]:
    """Mean rows from a change to the first retrain behind it, and campaigns without a change since the one before.

    A change is where the first version's losses, smoothed over a window, leave the level they were at: found by
    binary segmentation over the whole stream in hindsight, the same for all policies.
    """
    changes = change_points(still.losses, base.window)
    starts = [r - base.train_rows for r in course.campaigns]
    delays = []
    for i, change in enumerate(changes):
        end = changes[i + 1] if i + 1 < len(changes) else len(still.losses)
        after = [s for s in starts if change <= s < end]
        if after:
            delays.append(after[0] - change)
    edges = [0, *starts]
    false = sum(not any(a - base.window < c <= b for c in changes) for a, b in pairwise(edges))
    return (round(float(np.mean(delays)), 1) if delays else None), false


def change_points(losses: np.ndarray[Any, Any], least: int, strength: float = 12.0) -> list[int]:
    """Rows at which the mean of a sequence changes, by binary segmentation (Scott and Knott 1974).

    Args:
        losses: of rows.
        least: rows between two changes, at least.
        strength: log-likelihood that a change must explain (normal, known variance).
    """
    sums = np.concatenate([[0.0], np.cumsum(losses - losses.mean())])
    variance = max(float(np.var(losses)), 1e-12)
    found: list[int] = []
    todo = [(0, len(losses))]
    while todo:
        a, b = todo.pop()
        if b - a < 2 * least:
            continue
        at = np.arange(a + least, b - least + 1)
        left, right = (sums[at] - sums[a]) / (at - a), (sums[b] - sums[at]) / (b - at)
        score = (left - right) ** 2 * (at - a) * (b - at) / (b - a) / (2 * variance)
        best = int(np.argmax(score))
        if score[best] >= strength:
            cut = int(at[best])
            found.append(cut)
            todo += [(a, cut), (cut, b)]
    return sorted(found)


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
    for name, play in asked.items():
        tell(name)
        course = still if name == "static" else play()
        found[name] = facts(base, course, still, options.cost)
        if course.notes:
            notes[name] = course.notes
    loss = replay.unchanged(base)
    still_level = 1 - loss if stream.classes else 1 - loss / max(_naive(base), 1e-12)
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
    }


__all__ = ["MODELS", "OURS", "POLICIES", "Options", "change_points", "setting", "simulate"]
