"""`trimtab serve` and `trimtab label` as a user meets them; a private key from request to join."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.serving.bundles import Place, running

from trimtab.client import Client
from trimtab.core import labels, predictions
from trimtab.core.errors import ProjectError
from trimtab.serving.listening import listen, listen_shared


def trimtab(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **place.environ}
    command = [sys.executable, "-m", "trimtab.cli.app", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)


def test_mistakes_end_in_a_sentence_and_exit_code_2(place: Place, tmp_path: Path) -> None:
    ended = trimtab(place, "serve", "--port", "0", "--metrics-port", "0")
    assert ended.returncode == 2
    assert "a store without models" in ended.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = trimtab(place, "serve", "digits", "--port", str(taken.getsockname()[1]))
    assert ended.returncode == 2
    assert "cannot listen there" in ended.stderr
    ended = trimtab(place, "serve", "digits", "--port", "99999")
    assert ended.returncode == 2
    assert "65535" in ended.stderr
    with pytest.raises(ProjectError, match="no such port"):
        listen("127.0.0.1", 99999)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        same = str(free.getsockname()[1])
    ended = trimtab(place, "serve", "digits", "--port", same, "--metrics-port", same)
    assert (ended.returncode, "cannot listen there" in ended.stderr) == (2, True)
    ended = trimtab(place, "serve", "digits", "--host", "a..b")
    assert (ended.returncode, "cannot listen there" in ended.stderr) == (2, True)
    ended = trimtab(place, "serve", "digits", "--drain-seconds", "inf")
    assert ended.returncode == 2
    (tmp_path / "file").write_text("")
    ended = trimtab(place, "serve", "digits", "--port", "0", "--metrics-port", "0", "--spool", str(tmp_path / "file"))
    assert ended.returncode == 2
    assert "spool cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_sets_of_workers_cannot_share_a_port() -> None:
    sockets, guard = listen_shared("127.0.0.1", 0, 2)
    port = sockets[0].getsockname()[1]
    with guard, sockets[0], sockets[1], pytest.raises(ProjectError, match="cannot listen there"):
        listen_shared("127.0.0.1", port, 2)
    again, guard = listen_shared("127.0.0.1", port, 1)
    guard.close()
    again[0].close()


def test_a_private_key_is_hashed_in_both_logs_and_joins(place: Place, tmp_path: Path) -> None:
    version = place.serve("demand", "hidden")
    rows = [{"a": 1, "b": 2, "c": 3, "d": None, "who": f"ann-{i}"} for i in range(3)]
    with running(place, "demand") as server:
        with Client(server.url, place.settings.token_file.read_text().strip()) as client:
            client.predict("demand", rows)
            client.feedback("demand", [{"key": "ann-0", "value": 1.5}])
        file = tmp_path / "labels.csv"
        file.write_text("who,y\nann-1,2.5\n")
        ended = trimtab(place, "label", str(file), "--key", "who", "--value", "y", "--json")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout) == {"model": "demand", "labels": 1, "left_out": 0, "files": 1}
    log = predictions.read_files(place.store, predictions.list_files(place.store, "demand", version))
    told = labels.read_files(place.store, labels.list_files(place.store, "demand"))
    assert not any("ann" in text for text in [*log["who"].to_pylist(), *told["_key"].to_pylist()])
    joined = labels.join(log, told, "who")
    assert joined["_truth"].to_pylist() == ["1.5", "2.5", None]
