"""Where versions serve, as commands are told: a place that cannot be reached from here is the user's mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.cli.actuators import make_actuator
from trimtab.core.errors import ProjectError
from trimtab.core.store import open_store


def test_a_cluster_that_is_not_named_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    store = open_store(tmp_path.as_uri())
    with pytest.raises(ProjectError, match="KUBECONFIG") as caught:
        make_actuator("kserve", "", store, "")
    assert caught.value.exit_code == 2
    with pytest.raises(ProjectError, match="--actuator"):
        make_actuator("elsewhere", "", store, "")
