"""The watch's Prometheus metrics; of the champion's version alone."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from trimtab.core.records import parse_time
from trimtab.monitoring.drift import Moved
from trimtab.monitoring.performance import Realised
from trimtab.monitoring.verdict import ORDER
from trimtab.monitoring.windows import Verdict

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge

    from trimtab.monitoring.log_health import LogHealth

# Fields shown, at most: those that moved most.
FIELDS = 50


class WatchMetrics:
    """Gauges of one process, for any number of models.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"trimtab_{name}", text, ["model", *labels], registry=registry)

        self.verdict = gauge("watch_verdict", "0 none, 1 watch, 2 drift, by layer", "version", "layer")
        self.effect = gauge("watch_field_effect_ratio", "How far a field has moved, 0 to 1", "version", "field")
        self.performance = gauge(
            "watch_performance",
            "Performance of the newest window, its estimate, the reference",
            "version",
            "metric",
            "kind",
        )
        self.errors = gauge("watch_expected_errors_per_day", "Errors a day beyond the reference's", "version")
        self.calibration = gauge(
            "watch_calibration_error_ratio", "Mean gap of probability and share right beyond chance", "version"
        )
        self.last = gauge("watch_last_window_timestamp_seconds", "Time of the newest row that is in a window")
        self.look = gauge("watch_last_look_timestamp_seconds", "When the store was last looked at without trouble")
        self.since = gauge(
            "watch_change_point_timestamp_seconds", "When it began, while the verdict is not none", "version"
        )
        self.missing = gauge("watch_log_files_missing", "Log files that never turned up though later ones did")
        self.ahead = gauge("watch_clock_skew_seconds", "How far the newest rows are ahead of the watch's clock")
        self.files = Counter(
            "trimtab_watch_log_files", "Log files by what became of them", ["model", "outcome"], registry=registry
        )
        self.contradicted = gauge("labels_contradicted", "Rows of the newest windows with labels of different values")
        self.coverage = gauge("labels_coverage_ratio", "Share of the newest windows' rows with a label")
        self.delay = gauge("labels_delay_seconds", "Median time from a prediction to its label")
        self._fields: dict[tuple[str, str], set[str]] = {}
        self._counted: dict[tuple[str, str, str], int] = {}

    def looked(self, model: str, health: LogHealth | None, now: datetime) -> None:
        """The store was looked at without trouble.

        Args:
            model: the model.
            health: what is wrong with the log; None where nothing is followed yet.
            now: the time.
        """
        self.look.labels(model).set(_seconds(now))
        for outcome in ("read", "late", "unreadable", "gone"):
            child = self.files.labels(model, outcome)
            if health is not None:
                place = (model, health.version, outcome)
                child.inc(max(0, health.counts[outcome] - self._counted.get(place, 0)))
                self._counted[place] = health.counts[outcome]
        self.missing.labels(model).set(len(health.missing(now)) if health is not None else 0)
        self.ahead.labels(model).set(health.ahead.total_seconds() if health is not None else 0)

    def show(self, model: str, said: Verdict, fields: list[Moved], labels: Realised | None, now: datetime) -> None:
        """The newest verdict about a version.

        Args:
            model: the model.
            said: its champion's newest verdict.
            fields: every field as compared in that window.
            labels: what the newest window with labels shows.
            now: the time; rows dated ahead of it do not make a silent watch look alive.
        """
        version = said.version
        for layer, level in [*said.layers.items(), ("joined", said.verdict)]:
            self.verdict.labels(model, version, layer).set(ORDER.index(level))
        for kind in ("reference", "expected", "realised", "prequential"):
            value = (said.performance.get(kind) or {}).get("value")
            if value is not None:
                self.performance.labels(model, version, said.performance["metric"], kind).set(value)
        self.errors.labels(model, version).set(said.cost_per_day)
        if said.calibration is not None:
            self.calibration.labels(model, version).set(said.calibration["error"])
            self.verdict.labels(model, version, "calibration").set(ORDER.index(said.calibration["level"]))
        self.last.labels(model).set(min(_seconds(parse_time(said.last_time)), _seconds(now)))
        if said.since is not None and said.verdict != "none":
            self.since.labels(model, version).set(_seconds(parse_time(said.since["point"])))
        else:
            _remove(self.since, {"model": model, "version": version})
        self._show_fields(model, version, fields)
        if labels is not None and not math.isnan(labels.delay):
            self.delay.labels(model).set(labels.delay)

    def covered(self, model: str, ratio: float, contradicted: int) -> None:
        """Share of the newest windows' rows that have a label, and rows that have several that differ."""
        self.coverage.labels(model).set(ratio)
        self.contradicted.labels(model).set(contradicted)

    def forget(self, model: str, version: str) -> None:
        """A version that no longer serves leaves the registry."""
        for gauge in (self.verdict, self.effect, self.performance, self.errors, self.calibration, self.since):
            _remove(gauge, {"model": model, "version": version})
        self._fields.pop((model, version), None)

    def forget_model(self, model: str) -> None:
        """A model that is gone leaves the registry."""
        of_versions = (self.verdict, self.effect, self.performance, self.errors, self.calibration, self.since)
        of_model = (self.last, self.look, self.missing, self.ahead, self.files)
        for gauge in (*of_versions, *of_model, self.contradicted, self.coverage, self.delay):
            _remove(gauge, {"model": model})
        self._fields = {place: names for place, names in self._fields.items() if place[0] != model}
        self._counted = {place: count for place, count in self._counted.items() if place[0] != model}

    def _show_fields(self, model: str, version: str, fields: list[Moved]) -> None:
        kept = {f.name: f.effect for f in sorted(fields, key=lambda f: (f.p, -f.effect))[:FIELDS]}
        known = self._fields.setdefault((model, version), set())
        for name in known - kept.keys():
            self.effect.remove(model, version, name)
        for name, effect in kept.items():
            self.effect.labels(model, version, name).set(effect)
        self._fields[model, version] = set(kept)


def _remove(gauge: Gauge | Counter, labels: dict[str, str]) -> None:
    shown = {
        tuple(sample.labels[name] for name in gauge._labelnames)
        for sample in next(iter(gauge.collect())).samples
        if labels.items() <= sample.labels.items()
    }
    for values in shown:
        gauge.remove(*values)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
