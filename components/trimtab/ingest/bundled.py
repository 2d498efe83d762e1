"""scikit-learn's bundled data sets, read from its files without importing it (which takes seconds).

Column names are scikit-learn's own in plain letters; every table has a `row_id` from the row's place in the file.
"""

from __future__ import annotations

import gzip
import io
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trimtab.core.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_IRIS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
_WINE = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280_od315",
    "proline",
)
_CANCER = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)
_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def _folder() -> Path:
    spec = util.find_spec("sklearn")
    places = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(places[0]) / "datasets" / "data" if places else Path()
    if not places or not folder.is_dir():
        raise DataError(
            "scikit-learn's bundled data was not found",
            object="sklearn",
            hint="install it with: pip install 'trimtab[train]'",
        )
    return folder


def _numbers(name: str, delimiter: str | None = ",") -> np.ndarray:
    """A gzipped text file of numbers, [n, k]."""
    with gzip.open(_folder() / name, "rt", encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=delimiter, dtype=np.float64, ndmin=2)


def _labelled(name: str) -> tuple[np.ndarray, list[str]]:
    """A CSV file whose first line names the classes and whose last column is the class's number."""
    text = (_folder() / name).read_text(encoding="utf-8")
    head, _, body = text.partition("\n")
    classes = head.strip().split(",")[2:]
    table = np.loadtxt(io.StringIO(body), delimiter=",", dtype=np.float64, ndmin=2)
    return table[:, :-1], [classes[int(c)] for c in table[:, -1]]


def bundled_table(name: str) -> pa.Table:
    """One of scikit-learn's bundled data sets in file order.

    - digits: `image` (list of 64 float32, 8 x 8, 0–16), `image_id` (`digit-000123`), `digit`
    - iris, wine, breast_cancer: their numbers, and `species`, `cultivar`, `diagnosis`
    - diabetes: ten measurements in raw units (`sex` is 1 or 2), and `progression`

    Args:
        name: one of `core.sources.SKLEARN`.

    Raises:
        DataError: scikit-learn is not installed.
    """
    import pyarrow as pa

    from trimtab.core.tables import IMAGE

    columns: dict[str, object] = {}
    if name == "digits":
        table = _numbers("digits.csv.gz")
        rows = len(table)
        offsets = np.arange(rows + 1, dtype=np.int32) * 64
        pixels = pa.array(table[:, :64].astype(np.float32).reshape(-1))
        columns["image"] = pa.ListArray.from_arrays(pa.array(offsets), pixels).cast(IMAGE)
        columns["image_id"] = [f"digit-{row:06d}" for row in range(rows)]
        columns["digit"] = [str(int(d)) for d in table[:, 64]]
        return pa.table(columns)
    if name == "diabetes":
        values = _numbers("diabetes_data_raw.csv.gz", None)
        columns = {n: values[:, i] for i, n in enumerate(_DIABETES)}
        columns["sex"] = [str(int(s)) for s in values[:, 1]]
        columns["progression"] = _numbers("diabetes_target.csv.gz", None)[:, 0]
    else:
        cancer = [f"{how}_{what}" for how in ("mean", "error", "worst") for what in _CANCER]
        file, names, target = {
            "iris": ("iris.csv", _IRIS, "species"),
            "wine": ("wine_data.csv", _WINE, "cultivar"),
            "breast_cancer": ("breast_cancer.csv", cancer, "diagnosis"),
        }[name]
        values, classes = _labelled(file)
        columns = {n: values[:, i] for i, n in enumerate(names)}
        columns[target] = classes
    columns["row_id"] = [f"{name.replace('_', '-')}-{row:06d}" for row in range(len(values))]
    return pa.table(columns)
