"""Where rows come from: the forms a source may have, and fixing one so that it names exactly the same rows again.

`normalise` brings every form that a person may write into one: a list of objects with exactly one of the keys
`path`, `sklearn`, `dataset`, `log`. `resolve` adds what fixes the rows: files with their sha256, a package's version,
the list of log and label files; and gives the source digest, known before any stage runs.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import DataError, ProjectError, TrimtabError
from trimtab.core.records import canonical, parse_time

if TYPE_CHECKING:
    from trimtab.core.store import Store

SKLEARN = ("digits", "iris", "wine", "breast_cancer", "diabetes")
LOG_TIMES = ("since", "until", "judge_from", "labels_until")
KEYS: dict[str, tuple[str, ...]] = {
    "path": ("path", "delimiter", "encoding", "nulls", "rows", "files"),
    "sklearn": ("sklearn", "rows", "order_seed", "package"),
    "dataset": ("dataset",),
    "log": ("log",),
}
LOG_KEYS = ("model", *LOG_TIMES, "against", "files", "labels", "list", "digest")
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
INLINE_BYTES = 40_000  # a longer fixed list goes into the store: pipeline parameters end at 100 kB


@dataclass(frozen=True)
class Resolved:
    """A source with everything that fixes its rows.

    Attributes:
        source: `{"sources": [...]}`, JSON; give it to ingest.
        digest: sha256 over it (without machine paths), 32 hex.
    """

    source: dict[str, Any]
    digest: str


def _near(name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {near[0]!r}?" if near else f" (expected one of {', '.join(names)})"


def normalise(source: Any) -> list[dict[str, Any]]:
    """Any form of a source as a list of objects.

    Raises:
        ValueError: it is no source; the message says what is wrong and what was expected.

    >>> normalise("sklearn:iris")
    [{'sklearn': 'iris'}]
    >>> normalise(["people.csv", {"dataset": "a/b"}])
    [{'path': 'people.csv'}, {'dataset': 'a/b'}]
    """
    if isinstance(source, Mapping) and set(source) == {"sources"}:
        source = source["sources"]
    if isinstance(source, list):
        if not source:
            raise ValueError("the list of sources is empty")
        return [_one(item) for item in source]
    return [_one(source)]


def _one(source: Any) -> dict[str, Any]:
    if isinstance(source, str):
        for prefix in ("sklearn", "dataset"):
            if source.startswith(f"{prefix}:"):
                return _one({prefix: source.removeprefix(f"{prefix}:")})
        return _one({"path": source})
    if not isinstance(source, Mapping):
        raise ValueError(f"a source is text or an object, got {type(source).__name__}")
    kinds = [k for k in KEYS if k in source]
    if len(kinds) != 1:
        given = ", ".join(map(str, source)) or "nothing"
        raise ValueError(f"a source has exactly one of the keys {', '.join(KEYS)}; got {given}")
    kind = kinds[0]
    for key in source:
        if key not in KEYS[kind]:
            raise ValueError(f"a source of kind {kind} has no key {key!r}{_near(str(key), KEYS[kind])}")
    value = source[kind]
    if kind == "log":
        _check_log(value)
    elif not isinstance(value, str) or not value:
        raise ValueError(f"`{kind}` must be text, got {value!r}")
    if kind == "sklearn" and value not in SKLEARN:
        raise ValueError(f"scikit-learn's bundled data has no {value!r}{_near(value, SKLEARN)}")
    if kind == "dataset" and value.count("/") != 1:
        raise ValueError(f"a dataset is named <name>/<digest>, got {value!r}")
    _check_options(source)
    return dict(source)


def _check_options(source: Mapping[str, Any]) -> None:
    rows = source.get("rows")
    if rows is not None and not (
        isinstance(rows, list | tuple)
        and len(rows) == 2
        and all(type(r) is int for r in rows)
        and 0 <= rows[0] < rows[1]
    ):
        raise ValueError(f"`rows` is [first, end], e.g. [0, 276]; got {rows!r}")
    seed = source.get("order_seed")
    if seed is not None and (type(seed) is not int or seed < 0):
        raise ValueError(f"`order_seed` is a whole number from 0, got {seed!r}")
    delimiter = source.get("delimiter")
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1):
        raise ValueError(f"`delimiter` is one character, got {delimiter!r}")
    nulls = source.get("nulls")
    if nulls is not None and not (isinstance(nulls, list) and all(isinstance(n, str) for n in nulls)):
        raise ValueError(f"`nulls` is a list of texts, got {nulls!r}")


def _check_log(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError("`log` is an object with model, since, until or with list")
    for key in value:
        if key not in LOG_KEYS:
            raise ValueError(f"a log source has no key {key!r}{_near(str(key), LOG_KEYS)}")
    if "list" not in value and not isinstance(value.get("model"), str):
        raise ValueError("a log source names its `model`")
    for key in LOG_TIMES:
        if value.get(key):
            try:
                parse_time(value[key])
            except (TrimtabError, TypeError, AttributeError):
                raise ValueError(
                    f"`{key}` is an RFC 3339 time such as 2026-11-21T14:05:00Z, got {value[key]!r}"
                ) from None


def resolve(source: Any, store: Store, base: Path) -> Resolved:
    """Fix a source: the same result names the same rows for ever.

    Args:
        source: any form that `normalise` takes; an already resolved one comes back the same.
        store: where datasets, logs and labels are.
        base: folder that relative paths start from.

    Raises:
        ProjectError: it is no source.
        DataError: a file is missing or is no table, or the log has nothing there.
        NotFound: the store has no such dataset or list.
    """
    try:
        parts = normalise(source)
    except ValueError as error:
        raise ProjectError("the data source is wrong", object="data.source", got=str(error)) from None
    fix: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "path": lambda s: _files(s, base),
        "sklearn": _sklearn,
        "dataset": lambda s: _dataset(s, store),
        "log": lambda s: _log(s, store),
    }
    fixed = [fix[next(k for k in KEYS if k in part)](part) for part in parts]
    digest = hashlib.sha256(canonical([_identity(f) for f in fixed])).hexdigest()[:32]
    whole: dict[str, Any] = {"sources": fixed}
    return Resolved(whole, digest)


def _identity(source: dict[str, Any]) -> dict[str, Any]:
    """What of a fixed source says which rows it names: not where on this machine its files lie."""
    if "path" in source:
        kept = {k: v for k, v in source.items() if k not in ("path", "files")}
        return {**kept, "files": [f["sha256"] for f in source["files"]]}
    return source


def table_files(path: str, base: Path) -> list[Path]:
    """The files that a path names: itself, a folder's tables, or what a pattern matches, sorted by name.

    Raises:
        DataError: there is none, or it is no CSV or Parquet file.
    """
    full = Path(path).expanduser() if Path(path).expanduser().is_absolute() else base / path
    if full.is_dir():
        found = sorted(f for f in full.iterdir() if f.name.lower().endswith(TABLES))
    elif full.is_file():
        found = [full]
    else:
        found = sorted(Path(f) for f in glob.glob(str(full), recursive=True) if Path(f).is_file())  # noqa: PTH207
    if not found:
        near = difflib.get_close_matches(full.name, [f.name for f in full.parent.glob("*")], n=1)
        raise DataError(
            "there is no such file",
            object=path,
            expected=f"a CSV or Parquet file below {base}",
            hint=f"did you mean {near[0]!r}?" if near else "check the path in data.source",
        )
    for file in found:
        if not file.name.lower().endswith(TABLES):
            raise DataError(
                "not a kind of file that can be read",
                object=str(file),
                expected=", ".join(TABLES),
                got=file.suffix or "no suffix",
                hint="save it as CSV or Parquet",
            )
    return found


def _files(source: dict[str, Any], base: Path) -> dict[str, Any]:
    from trimtab.core.datasets import file_sha256

    if "files" in source:
        return source
    try:
        files = [
            {"path": str(f.resolve()), "sha256": file_sha256(f), "bytes": f.stat().st_size}
            for f in table_files(source["path"], base)
        ]
    except OSError as error:
        raise DataError("the file cannot be read", object=source["path"], got=error.strerror or str(error)) from None
    return {**source, "files": files}


def _sklearn(source: dict[str, Any]) -> dict[str, Any]:
    from importlib import metadata

    if "package" in source:
        return source
    try:
        return {**source, "package": metadata.version("scikit-learn")}
    except metadata.PackageNotFoundError:
        raise DataError(
            "scikit-learn is not installed",
            object=f"sklearn:{source['sklearn']}",
            hint="install it with: pip install 'trimtab[train]'",
        ) from None


def _dataset(source: dict[str, Any], store: Store) -> dict[str, Any]:
    from trimtab.core.datasets import MANIFEST, dataset_prefix

    name, digest = source["dataset"].split("/")
    if not store.exists(f"{dataset_prefix(name, digest)}/{MANIFEST}"):
        raise DataError("the store has no such dataset", object=f"dataset:{source['dataset']}")
    return source


def _log(source: dict[str, Any], store: Store) -> dict[str, Any]:
    from trimtab.core.logsource import fix_log

    fixed = fix_log(source["log"], store)
    body = canonical(fixed)
    if len(body) <= INLINE_BYTES or "list" in fixed:
        return {"log": fixed}
    digest = hashlib.sha256(body).hexdigest()[:32]
    key = f"datasets/{fixed['model']}/{digest}/log.json"
    store.create(key, body)
    return {"log": {"list": key, "digest": digest}}


def read_log_list(store: Store, key: str) -> dict[str, Any]:
    """The log source that a stored record or list holds.

    Raises:
        NotFound: there is none.
        DataError: it holds no log source.
    """
    try:
        raw = json.loads(store.get(key))
        raw = raw.get("log", raw)
        value = {k: raw[k] for k in LOG_KEYS if k in raw and k not in ("list", "digest")}
        _check_log(value)
    except (ValueError, AttributeError) as error:
        raise DataError("the stored list is no log source", object=key, got=str(error)) from None
    return value
