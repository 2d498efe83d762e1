"""Draws docs/architecture.svg: `python docs/architecture.py`. Plain SVG, the same text each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).with_suffix(".svg")
WIDTH, HEIGHT = 1180, 720
INK, SOFT, PAPER = "#1b2733", "#5c6b7a", "#ffffff"
# Ours, Kubeflow's and KServe's, monitoring's, the store.
OURS, THEIRS, SEEN, KEPT = "#0b7285", "#5f3dc4", "#b35900", "#2b6a30"


@dataclass(frozen=True)
class Box:
    """A process: name, what it does, place, colour."""

    x: int
    y: int
    title: str
    words: tuple[str, ...]
    colour: str
    width: int = 190
    height: int = 78

    def side(self, which: str) -> tuple[int, int]:
        """The middle of a side: left, right, top, bottom."""
        across = {"left": 0, "right": self.width}.get(which, self.width // 2)
        down = {"top": 0, "bottom": self.height}.get(which, self.height // 2)
        return self.x + across, self.y + down


AREAS = (
    (20, 60, 250, 640, "kubeflow", "runs' pods and Kubeflow's own"),
    (290, 60, 600, 640, "your namespace", "one watch and one hook for all its models"),
    (910, 60, 250, 410, "monitoring", "Prometheus operator, Grafana"),
    (910, 490, 250, 210, "gateway", "Envoy Gateway, KServe's controller"),
)
BOXES = {
    "api": Box(50, 130, "Kubeflow Pipelines", ("API behind a proxy", "that checks tokens"), THEIRS),
    "run": Box(50, 300, "a run's pods", ("define … train … publish", "a container a stage"), THEIRS),
    "store": Box(
        330, 590, "store (MinIO, any S3)", ("datasets, models, ledger, predictions, labels, windows",), KEPT, 520, 66
    ),
    "hook": Box(330, 130, "hook", ("campaigns, judge,", "rollout controller"), OURS),
    "watch": Box(660, 130, "watch", ("windows, verdicts, cost",), OURS),
    "isvc": Box(330, 300, "InferenceService", ("written by the hook alone", "(trimtab-rollout)"), THEIRS),
    "champion": Box(660, 285, "server: champion", ("one version, signed", "log by a bounded queue"), OURS),
    "canary": Box(660, 430, "server: canary", ("the next version,", "a share of requests"), OURS),
    "prometheus": Box(940, 130, "Prometheus", ("server, watch, hook", "every 15 s"), SEEN),
    "alertmanager": Box(940, 250, "Alertmanager", ("drift → hook", "pages → people"), SEEN),
    "grafana": Box(940, 370, "Grafana", ("five dashboards",), SEEN),
    "gateway": Box(940, 560, "Gateway", ("HTTPRoute: shares", "of champion and canary"), THEIRS),
}
Arrow = tuple[tuple[str, str], tuple[str, str], str, tuple[int, int]]
ARROWS: tuple[Arrow, ...] = (
    (("hook", "left"), ("api", "right"), "submit", (285, 160)),
    (("api", "bottom"), ("run", "top"), "starts", (165, 260)),
    (("hook", "bottom"), ("isvc", "top"), "server-side apply", (448, 268)),
    (("watch", "left"), ("hook", "right"), "alarm", (590, 162)),
    (("prometheus", "left"), ("watch", "right"), "scrapes", (880, 160)),
    (("prometheus", "bottom"), ("alertmanager", "top"), "rules", (1040, 235)),
)
# Longer ways, by their points.
WAYS: tuple[tuple[tuple[tuple[int, int], ...], str, tuple[int, int]], ...] = (
    (((940, 285), (920, 285), (920, 240), (370, 240), (370, 208)), "webhook, token", (740, 234)),
    (((1130, 409), (1148, 409), (1148, 169), (1130, 169)), "queries", (1120, 233)),
    (((145, 378), (145, 623), (330, 623)), "artifacts, bundle", (200, 612)),
    (((520, 190), (540, 190), (540, 590)), "ledger, campaigns", (540, 500)),
    (((850, 190), (868, 190), (868, 623), (850, 623)), "windows", (846, 560)),
    (((755, 508), (755, 590)), "bundle in, predictions out", (680, 556)),
    (((520, 325), (660, 325)), "KServe makes pods", (595, 290)),
    (((620, 325), (620, 469), (660, 469)), "", (0, 0)),
    (((940, 599), (898, 599), (898, 325), (850, 325)), "requests", (898, 400)),
    (((898, 469), (850, 469)), "", (0, 0)),
)


def drawn() -> str:
    """The picture."""
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            'font-family="Helvetica, Arial, sans-serif" role="img" aria-labelledby="title">'
        ),
        '<title id="title">Trimtab on a Kubernetes cluster: which process runs where, and who speaks to whom</title>',
        (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{SOFT}"/></marker></defs>'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
        _text(20, 38, "Trimtab on a cluster", 22, INK, weight="bold"),
        *(part for area in AREAS for part in _area(*area)),
        *(_line(_points(start, end)) for start, end, _, _ in ARROWS),
        *(_line(points) for points, _, _ in WAYS),
        *(part for box in BOXES.values() for part in _box(box)),
        *(_label(words, place) for _, _, words, place in ARROWS if words),
        *(_label(words, place) for _, words, place in WAYS if words),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _points(start: tuple[str, str], end: tuple[str, str]) -> tuple[tuple[int, int], ...]:
    return BOXES[start[0]].side(start[1]), BOXES[end[0]].side(end[1])


def _area(x: int, y: int, width: int, height: int, name: str, words: str) -> list[str]:
    return [
        (
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="#f4f6f8" stroke="#c5ced6" '
            'stroke-dasharray="6 4"/>'
        ),
        _text(x + 14, y + 24, name, 15, INK, weight="bold"),
        _text(x + 14, y + 43, words, 12, SOFT),
    ]


def _box(box: Box) -> list[str]:
    middle = box.x + box.width // 2
    return [
        (
            f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="7" fill="{PAPER}" '
            f'stroke="{box.colour}" stroke-width="2"/>'
        ),
        _text(middle, box.y + 25, box.title, 15, box.colour, anchor="middle", weight="bold"),
        *(_text(middle, box.y + 45 + 17 * n, line, 12, INK, anchor="middle") for n, line in enumerate(box.words)),
    ]


def _line(points: tuple[tuple[int, int], ...]) -> str:
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    return f'<path d="{path}" fill="none" stroke="{SOFT}" stroke-width="1.6" marker-end="url(#head)"/>'


def _label(words: str, place: tuple[int, int]) -> str:
    x, y = place
    width = 7 * len(words) + 8
    back = f'<rect x="{x - width // 2}" y="{y - 12}" width="{width}" height="17" rx="3" fill="{PAPER}" opacity="0.9"/>'
    return back + _text(x, y, words, 12, SOFT, anchor="middle")


def _text(x: int, y: int, words: str, size: int, colour: str, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


if __name__ == "__main__":
    TARGET.write_text(drawn())
