"""The layers' figures as records and back, so that a restarted watch goes on where the last one stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.monitoring.calibration import Calibration, Cells
from trimtab.monitoring.drift import Comparison, Moved
from trimtab.monitoring.losses import Losses
from trimtab.monitoring.performance import Estimate, Realised, Yardstick
from trimtab.monitoring.slices import Slice

# Fields of a record or a verdict, at most; those that moved most clearly.
FIELDS = 100


def inputs_facts(found: Comparison) -> dict[str, Any]:
    """The inputs layer as record fields."""
    return {"p": found.p, "together": found.together, "fields": fields_facts(found.fields)}


def inputs_of(record: Mapping[str, Any]) -> Comparison:
    """From a record."""
    fields = [Moved(f["name"], f["effect"], f["unit"], f["p"], f.get("words", "")) for f in record["fields"]]
    return Comparison(float(record["p"]), fields, float(record["together"]))


def fields_facts(moved: Sequence[Moved]) -> list[dict[str, Any]]:
    """Fields that moved, as record fields; the clearest where there are many."""
    kept = moved if len(moved) <= FIELDS else sorted(moved, key=lambda f: (f.p, -f.effect))[:FIELDS]
    return [{"name": f.name, "effect": round(f.effect, 6), "unit": f.unit, "p": f.p, "words": f.words} for f in kept]


def expected_facts(found: Losses, shown: Estimate) -> dict[str, Any]:
    """The expected layer as record fields."""
    return {**shown.facts(), "losses": losses_facts(found)}


def losses_facts(found: Losses) -> list[float]:
    """Sums as a list: rows, total, squares, cubes."""
    return [found.n, found.total, found.squares, found.cubes]


def losses_of(values: Sequence[float]) -> Losses:
    """From a list."""
    return Losses(int(values[0]), float(values[1]), float(values[2]), float(values[3]))


def realised_facts(found: Realised, shown: Estimate) -> dict[str, Any]:
    """The realised layer as record fields."""
    return {
        **shown.facts(),
        "labelled": found.labelled,
        "losses": losses_facts(found.losses),
        "guessed": losses_facts(found.guessed),
        "surprise": losses_facts(found.surprise),
        "truths": found.truths,
        "by_class": {name: losses_facts(one) for name, one in found.by_class.items()},
        "buckets": {
            "rows": found.n.tolist(),
            "total": found.total.tolist(),
            "squares": found.squares.tolist(),
            "first": found.first.tolist(),
        },
        "calibration": found.cells.facts(),
        "slices": {name: losses_facts(one) for name, one in found.slices.items()},
        "contradicted": found.contradicted,
        "delay_seconds": None if math.isnan(found.delay) else found.delay,
    }


def realised_of(record: Mapping[str, Any]) -> Realised:
    """From a record."""
    buckets = record["buckets"]
    return Realised(
        labelled=int(record["labelled"]),
        losses=losses_of(record["losses"]),
        guessed=losses_of(record["guessed"]),
        surprise=losses_of(record["surprise"]) if "surprise" in record else Losses(),
        truths={name: int(n) for name, n in record["truths"].items()},
        by_class={name: losses_of(one) for name, one in record["by_class"].items()},
        n=np.array(buckets["rows"], np.int64),
        total=np.array(buckets["total"], np.float64),
        squares=np.array(buckets["squares"], np.float64),
        first=np.array(buckets["first"], np.int64),
        contradicted=int(record["contradicted"]),
        delay=math.nan if record["delay_seconds"] is None else float(record["delay_seconds"]),
        cells=Cells.from_facts(cells if isinstance(cells := record.get("calibration"), list) else None),
        slices={name: losses_of(one) for name, one in record.get("slices", {}).items()},
    )


def calibration_facts(found: Calibration, level: str) -> dict[str, Any] | None:
    """Whether probabilities still hold, as record fields; None where nothing is known."""
    if math.isnan(found.error):
        return None
    return {
        "level": level,
        "error": round(found.error, 6),
        "p": found.p,
        "rows": found.rows,
        "excess": round(found.excess, 6),
    }


def slice_facts(found: Slice | None, yardstick: Yardstick) -> dict[str, Any] | None:
    """The part of the traffic that got worse, as record fields."""
    if found is None:
        return None
    return {
        "name": found.name,
        "p": found.p,
        "windows": found.span,
        "rows": found.losses.n,
        "share": round(found.share, 4),
        "value": round(yardstick.shown(found.losses.mean), 6),
        "reference": round(yardstick.shown(yardstick.by_slice[found.name].mean), 6),
    }
