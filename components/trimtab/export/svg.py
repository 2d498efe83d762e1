"""Small static pictures as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INK, BLUE, GREY = "#222", "#1f6f8b", "#bbb"


def _frame(size: int, body: str, x_label: str, y_label: str, title: str) -> str:
    m = 34
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {size + 2 * m} {size + 2 * m}" '
        f'width="{size + 2 * m}" font-size="11" fill="{INK}"><title>{escape(title)}</title>'
        f'<g transform="translate({m},{m // 2})"><rect width="{size}" height="{size}" fill="none" stroke="{GREY}"/>'
        f'{body}<text x="{size / 2}" y="{size + 28}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(-24,{size / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
        "</g></svg>"
    )


def curve(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str, title: str, size: int = 240) -> str:
    """A line through points in [0, 1] × [0, 1], with the diagonal for comparison."""
    points = " ".join(f"{a * size:.1f},{(1 - b) * size:.1f}" for a, b in zip(x, y, strict=True))
    body = (
        f'<line x1="0" y1="{size}" x2="{size}" y2="0" stroke="{GREY}" stroke-dasharray="4 4"/>'
        f'<polyline points="{points}" fill="none" stroke="{BLUE}" stroke-width="2"/>{_ticks(("0", "1"), size)}'
    )
    return _frame(size, body, x_label, y_label, title)


def scatter(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str, title: str, size: int = 300) -> str:
    """Points on equal axes, with the diagonal on which both agree."""
    low, high = min(*x, *y), max(*x, *y)
    span = (high - low) or 1.0
    dots = "".join(
        f'<circle cx="{(a - low) / span * size:.1f}" cy="{(1 - (b - low) / span) * size:.1f}" r="2.2"/>'
        for a, b in zip(x, y, strict=True)
    )
    body = (
        f'<line x1="0" y1="{size}" x2="{size}" y2="0" stroke="{GREY}"/><g fill="{BLUE}" fill-opacity=".45">{dots}</g>'
        + _ticks((f"{low:.4g}", f"{high:.4g}"), size)
    )
    return _frame(size, body, x_label, y_label, title)


def _ticks(ends: tuple[str, str], size: int) -> str:
    low, high = (escape(e) for e in ends)
    return (
        f'<text x="0" y="{size + 14}">{low}</text><text x="{size}" y="{size + 14}" text-anchor="end">{high}</text>'
        f'<text x="-4" y="{size}" text-anchor="end">{low}</text><text x="-4" y="10" text-anchor="end">{high}</text>'
    )
