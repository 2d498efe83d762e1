"""The evaluation report: one static page for people who decide, not for people who train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.schema import Schema
from trimtab.core.trained import Predictions, TrainedModel
from trimtab.export import svg, words

if TYPE_CHECKING:
    from trimtab.export.stage import ExportConfig

DOTS = 400
MOST_CLASSES = 25
MOST_REMARKS = 100
STYLE = """body{font:15px/1.55 system-ui,sans-serif;margin:2rem auto;max-width:52rem;padding:0 1rem;color:#222}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}.lead{font-size:1.2rem}table{border-collapse:collapse}
td,th{padding:.25rem .7rem;text-align:left;border-bottom:1px solid #ddd}td.n{text-align:right}
.no{color:#a3260f;font-weight:600}.yes{color:#1b6b35}small{color:#666}figure{display:inline-block;margin:0 1rem 0 0}"""


def render(
    config: ExportConfig,
    schema: Schema,
    model: TrainedModel,
    chosen: Mapping[str, Any],
    honest: Predictions,
    remarks: Sequence[str] = (),
) -> str:
    """The page, the same for the same model.

    Args:
        config: names and words.
        schema: fields and target.
        model: the winner.
        chosen: select's JSON.
        honest: the winner's predictions of rows that the predicting fit did not see.
        remarks: what ingest and validate warned about.
    """
    metrics, unit = chosen["metrics"], schema.target.unit
    parts = [
        f"<h1>{escape(config.model)}: how good is it?</h1>",
        f"<p>{escape(config.statement)}</p>" if config.statement else "",
        f'<p class="lead">{escape(words.headline(model.task, metrics, unit, config.rows_per_day))}</p>',
        f"<p>Measured on {chosen['rows']:,} {words.TESTED[chosen['tested_on']]}.</p>",
        _gates(chosen),
        f"<p>{escape(words.against_champion(chosen.get('judge')))}</p>",
        _classes(schema, honest, chosen) if model.task == "classification" else _errors(schema, honest),
        "<h2>What was compared</h2>",
        _candidates(chosen, config.metric),
        f"<p>{escape(chosen['why'])}. The baseline answers {escape(chosen['baseline']['name'])}.</p>",
        "<h2>What it looks at</h2>",
        _table(
            ("field", "kind", "unit", "meaning"),
            [(f.name, f.kind, f.unit, f.description) for f in schema.features[:200]],
        ),
        *_about_the_data(remarks),
        "<h2>What to keep in mind</h2><ul>",
        *(f"<li>{escape(line)}</li>" for line in limits(model, honest)),
        "</ul>",
    ]
    title = escape(f"{config.model}: evaluation")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _gates(chosen: Mapping[str, Any]) -> str:
    if not chosen["gates"]:
        return ""
    lines = "".join(
        f'<li class="{"yes" if held else "no"}">{escape(gate)}: {"reached" if held else "NOT reached"}</li>'
        for gate, held in chosen["gates"].items()
    )
    verdict = "It may be released." if chosen["passed"] else "It is not released: a gate is not reached."
    return f"<h2>{verdict}</h2><ul>{lines}</ul>"


def _classes(schema: Schema, honest: Predictions, chosen: Mapping[str, Any]) -> str:
    classes = schema.target.classes
    lines = words.by_class(classes, honest)
    shown = sorted(lines, key=lambda line: -int(line[1].replace(",", "")))[:MOST_CLASSES]
    lines = [line for line in lines if line in shown]
    more = f"<p><small>The {MOST_CLASSES} most frequent of {len(classes)} classes.</small></p>" if (
        len(classes) > MOST_CLASSES
    ) else ""  # fmt: skip
    roc = chosen["evaluation"]["roc"]
    confidence, right = _reliability(honest)
    return (
        f"<h2>Class by class</h2>{_table(('class', 'rows', 'found', 'most often taken for'), lines, (1,))}{more}"
        "<h2>Can its confidence be trusted?</h2><p>Where the line follows the diagonal, an answer given with 80 % is "
        "right in 80 of 100 cases.</p>"
        f"<figure>{svg.curve(confidence, right, 'confidence', 'share right', 'Calibration')}</figure>"
        f"<figure>{svg.curve(roc['fpr'], roc['tpr'], 'false alarms', 'found', 'ROC curve')}</figure>"
    )


def _reliability(honest: Predictions) -> tuple[list[float], list[float]]:
    """Mean confidence and share right in up to ten equally filled groups."""
    confidence = honest.prediction.max(axis=1)
    right = honest.prediction.argmax(axis=1) == honest.truth
    order = np.argsort(confidence, kind="stable")
    groups = np.array_split(order, max(1, min(10, len(order) // 20)))
    return [float(confidence[g].mean()) for g in groups], [float(right[g].mean()) for g in groups]


def _errors(schema: Schema, honest: Predictions) -> str:
    step = max(1, len(honest.truth) // DOTS)
    truth, value = honest.truth[::step].tolist(), honest.prediction[::step].tolist()
    of = f" ({schema.target.unit})" if schema.target.unit else ""
    return (
        f"<h2>How far off</h2>{_table(('share of answers', 'error'), words.by_error(honest, schema.target.unit))}"
        f"<figure>{svg.scatter(truth, value, f'true{of}', f'predicted{of}', 'Predicted against true')}</figure>"
    )


def _candidates(chosen: Mapping[str, Any], metric: str) -> str:
    rows = [
        (
            c["name"] + (" (chosen)" if c["name"] == chosen["winner"] else ""),
            _figure(c["metrics"][metric]),
            f"{c['parameters']:,}",
        )
        for c in chosen["candidates"]
    ]
    rows.append(("baseline", _figure(chosen["baseline"]["metrics"][metric]), "–"))
    return _table(("candidate", f"{metric} by cross-validation", "weights"), rows, (2,))


def _figure(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.4g} ({figure['low']:.4g} to {figure['high']:.4g})"


def _about_the_data(remarks: Sequence[str]) -> Iterable[str]:
    if remarks:
        shown = remarks[:MOST_REMARKS]
        yield "<h2>About the data</h2><ul>"
        yield from (f"<li>{escape(line[:1].upper() + line[1:])}.</li>" for line in shown)
        yield f"<li>And {len(remarks) - len(shown):,} more remarks.</li>" if len(remarks) > len(shown) else ""
        yield "</ul>"


def limits(model: TrainedModel, honest: Predictions) -> Iterable[str]:
    """What to keep in mind, a sentence each."""
    yield f"It learned from {len(honest.rows):,} rows; on rows of another kind these figures do not hold."
    if model.task == "classification":
        rare = [
            c for i, c in enumerate(model.classes) if 0 < np.sum(honest.truth == i) < 20
        ]  # fmt: skip
        if rare:
            yield f"Fewer than 20 rows tell about: {', '.join(rare[:20])}."
    yield "Missing values are filled in, and values never seen before are taken for none of the known ones."
    yield "The watch compares what comes in with the rows behind this page and says when they no longer apply."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: tuple[int, ...] = ()) -> str:
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if i in numeric else ''}>{escape(str(c))}</td>" for i, c in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"
