"""Small pictures as SVG text: then and now of a field, performance over windows, probabilities against rates.

No library and no script: a page of them is a few dozen kilobytes and opens anywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.monitoring.calibration import Cells
from trimtab.monitoring.losses import Floats

WIDTH, HEIGHT = 420, 150
LEFT, BOTTOM, TOP = 46, 24, 10
BINS, NAMES, PIXELS = 32, 10, 28
# Larger values are drawn as this large: their differences would overflow.
_LARGEST = 1e150
THEN, NOW, BAD = "#8a8f98", "#2f6fdb", "#c62f2f"


def numbers(then: Floats, now: Floats) -> str:
    """Two histograms over the same bins: the reference's outline, the window filled; shares of rows."""
    a, b = (np.clip(v[np.isfinite(v)], -_LARGEST, _LARGEST) for v in (then, now))
    both = np.concatenate([a, b])
    if not len(both):
        return _svg([_text(WIDTH / 2, HEIGHT / 2, "no value in either", "middle")])
    low, high = np.quantile(both, [0.005, 0.995])
    low, high = float(low), float(high)
    if not (math.isfinite(high - low) and high > low):
        low, high = float(low) - 0.5, float(high) + 0.5
    edges = np.linspace(low, high, BINS + 1)
    shares = [
        np.histogram(np.clip(v, low, high), edges)[0] / max(1, len(v)) if len(v) else np.zeros(BINS) for v in (a, b)
    ]
    top = max(float(s.max()) for s in shares) or 1.0
    x = _scale(0, BINS, LEFT, WIDTH - 8)
    y = _scale(0, top, HEIGHT - BOTTOM, TOP)
    marks = [
        f'<rect x="{x(i):.1f}" y="{y(s):.1f}" width="{(x(1) - x(0)) * 0.92:.1f}" '
        f'height="{max(0.0, HEIGHT - BOTTOM - y(s)):.1f}" fill="{NOW}" fill-opacity="0.55"/>'
        for i, s in enumerate(shares[1].tolist())
        if s > 0
    ]
    outline = " ".join(f"{x(i):.1f},{y(s):.1f} {x(i + 1):.1f},{y(s):.1f}" for i, s in enumerate(shares[0].tolist()))
    marks.append(f'<polyline points="{outline}" fill="none" stroke="{THEN}" stroke-width="1.6"/>')
    middle = (low + high) / 2
    marks += [_text(x(at), HEIGHT - 8, f"{v:.4g}", "middle") for at, v in ((0, low), (BINS / 2, middle), (BINS, high))]
    marks += _axis(top, percent=True)
    return _svg(marks)


def categories(then: pa.Array, now: pa.Array) -> str:
    """Bars of the most frequent names, then above now; shares of rows."""
    counts = [_counts(then), _counts(now)]
    total = [max(1, sum(c.values())) for c in counts]
    share = {n: [c.get(n, 0) / t for c, t in zip(counts, total, strict=True)] for n in {*counts[0], *counts[1]}}
    names = sorted(share, key=lambda n: (-abs(share[n][1] - share[n][0]) - max(share[n]), n))[:NAMES]
    if not names:
        return _svg([_text(WIDTH / 2, HEIGHT / 2, "no value in either", "middle")])
    height = 18 * len(names) + 12
    top = max(max(share[n]) for n in names) or 1.0
    x = _scale(0, top, 130, WIDTH - 50)
    marks = []
    for i, name in enumerate(names):
        at = 8 + 18 * i
        marks.append(_text(124, at + 10, _short(name), "end"))
        for j, (value, colour) in enumerate(zip(share[name], (THEN, NOW), strict=True)):
            width = max(0.5, x(value) - 130)
            marks.append(f'<rect x="130" y="{at + 7 * j}" width="{width:.1f}" height="6" fill="{colour}"/>')
        marks.append(_text(x(max(share[name])) + 4, at + 10, f"{share[name][0]:.1%} → {share[name][1]:.1%}", "start"))
    return _svg(marks, height, WIDTH + 60)


def images(then: Floats, now: Floats, shape: Sequence[int]) -> str:
    """The mean image then, now, and how they differ."""
    grids = [_mean(v, shape) for v in (then, now)]
    if any(g is None for g in grids):
        return _svg([_text(WIDTH / 2, HEIGHT / 2, "no image in either", "middle")])
    a, b = (np.asarray(g) for g in grids)
    low, high = float(min(a.min(), b.min())), float(max(a.max(), b.max()))
    most = float(np.abs(b - a).max()) or 1.0
    marks: list[str] = []
    for k, (name, grid) in enumerate((("then", a), ("now", b), ("difference", b - a))):
        side = 112 / max(grid.shape)
        left = 10 + 138 * k
        marks.append(_text(left, 12, name, "start"))
        for (r, c), value in np.ndenumerate(grid):
            if k < 2:
                light = int(255 * (value - low) / (high - low)) if high > low else 128
                fill = f"rgb({light},{light},{light})"
            else:
                part = float(value) / most
                fill = f"rgb(47,111,219,{abs(part):.2f})" if part > 0 else f"rgb(198,47,47,{abs(part):.2f})"
            marks.append(
                f'<rect x="{left + c * side:.1f}" y="{18 + r * side:.1f}" width="{side:.1f}" height="{side:.1f}" '
                f'fill="{fill}"/>'
            )
    return _svg(marks, 140, 430)


def over_windows(points: Sequence[dict[str, Any]], reference: float | None, *, percent: bool) -> str:
    """Performance by window: realised with its 95 % interval, expected, the reference's level.

    Args:
        points: `window`, `verdict`, and `realised` and `expected` as mappings with `value`, `low`, `high` (or None).
        reference: the reference's performance.
        percent: whether values are ratios.
    """
    known = [
        p[kind][end]
        for p in points
        for kind in ("realised", "expected")
        for end in ("value", "low", "high")
        if p[kind][end] is not None
    ]
    if reference is not None:
        known.append(reference)
    if not points or not known:
        return _svg([_text(WIDTH / 2, HEIGHT / 2, "nothing known yet", "middle")])
    low, high = min(known), max(known)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    y = _scale(low - pad, high + pad, HEIGHT - BOTTOM, TOP)
    x = _scale(0, max(1, len(points) - 1), LEFT + 12, 2 * WIDTH - 20)
    marks = []
    if reference is not None:
        marks.append(_line(LEFT, y(reference), 2 * WIDTH - 8, y(reference), THEN, "4 3"))
        marks.append(_text(2 * WIDTH - 10, y(reference) - 3, "reference", "end"))
    guessed = [(x(i), y(p["expected"]["value"])) for i, p in enumerate(points) if p["expected"]["value"] is not None]
    if guessed:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in guessed)
        marks.append(f'<polyline points="{path}" fill="none" stroke="#b58900" stroke-width="1.4"/>')
    for i, p in enumerate(points):
        found, colour = p["realised"], {"drift": BAD, "watch": "#d98e04"}.get(p["verdict"], NOW)
        if found["value"] is not None:
            if found["low"] is not None:
                marks.append(_line(x(i), y(found["low"]), x(i), y(found["high"]), colour, ""))
            marks.append(f'<circle cx="{x(i):.1f}" cy="{y(found["value"]):.1f}" r="3" fill="{colour}"/>')
    ends = sorted({0, len(points) // 2, len(points) - 1})
    marks += [_text(x(i), HEIGHT - 8, str(points[i]["window"]), "middle") for i in ends]
    marks += [_text(LEFT - 4, y(v) + 3, f"{v:.1%}" if percent else f"{v:.4g}", "end") for v in (low, high)]
    return _svg(marks, HEIGHT, 2 * WIDTH)


def reliability(then: Cells, now: Cells) -> str:
    """Share right against probability: on the reference, and in the window's labelled rows."""
    side = 190
    x, y = _scale(0, 1, 34, side - 6), _scale(0, 1, side - 22, 6)
    marks = [_line(x(0), y(0), x(1), y(1), "#bbbbbb", "3 3")]
    for cells, colour in ((then, THEN), (now, NOW)):
        rows = int(max(1, cells.n.sum()))
        for n, guessed, wrong in zip(cells.n, cells.guessed, cells.wrong, strict=True):
            if n:
                size = 2.5 + 5 * math.sqrt(n / rows)
                marks.append(
                    f'<circle cx="{x(1 - guessed / n):.1f}" cy="{y(1 - wrong / n):.1f}" r="{size:.1f}" '
                    f'fill="{colour}" fill-opacity="0.6"/>'
                )
    for v in (0, 0.5, 1):
        marks += [_text(x(v), side - 8, f"{v:g}", "middle"), _text(30, y(v) + 3, f"{v:g}", "end")]
    return _svg(marks, side, side)


def _mean(values: Floats, shape: Sequence[int]) -> Floats | None:
    """The mean image as a grey grid of at most `PIXELS` a side."""
    if not len(values):
        return None
    mean = np.asarray(values, np.float64).mean(axis=0).reshape(tuple(shape))
    if mean.ndim == 3:
        mean = mean.mean(axis=2)
    step = max(1, math.ceil(max(mean.shape) / PIXELS))
    rows, columns = (n // step * step for n in mean.shape)
    kept = mean[:rows, :columns].reshape(rows // step, step, columns // step, step)
    return np.asarray(kept.mean(axis=(1, 3)))


def _counts(values: pa.Array) -> dict[str, int]:
    return {str(c["values"]): c["counts"] for c in pc.value_counts(pc.drop_null(values)).to_pylist()}


def _scale(low: float, high: float, start: float, stop: float) -> Any:
    span = (high - low) or 1.0
    return lambda v: start + (float(v) - low) / span * (stop - start)


def _axis(top: float, *, percent: bool) -> list[str]:
    shown = f"{top:.0%}" if percent else f"{top:.3g}"
    return [
        _line(LEFT, HEIGHT - BOTTOM, WIDTH - 8, HEIGHT - BOTTOM, "#999999", ""),
        _text(LEFT - 4, TOP + 6, shown, "end"),
        _text(LEFT - 4, HEIGHT - BOTTOM, "0", "end"),
    ]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashes}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _svg(marks: Sequence[str], height: float = HEIGHT, width: float = WIDTH) -> str:
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return f'<svg {size} role="img">{"".join(marks)}</svg>'
