"""The second shipped example runs whole; digits is the demo's, `own` has a test of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimtab.core import ledger
from trimtab.core.store import open_store

from .conftest import trimtab


@pytest.mark.campaign
def test_the_regression_example_is_trained_and_promoted(root: Path, tmp_path: Path) -> None:
    store_url = (tmp_path / "store").as_uri()
    command = trimtab(["run", str(root / "examples/diabetes/project.yaml"), "--json"], store_url, tmp_path / "home")
    out, err = command.communicate(timeout=250)
    assert command.returncode == 0, err
    facts = json.loads(out)
    assert facts["figures"]["passed"] is True
    assert ledger.state(open_store(store_url), "diabetes").champion == facts["version"]
