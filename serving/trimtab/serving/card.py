"""What the page tells about a version: its card, its report, and rows to try; kept small, read once at loading."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from trimtab.core.records import rfc3339

if TYPE_CHECKING:
    from trimtab.core.envelope import Manifest
    from trimtab.core.schema import Field, Schema

logger = logging.getLogger(__name__)

# Files beyond these are left where they are: the server's memory is for serving.
CARD_BYTES = 256_000
REPORT_BYTES = 4_000_000
EXAMPLE_BYTES = 1_000_000
EXAMPLES = 8
NOUN = "trimtab/card/1"


@dataclass(frozen=True)
class Card:
    """What a version's page needs beside its schema.

    Attributes:
        facts: version, when it was published, its figures with intervals, where it comes from, and what `card.json`
            says (headline, limits, counts by threshold), where the bundle has one.
        report: the evaluation report, deflated; empty where there is none.
        examples: up to eight rows to fill the form with, as JSON, deflated.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    report: bytes = field(default=b"", repr=False)
    examples: bytes = field(default=b"", repr=False)


def read_card(folder: Path, manifest: Manifest, schema: Schema) -> Card:
    """The card of a verified bundle.

    What is missing or cannot be read is left out: a version serves without it.

    Args:
        folder: the bundle's files.
        manifest: of the same bundle.
        schema: of the same bundle.
    """
    lineage, task = manifest.lineage, manifest.project.get("task") or {}
    dataset = lineage.get("dataset") or {}
    facts = {
        "version": manifest.version,
        "created_at": rfc3339(manifest.created_at),
        "statement": str(task.get("statement") or ""),
        "rows_per_day": float(task.get("rows_per_day") or 0),
        "metrics": manifest.metrics,
        "threshold": manifest.threshold,
        "candidate": str(lineage.get("candidate") or ""),
        "parent": str(lineage.get("parent") or ""),
        "dataset": " ".join(str(dataset.get(k) or "") for k in ("name", "digest")) if isinstance(dataset, dict) else "",
        "campaign": str(lineage.get("campaign") or ""),
        **_told(folder / "card.json", manifest.version),
    }
    report = folder / "report.html"
    kept = report.is_file() and report.stat().st_size <= REPORT_BYTES
    return Card(facts, zlib.compress(report.read_bytes()) if kept else b"", _examples(folder / "expected.json", schema))


def _told(path: Path, version: str) -> dict[str, Any]:
    """What `card.json` says, or nothing."""
    if not path.is_file() or path.stat().st_size > CARD_BYTES:
        return {}
    try:
        told = orjson.loads(path.read_bytes())
        if told["schema"] != NOUN:
            raise ValueError(f"it is {told['schema']!r}, and this server reads {NOUN!r}: update the server")
        return {name: told[name] for name in ("headline", "measured", "against", "limits", "curve")}
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("the page shows no card of %s: card.json cannot be read: %s", version, error)
        return {}


def _examples(path: Path, schema: Schema) -> bytes:
    """The rows that were recorded at export as instances; private fields are not recorded and stay out."""
    if not path.is_file() or path.stat().st_size > EXAMPLE_BYTES:
        return b""
    shown = [(place, one) for place, one in enumerate(schema.features) if not one.private]
    try:
        inputs = orjson.loads(path.read_bytes())["inputs"]
        rows = range(min(EXAMPLES, len(next(iter(inputs.values())))))
        found = [{one.name: _value(inputs, schema, place, one, row) for place, one in shown} for row in rows]
    except (ValueError, KeyError, TypeError, IndexError, StopIteration):
        return b""
    return zlib.compress(orjson.dumps(found))


def _value(inputs: Mapping[str, Any], schema: Schema, place: int, field: Field, row: int) -> Any:
    if schema.single_input:
        return inputs["input"][row][place]
    value = inputs[field.name][row]
    if field.kind == "image":
        return value
    return None if value[0] == "" else value[0]
