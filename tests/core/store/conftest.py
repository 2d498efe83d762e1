"""Every implementation of the store, for the contract battery."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.servers.fixtures import S3

from trimtab.core.store import Store, open_store


@pytest.fixture(params=["folder", "minio", "moto"])
def anystore(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return open_store((tmp_path / "store").as_uri())
    found: S3 = request.getfixturevalue("moto" if request.param == "moto" else "s3")
    return found.store()
