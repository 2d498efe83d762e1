"""The server stays lean: what its processes import, and what its metrics are called."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.serving.bundles import Place, Running, running

from trimtab.client import Client
from trimtab.serving.supervisor import SHIPPER_ENVIRON

HEAVY = ["torch", "pandas", "kfp", "kserve", "evidently", "sklearn", "polars", "lightning", "onnx", "scipy"]


def imported(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def test_the_serving_process_imports_nothing_heavy_and_no_pyarrow() -> None:
    code = "import trimtab.serving.process, trimtab.serving.site, uvicorn, uvloop, httptools, onnxruntime"
    assert imported(code) & {*HEAVY, "pyarrow"} == set()


def test_until_it_answers_a_server_has_imported_no_more_than_it_needs() -> None:
    """Each of these would be a tenth of its start or more; pydantic comes with the page, afterwards."""
    code = """import trimtab.serving.process, trimtab.serving.follower
from trimtab.serving.lean import uvicorn_parts
uvicorn_parts()
import trimtab.serving.fast, trimtab.serving.protocol"""
    assert imported(code) & {"pydantic", "fastapi", "prometheus_client", "click", "multiprocessing", "minio"} == set()


def test_the_rest_of_uvicorn_comes_when_it_is_asked_for() -> None:
    code = """from trimtab.serving.lean import uvicorn_parts
config, server = uvicorn_parts()
import uvicorn
assert (uvicorn.Config, uvicorn.Server) == (config, server)
assert not hasattr(uvicorn, "__path_of_nothing__") and "click" not in sys.modules
assert uvicorn.__version__ and callable(uvicorn.run) and uvicorn.Server is server"""
    assert "click" in imported(code)


def test_a_loaded_server_has_not_imported_pyarrow_either(place: Place) -> None:
    place.serve("digits", "digits")
    with running(place, "digits") as server:
        server.get("/page.json")
        libraries = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "onnxruntime" in libraries
        assert "pyarrow" not in libraries
        assert "pandas" not in libraries


def test_a_working_shipper_has_not_imported_pandas_and_keeps_little_memory(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    place.serve("digits", "digits")
    with running(place, "digits") as server:
        with Client(server.url) as client:
            client.predict("digits", [[[0.0] * 8] * 8])
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="written") == 1)
        (shipper,) = server.children()
        libraries = Path(f"/proc/{shipper}/maps").read_text()
        environ = Path(f"/proc/{shipper}/environ").read_bytes().split(b"\0")
    assert "pyarrow" in libraries
    assert "pandas" not in libraries
    assert b"ARROW_DEFAULT_MEMORY_POOL=system" in environ  # Arrow takes it in silence, or not at all
    pool = "import pyarrow as pa; print(pa.default_memory_pool().backend_name)"
    told = {"PATH": "", **SHIPPER_ENVIRON}
    assert subprocess.run([sys.executable, "-c", pool], env=told, capture_output=True, text=True).stdout == "system\n"


def test_the_shipper_imports_nothing_heavy() -> None:
    assert imported("import trimtab.serving.shipper, trimtab.serving.tables") & set(HEAVY) == set()


def test_the_client_imports_neither_server_nor_pyarrow() -> None:
    assert imported("import trimtab.client") & {*HEAVY, "pyarrow", "onnxruntime", "fastapi", "uvicorn"} == set()


def test_metrics_have_the_names_that_alerts_use(digits: Running) -> None:
    with urllib.request.urlopen(digits.metrics_url, timeout=10) as answer:
        text = answer.read().decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE trimtab_")}
    assert names >= {
        "trimtab_server_requests_total",
        "trimtab_server_request_seconds",
        "trimtab_server_in_flight",
        "trimtab_server_predictions_total",
        "trimtab_log_rows_total",
        "trimtab_log_spool_bytes",
        "trimtab_labels_total",
        "trimtab_store_errors_total",
    }


def test_a_slow_scraper_holds_up_no_other(digits: Running) -> None:
    host, port = digits.metrics_url.removeprefix("http://").removesuffix("/metrics").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        assert digits.metric("trimtab_server_in_flight") == 0
        slow.sendall(b"more")
        assert digits.metric("trimtab_server_in_flight") == 0


def test_labels_of_predictions_are_bounded() -> None:
    from prometheus_client import CollectorRegistry

    from trimtab.serving.metrics import TOP_LABELS, Metrics
    from trimtab.serving.scrape import Scrape

    registry = CollectorRegistry()
    metrics = Metrics("m")
    Scrape(registry, "m", lambda: [metrics.dump()])
    for i in range(100):
        metrics.predicted("v1", f"class-{i}")
    values = {
        sample.labels["label"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "trimtab_server_predictions_total"
    }
    assert len(values) == TOP_LABELS + 1
    assert values["other"] == 100 - TOP_LABELS
    metrics.answered("v1", "v1", 200, 0.1)
    metrics.answered("", "v1", 400, 0.1)
    metrics.keep(["v2"])
    left = {s.labels.get("version") for f in registry.collect() for s in f.samples if "version" in s.labels}
    assert left == {""}
