"""prometheus-adapter's rule for the autoscalers, put to a real Prometheus as the adapter puts it.

The adapter itself is not run: its documentation says how `seriesQuery` finds series and what `metricsQuery` becomes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.manifests.kustomize import MANIFESTS, build, named
from tests.servers.prometheus import PrometheusServer, wait_until
from tests.serving.bundles import Place, running

from trimtab.monitoring.kserve.inference_service import Shape
from trimtab.monitoring.kserve.scaling import METRIC, autoscaler

VALUES = MANIFESTS / "cluster" / "prometheus-adapter" / "values.yaml"
PODS = ("numbers-v1-predictor-a", "numbers-v1-predictor-b")
OWNER = {"apiVersion": "v1", "kind": "InferenceService", "metadata": {"name": "numbers", "uid": "1"}}


@pytest.fixture(scope="module")
def rule() -> dict[str, Any]:
    (found,) = yaml.safe_load(VALUES.read_text())["rules"]["custom"]
    return dict(found)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Scrapes two servers as the Prometheus operator does: each is a pod of a namespace."""
    folder = tmp_path_factory.mktemp("autoscaling")
    place = Place(folder / "place")
    place.serve("numbers", "numbers")
    with running(place, "numbers") as one, running(place, "numbers") as two:
        addresses = [r.metrics_url.split("/")[2] for r in (one, two)]
        server = PrometheusServer(folder / "prometheus", {})
        configured = folder / "prometheus" / "prometheus.yml"
        told = yaml.safe_load(configured.read_text())
        static = [
            {"targets": [address], "labels": {"namespace": "models", "pod": pod, "container": "kserve-container"}}
            for address, pod in zip(addresses, PODS, strict=True)
        ]
        told["scrape_configs"] = [{"job_name": "models/trimtab-server", "static_configs": static}]
        configured.write_text(yaml.safe_dump(told))
        server.start()
        try:
            wait_until(lambda: len(asked(server, METRIC)) == len(PODS), 60, "both are scraped")
            yield server
        finally:
            server.stop()


def asked(server: PrometheusServer, query: str) -> list[dict[str, Any]]:
    return list(server.get("/api/v1/query", query=query)["data"]["result"])


def test_its_series_are_found_under_the_name_that_autoscalers_ask_for(
    rule: dict[str, Any], prometheus: PrometheusServer
) -> None:
    series = prometheus.get("/api/v1/series", **{"match[]": rule["seriesQuery"]})["data"]
    assert {s["__name__"] for s in series} == {METRIC}
    # Without `name` the metric is offered as Prometheus calls it, for each resource whose label it has.
    assert "name" not in rule
    overrides = rule["resources"]["overrides"]
    assert all(set(overrides) <= set(s) for s in series)
    assert {o["resource"] for o in overrides.values()} == {"namespace", "pod"}
    body = autoscaler("numbers", "models", OWNER, Shape(2, 4), "numbers-v1-predictor")
    assert body is not None
    (metric,) = body["spec"]["metrics"]
    assert metric["pods"]["metric"] == {"name": METRIC, "selector": {"matchLabels": {"model": "numbers"}}}
    assert yaml.safe_load(VALUES.read_text())["rbac"]["customMetrics"]["resources"] == [f"pods/{METRIC}"]


def test_it_gives_one_number_for_each_pod(rule: dict[str, Any], prometheus: PrometheusServer) -> None:
    def of(pods: str, model: str) -> dict[str, str]:
        query = rule["metricsQuery"]
        matchers = f'namespace="models",pod=~"{pods}",model="{model}"'
        for name, value in {"Series": METRIC, "LabelMatchers": matchers, "GroupBy": "pod"}.items():
            query = query.replace(f"<<.{name}>>", value)
        return {one["metric"]["pod"]: one["value"][1] for one in asked(prometheus, query)}

    assert of("|".join(PODS), "numbers") == dict.fromkeys(PODS, "0")
    assert of(PODS[0], "numbers") == {PODS[0]: "0"}
    assert of("|".join(PODS), "digits") == {}


def test_it_asks_the_prometheus_that_cluster_up_installs() -> None:
    asked_at = yaml.safe_load(VALUES.read_text())["prometheus"]
    sources = named(build("manifests/overlays/local"), "ConfigMap", "trimtab-datasources")["data"]["trimtab.yaml"]
    urls = {s["type"]: s["url"] for s in yaml.safe_load(sources)["datasources"]}
    assert f"{asked_at['url']}:{asked_at['port']}" == urls["prometheus"]
