"""Where `trimtab hook` starts retrains: by the settings, whatever namespace its models serve in."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.cli.launchers import make_launcher
from trimtab.core.settings import load
from trimtab.core.store import open_store
from trimtab.pipelines.kubeflow_launcher import KubeflowLauncher


@pytest.mark.parametrize(("given", "found"), [("", "runs"), ("others", "others")])
def test_retrains_run_where_the_settings_or_the_option_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, found: str
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TRIMTAB_KUBEFLOW_NAMESPACE", "runs")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    made = make_launcher("kubeflow", given, open_store(tmp_path.as_uri(), load()), load())
    assert isinstance(made, KubeflowLauncher)
    assert made.kubeflow.access.namespace == found
