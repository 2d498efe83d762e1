"""Numbers of one or several workers as Prometheus' metrics, made when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from trimtab.serving.families import FAMILIES, OF_VERSION, REQUESTS, SECONDS, Family
from trimtab.serving.metrics import BUCKETS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Values = dict[tuple[str, ...], float]


class Scrape(Collector):
    """Exports what workers have counted.

    Args:
        registry: where it is exported.
        model: the model's name.
        dumps: what `Metrics.dump` gave, of each worker; of one that ended, what `ended` made of its last one.
    """

    def __init__(self, registry: CollectorRegistry, model: str, dumps: Callable[[], Iterable[dict[str, Any]]]) -> None:
        self._model, self._dumps = model, dumps
        registry.register(self)

    def describe(self) -> list[Metric]:
        """The families without samples, so that registering asks nobody."""
        return list(self._families([]))

    def collect(self) -> Iterator[Metric]:
        """The families with all workers' numbers."""
        return self._families(list(self._dumps()))

    def _families(self, dumps: list[dict[str, Any]]) -> Iterator[Metric]:
        serving = {"", *(version for dump in dumps for version in dump["versions"])}
        yield from self._answers(dumps, serving)
        for family in FAMILIES:
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            made = kind(family.name, family.help, labels=family.names)
            first = [self._model] if family.of_model else []
            for labels, value in _joined(family, dumps).items():
                if family.name not in OF_VERSION or labels[0] in serving:
                    made.add_metric([*first, *labels], value)
            yield made

    def _answers(self, dumps: list[dict[str, Any]], serving: set[str]) -> Iterator[Metric]:
        names = ["model", "version", "protocol"]
        requests = CounterMetricFamily(REQUESTS, "Requests answered.", labels=[*names, "code"])
        seconds = HistogramMetricFamily(SECONDS, "Time from a request's arrival to its answer.", labels=names)
        counts: dict[tuple[str, str, int], int] = {}
        times: dict[tuple[str, str], tuple[list[int], float]] = {}
        for dump in dumps:
            for version, protocol, code, took, buckets in dump["answers"]:
                if version not in serving:
                    continue
                counts[version, protocol, code] = counts.get((version, protocol, code), 0) + sum(buckets)
                known, total = times.get((version, protocol), ([0] * (len(BUCKETS) + 1), 0.0))
                times[version, protocol] = [a + b for a, b in zip(known, buckets, strict=True)], total + took
        for (version, protocol, code), count in counts.items():
            requests.add_metric([self._model, version, protocol, str(code)], count)
        for (version, protocol), (found, total) in times.items():
            seconds.add_metric([self._model, version, protocol], _cumulative(found), total)
        yield requests
        yield seconds


def ended(dump: dict[str, Any]) -> dict[str, Any]:
    """What stays of a worker that ended: its counters, for as long as another worker knows their versions."""
    counters = {family.name for family in FAMILIES if family.kind == "counter"}
    values = {name: found for name, found in dump["values"].items() if name in counters}
    return {**dump, "versions": [], "values": values}


def added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two dumps of `ended` workers as one, so that what the dead have counted does not grow with their number."""
    answers = {tuple(row[:3]): row for row in one["answers"]}
    for version, protocol, code, took, buckets in other["answers"]:
        known = answers.get((version, protocol, code))
        total = [a + b for a, b in zip(known[4], buckets, strict=True)] if known else buckets
        answers[version, protocol, code] = [version, protocol, code, took + (known[3] if known else 0.0), total]
    values: dict[str, list[Any]] = {}
    for name in {*one["values"], *other["values"]}:
        sums: Values = {}
        for labels, value in [*one["values"].get(name, ()), *other["values"].get(name, ())]:
            sums[tuple(labels)] = sums.get(tuple(labels), 0.0) + value
        values[name] = [[list(labels), value] for labels, value in sums.items()]
    return {"versions": [], "answers": list(answers.values()), "values": values}


def _joined(family: Family, dumps: list[dict[str, Any]]) -> Values:
    """One family's numbers of all workers: added up, or the largest where each tells of the same thing."""
    found: Values = dict.fromkeys(family.zero, 0.0)
    for dump in dumps:
        for labels, value in dump["values"].get(family.name, ()):
            key = tuple(labels)
            found[key] = max(found.get(key, 0.0), value) if family.kind == "state" else found.get(key, 0.0) + value
    return found


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
