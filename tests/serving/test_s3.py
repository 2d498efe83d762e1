"""The server on a real S3: versions from it, logs to it, and an outage in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.servers.fixtures import S3, client, without
from tests.servers.minio import BINARY, MinioServer
from tests.servers.proxy import FaultyProxy
from tests.serving.bundles import Place, free_ports, running, starting

from trimtab.client import Client
from trimtab.core import labels, predictions
from trimtab.core.settings import S3Settings

IMAGES = [[[float(i)] * 8] * 8 for i in range(10)]


@pytest.mark.campaign
def test_a_killed_s3_costs_no_request_no_row_and_no_label(tmp_path: Path) -> None:
    if not BINARY.exists():
        without()
    server = MinioServer(tmp_path / "minio")
    server.start()
    try:
        port = int(server.endpoint.rpartition(":")[2])
        settings = S3Settings(server.endpoint, access_key=server.access_key, secret_key=server.secret_key)
        client(settings).make_bucket("trimtab")
        s3 = S3(settings, "s3://trimtab", server)
        place = Place(tmp_path, s3.environ("s3://trimtab/x"))
        version = place.serve("digits", "digits")
        with running(place, "digits") as ours:
            token = place.settings.token_file.read_text().strip()
            with Client(ours.url, token, retries=0) as asking:
                asking.predict("digits", IMAGES)
                ours.until(lambda: ours.metric("trimtab_log_rows_total", outcome="written") == 10)
                server.stop(hard=True)
                for _ in range(20):
                    prediction = asking.predict("digits", IMAGES)
                asking.feedback("digits", [{"id": prediction.ids[0], "value": 3}])
                ours.until(lambda: ours.metric("trimtab_log_rows_total", outcome="spooled") == 210)
                assert ours.metric("trimtab_log_rows_total", outcome="written") == 10
                server.start(port)
                ours.until(lambda: ours.metric("trimtab_log_rows_total", outcome="written") == 210)
                ours.until(lambda: ours.metric("trimtab_labels_total", outcome="written") == 1)
        log = predictions.read_files(place.store, predictions.list_files(place.store, "digits", version))
        told = labels.read_files(place.store, labels.list_files(place.store, "digits"))
        assert log.num_rows == len(set(log["_id"].to_pylist())) == 210
        assert labels.join_counted(log, told, "image_id").matched == 1
    finally:
        server.stop()


def test_a_store_without_conditional_create_ends_the_server_with_2(s3: S3, tmp_path: Path) -> None:
    with FaultyProxy(s3.settings.endpoint, then="ignore") as proxy:
        environ = {**s3.environ(s3.fresh()), "AWS_ENDPOINT_URL": proxy.endpoint}
        with starting(Place(tmp_path, environ), "digits") as server:
            assert server.process.wait(120) == 2
            assert "no conditional create" in server.log.read_text()
            assert "Traceback" not in server.log.read_text()


@pytest.mark.campaign
def test_a_server_starts_while_the_store_is_away_and_says_so(tmp_path: Path) -> None:
    environ = {
        "TRIMTAB_STORE": "s3://trimtab/x",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    with running(Place(tmp_path, environ), "digits", wait=False) as server:
        server.until(lambda: "store cannot be read" in server.get("/v2/health/ready")[1]["error"])
        assert server.get("/v2/health/live")[0] == 200
