"""Take out of an image's packages what none of its processes loads: tests, headers, parts of pyarrow and torch."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

# pyarrow's Flight (RPC) and its own S3 client (the store has another), and what only building against it needs.
PYARROW = (
    *("libarrow_flight.*", "libarrow_python_flight.*", "_flight.*", "libarrow_s3.*", "_s3fs.*"),
    *("include", "src", "tests", "*.pyx", "*.pxd", "*.pxi", "includes", "_pyarrow_cpp_tests.*"),
    # The same library under three names; what links to it asks for `….so.<major>`.
    *("libarrow_python*.so", "libarrow_python*.so.*.*.*"),
)
# Examples of plots, and what a database driver is tested with.
REST = ("matplotlib/mpl-data/sample_data", "sqlalchemy/testing")
# Headers and static libraries: of use to a compiler alone, and there is none.
TORCH = ("include", "share/cmake", "test", "bin/protoc*", "bin/*test*", "lib/*.a")
# Packages whose own tests are a part worth having back.
TESTED = (
    *("fsspec", "joblib", "matplotlib", "networkx", "nltk", "numpy", "onnx", "pandas", "patsy", "plotly", "river"),
    *("scipy", "sklearn", "statsmodels", "sympy", "torchmetrics"),
)
ONNX = ("backend/test", "test")


def main(image: str) -> None:
    """Trim the packages of one image, and say how much that was."""
    site = Path(sysconfig.get_paths()["purelib"])
    chosen = [hit for pattern in PYARROW for hit in (site / "pyarrow").glob(pattern)]
    chosen += [hit for pattern in ONNX for hit in (site / "onnx").glob(pattern)]
    chosen += [site / place for place in REST]
    if image == "torch":
        chosen += [hit for pattern in TORCH for hit in (site / "torch").glob(pattern)]
        chosen += list((site / "nvidia").glob("**/include"))
    for package in TESTED:
        chosen += [hit for hit in (site / package).glob("**/tests") if hit.is_dir()]
    freed = sum(_remove(path) for path in chosen)
    print(f"{image}: trimmed {freed / 1e6:.0f} MB")


def _remove(path: Path) -> int:
    if not path.exists() and not path.is_symlink():
        return 0  # inside a folder that has gone already
    if path.is_dir() and not path.is_symlink():
        size = sum(file.lstat().st_size for file in path.rglob("*"))
        shutil.rmtree(path)
        return size
    size = path.lstat().st_size
    path.unlink()
    return size


if __name__ == "__main__":
    main(sys.argv[1])
