"""Sources: every form a person may write, and what fixes their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trimtab.core.errors import DataError, ProjectError
from trimtab.core.sources import normalise, resolve
from trimtab.core.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (3, "text or an object"),
        ({}, "exactly one of the keys"),
        ({"path": 3}, "must be text"),
        ("sklearn:irs", "did you mean 'iris'"),
        ("dataset:x", "<name>/<digest>"),
        ({"sklearn": "iris", "rows": [5, 5]}, r"\[first, end\]"),
        ({"sklearn": "iris", "rows": [0, 1.5]}, r"\[first, end\]"),
        ({"sklearn": "iris", "order_seed": True}, "whole number"),
        ({"path": "a.csv", "delimiter": ";;"}, "one character"),
        ({"path": "a.csv", "nulls": "x"}, "list of texts"),
        ({"path": "a.csv", "row": [0, 1]}, "did you mean 'rows'"),
        ({"log": "x"}, "an object"),
        ({"log": {}}, "names its `model`"),
        ({"log": {"model": "m", "until": "2026-11-21T10:00:00"}}, "RFC 3339"),
        ([["a.csv"]], "text or an object"),
    ],
)
def test_what_is_no_source(source: Any, words: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        normalise(source)
    with pytest.raises(ProjectError, match=words):
        resolve(source, store, tmp_path)


def test_files_are_fixed_by_their_content(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.csv", "a.csv", "notes.txt"):
        (tmp_path / "in" / name).write_text(f"x,y\n{name},1\n")
    folder = resolve("in", store, tmp_path)
    pattern = resolve("in/*.csv", store, tmp_path)
    names = [Path(f["path"]).name for f in folder.source["sources"][0]["files"]]
    assert names == ["a.csv", "b.csv"]
    assert folder.digest == pattern.digest, "a source is what its rows are, not how they were named"
    assert resolve(folder.source, store, Path("/")) == folder
    (tmp_path / "in" / "a.csv").write_text("x,y\nother,1\n")
    assert resolve("in", store, tmp_path).digest != folder.digest
    semicolons = resolve({"path": "in", "delimiter": ";"}, store, tmp_path)
    assert semicolons.digest != resolve("in", store, tmp_path).digest
    json.dumps(folder.source)
    with pytest.raises(DataError, match="not a kind of file"):
        resolve("in/notes.txt", store, tmp_path)
    with pytest.raises(DataError, match="no such file"):
        resolve("in/c.csv", store, tmp_path)


def test_bundled_data_is_fixed_by_name_rows_order_and_package(store: Store, tmp_path: Path) -> None:
    digests = {
        resolve(source, store, tmp_path).digest
        for source in (
            "sklearn:iris",
            {"sklearn": "iris", "rows": [0, 10]},
            {"sklearn": "iris", "rows": [0, 10], "order_seed": 1},
            "sklearn:wine",
        )
    }
    assert len(digests) == 4
    assert resolve("sklearn:iris", store, tmp_path) == resolve({"sklearn": "iris"}, store, tmp_path)
    with pytest.raises(DataError, match="no such dataset"):
        resolve("dataset:iris/0000", store, tmp_path)
