"""The watch's metrics: the contract's names, bounded labels, the champion's version alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from tests.monitoring.stream import MODEL, Stream, draw
from tests.monitoring.world import Dying

from trimtab.core.errors import StoreError
from trimtab.core.store import Store
from trimtab.monitoring.drift import Moved
from trimtab.monitoring.metrics import FIELDS, WatchMetrics
from trimtab.monitoring.watch import Watch

# Name → labels, as everything that reads them expects.
NAMES = {
    "trimtab_watch_verdict": {"model", "version", "layer"},
    "trimtab_watch_field_effect_ratio": {"model", "version", "field"},
    "trimtab_watch_performance": {"model", "version", "metric", "kind"},
    "trimtab_watch_expected_errors_per_day": {"model", "version"},
    "trimtab_watch_calibration_error_ratio": {"model", "version"},
    "trimtab_watch_last_window_timestamp_seconds": {"model"},
    "trimtab_watch_last_look_timestamp_seconds": {"model"},
    "trimtab_watch_change_point_timestamp_seconds": {"model", "version"},
    "trimtab_watch_log_files": {"model", "outcome"},
    "trimtab_watch_log_files_missing": {"model"},
    "trimtab_watch_clock_skew_seconds": {"model"},
    "trimtab_labels_contradicted": {"model"},
    "trimtab_labels_coverage_ratio": {"model"},
    "trimtab_labels_delay_seconds": {"model"},
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def samples(registry: CollectorRegistry) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {m.name: [(s.labels, s.value) for s in m.samples] for m in registry.collect()}


def test_all_metrics_are_there_under_a_replay(store: Store, tmp_path: Path, registry: CollectorRegistry) -> None:
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(0)
    watch = Watch(store, MODEL, WatchMetrics(registry), clock=lambda: stream.now)
    for flip in (0.0, 0.3):
        stream.label(stream.answer(version, draw(rng, 100, flip=flip)), slice(0, 80))
        watch.step()
    found = samples(registry)
    assert {n: set(v[0][0]) for n, v in found.items()} == NAMES
    layers = {labels["layer"]: value for labels, value in found["trimtab_watch_verdict"]}
    assert layers == {"inputs": 0, "expected": 0, "realised": 2, "joined": 2, "calibration": 2}
    kinds = {labels["kind"]: value for labels, value in found["trimtab_watch_performance"]}
    assert kinds["realised"] < kinds["expected"] - 0.1
    assert found["trimtab_labels_coverage_ratio"][0][1] == pytest.approx(0.8)
    assert found["trimtab_labels_delay_seconds"][0][1] > 0
    began = found["trimtab_watch_change_point_timestamp_seconds"][0][1]
    assert began == pytest.approx(stream.now.timestamp() - 100, abs=60)
    assert found["trimtab_watch_expected_errors_per_day"][0][1] > 10_000


def test_a_version_that_left_leaves_the_registry(store: Store, tmp_path: Path, registry: CollectorRegistry) -> None:
    stream = Stream(store, tmp_path)
    rng = np.random.default_rng(1)
    watch = Watch(store, MODEL, WatchMetrics(registry), clock=lambda: stream.now)
    for seed in (0, 1):
        version = stream.publish(seed)
        stream.label(stream.answer(version, draw(rng, 100)))
        watch.step()
    versions = {labels["version"] for found in samples(registry).values() for labels, _ in found if "version" in labels}
    assert versions == {version}


def test_fields_are_bounded(store: Store, tmp_path: Path, registry: CollectorRegistry) -> None:
    stream = Stream(store, tmp_path)
    version = stream.publish()
    stream.answer(version, draw(np.random.default_rng(2), 100))
    (said,) = Watch(store, MODEL, clock=lambda: stream.now).step()
    metrics = WatchMetrics(registry)
    metrics.show(MODEL, said, [Moved(f"f{i}", i / 1000, "u", 1.0, "") for i in range(500)], None, stream.now)
    metrics.show(MODEL, said, [Moved(f"g{i}", i / 1000, "u", 1.0, "") for i in range(500)], None, stream.now)
    fields = [labels["field"] for labels, _ in samples(registry)["trimtab_watch_field_effect_ratio"]]
    assert len(fields) == FIELDS
    assert "g499" in fields


def test_a_restarted_watch_shows_what_was_said(store: Store, tmp_path: Path, registry: CollectorRegistry) -> None:
    stream = Stream(store, tmp_path)
    version = stream.publish()
    stream.label(stream.answer(version, draw(np.random.default_rng(3), 100)))
    Watch(store, MODEL, clock=lambda: stream.now).step()
    assert Watch(store, MODEL, WatchMetrics(registry), clock=lambda: stream.now).step() == []
    # Nothing began, so there is no change point to show.
    shown = {n for n, v in samples(registry).items() if v}
    assert shown == set(NAMES) - {"trimtab_watch_change_point_timestamp_seconds"}


def test_a_watch_that_fails_does_not_look_alive(store: Store, tmp_path: Path, registry: CollectorRegistry) -> None:
    """The gauge that tells a dead watch moves with successful looks alone, and rows of tomorrow do not move it."""
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(4)

    class Away(Dying):
        away = False

        def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
            if self.away and prefix.startswith("predictions/"):
                raise StoreError("away", object=prefix)
            return super().list(prefix, after)

    away = Away(store)
    now = stream.now
    watch = Watch(away, MODEL, WatchMetrics(registry), clock=lambda: now)
    stream.now = now + timedelta(hours=5)
    stream.answer(version, draw(rng, 100))
    assert len(watch.step()) == 1

    def value(name: str) -> float:
        return samples(registry)[name][0][1]

    looked = value("trimtab_watch_last_look_timestamp_seconds")
    assert looked == now.timestamp()
    assert value("trimtab_watch_last_window_timestamp_seconds") == now.timestamp()
    assert value("trimtab_watch_clock_skew_seconds") == pytest.approx(5 * 3600 + 99)
    away.away = True
    now += timedelta(minutes=5)
    with pytest.raises(StoreError):
        watch.step()
    assert value("trimtab_watch_last_look_timestamp_seconds") == looked


def test_files_of_the_log_are_counted(store: Store, tmp_path: Path, registry: CollectorRegistry) -> None:
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(5)
    watch = Watch(store, MODEL, WatchMetrics(registry), clock=lambda: stream.now)
    watch.step()
    outcomes = {labels["outcome"]: value for labels, value in counted(registry)}
    assert outcomes == {"read": 0, "late": 0, "unreadable": 0, "gone": 0}
    store.create(f"predictions/{MODEL}/{version}/2026-11-21T08/s-00000007.parquet", b"PAR1 torn")
    stream.answer(version, draw(rng, 100))
    watch.step()
    stream.answer(version, draw(rng, 50))
    stream.now += timedelta(minutes=5)
    watch.step()
    watch.step()
    outcomes = {labels["outcome"]: value for labels, value in counted(registry)}
    assert outcomes == {"read": 2, "late": 0, "unreadable": 1, "gone": 0}
    missing = {labels["model"]: value for labels, value in samples(registry)["trimtab_watch_log_files_missing"]}
    assert missing == {MODEL: 5}  # numbers 2 to 6: files 0, 1 and 7 are there


def counted(registry: CollectorRegistry) -> list[tuple[dict[str, str], float]]:
    return [
        (s.labels, s.value) for m in registry.collect() for s in m.samples if s.name == "trimtab_watch_log_files_total"
    ]
