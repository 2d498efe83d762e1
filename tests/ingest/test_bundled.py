"""The bundled data is scikit-learn's own, read without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.core.datasets import read_table
from trimtab.core.errors import DataError
from trimtab.core.project import load_project
from trimtab.core.sources import SKLEARN
from trimtab.core.store import open_store
from trimtab.ingest.bundled import bundled_table
from trimtab.ingest.stage import IngestConfig, ingest

TARGETS = {
    "digits": "digit",
    "iris": "species",
    "wine": "cultivar",
    "breast_cancer": "diagnosis",
    "diabetes": "progression",
}


@pytest.mark.parametrize("name", SKLEARN)
def test_it_is_what_scikit_learn_loads(name: str) -> None:
    from sklearn import datasets

    options = {"scaled": False} if name == "diabetes" else {}
    want: Any = getattr(datasets, f"load_{name}")(**options)
    table = bundled_table(name)
    target = table[TARGETS[name]].to_pylist()
    if name == "diabetes":
        np.testing.assert_allclose(target, want.target)
    else:
        assert target == [str(want.target_names[i]) for i in want.target]
    if name == "digits":
        values = np.array(table["image"].to_pylist())
        assert table["image_id"][123].as_py() == "digit-000123"
    else:
        columns = [c for c in table.column_names if c not in (TARGETS[name], "row_id")]
        values = np.stack([np.array(table[c].to_pylist(), dtype=float) for c in columns], axis=1)
        assert len(columns) == len(want.feature_names)
    np.testing.assert_allclose(values, want.data)


def test_scikit_learn_is_not_imported(tmp_path: Path, root: Path) -> None:
    code = (
        "import sys; from trimtab.ingest.bundled import bundled_table; bundled_table('digits'); "
        "sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_a_stretch_and_a_permutation_of_the_digits(tmp_path: Path, root: Path) -> None:
    project = load_project(root / "examples" / "digits" / "project.yaml")
    store = open_store((tmp_path / "store").as_uri())

    def ids(**options: Any) -> list[str]:
        source = {"sklearn": "digits", **options}
        config = IngestConfig.model_validate({"name": "digits", "source": source, "schema": project.schema()})
        ingest(config, store, tmp_path / "data", tmp_path / "judge")
        return list(read_table(tmp_path / "data")["image_id"].to_pylist())

    assert ids(rows=[0, 276]) == [f"digit-{i:06d}" for i in range(276)]
    first, rest = ids(rows=[0, 276], order_seed=3), ids(rows=[276, 1797], order_seed=3)
    assert len({*first, *rest}) == 1797
    assert first == ids(rows=[0, 276], order_seed=3)
    assert first != ids(rows=[0, 276], order_seed=4)
    with pytest.raises(DataError, match=r"fewer rows.*got 1797"):
        ids(rows=[1797, 1800])
