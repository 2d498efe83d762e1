"""The prediction log and the labels, joined, for the one who looks again and again.

Files never change, so each is read once; only the columns that a decision needs are kept, and files that the last
question did not touch are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core import labels, predictions

if TYPE_CHECKING:
    from trimtab.core.store import Store

# A label may carry its sender's clock: files that arrived a little before the first prediction are read too.
SLACK = timedelta(hours=1)
_COLUMNS = ("_id", "_time", "_label", "_value", "_latency_ms")


class LogReader:
    """Reads one model's log.

    Args:
        store: where it lies.
        model: the model's name.
        key_field: the schema's field of kind `id`, by which labels may come; None without one.
    """

    def __init__(self, store: Store, model: str, key_field: str | None = None) -> None:
        self.store = store
        self.model = model
        self.key_field = key_field
        self._files: dict[str, pa.Table] = {}
        self._joined: tuple[object, pa.Table] | None = None

    def joined(self, since: datetime | None = None, versions: Sequence[str] | None = None) -> pa.Table:
        """Answered rows with what is known of their truth.

        Args:
            since: rows answered before are left out; None takes all.
            versions: whose rows; None takes every version that answered.

        Returns:
            Rows in order of time: `_id`, `_time`, `_version`, `_label` or `_value`, `_latency_ms`, `_truth` (text,
            null without label), `_labelled_at`, `_contradicted`. Empty (no columns) where nothing was answered.
        """
        names = list(versions) if versions is not None else predictions.versions(self.store, self.model)
        hour = f"{predictions.hour_of(since)}" if since else None
        files = {v: self._keys(f"predictions/{self.model}/{v}/", hour, v) for v in names}
        arrived = f"{predictions.hour_of(since - SLACK)}" if since else None
        after = f"labels/{self.model}/{arrived}" if arrived else None
        label_files = list(labels.list_files(self.store, self.model, after=after))
        question = (since, tuple(names), tuple(k for keys in files.values() for k in keys), tuple(label_files))
        if self._joined is not None and self._joined[0] == question:
            return self._joined[1]
        table = self._join(files, label_files, since)
        self._joined = (question, table)
        return table

    def _keys(self, prefix: str, hour: str | None, version: str) -> list[str]:
        return list(predictions.list_files(self.store, self.model, version, after=f"{prefix}{hour}" if hour else None))

    def _join(self, files: dict[str, list[str]], label_files: list[str], since: datetime | None) -> pa.Table:
        wanted = {*label_files, *(k for keys in files.values() for k in keys)}
        self._files = {k: t for k, t in self._files.items() if k in wanted}
        parts = []
        for version, keys in files.items():
            if keys:
                table = predictions.concat(list(self._read(keys)), f"the log of {self.model} {version}")
                parts.append(table.append_column("_version", pa.array([version] * table.num_rows, pa.string())))
        if not parts:
            return pa.table({})
        rows = predictions.concat(parts, f"the log of {self.model}")
        if since is not None:
            rows = rows.filter(pc.greater_equal(rows["_time"], pa.scalar(since, predictions.TIME)))
        rows = rows.sort_by([("_time", "ascending"), ("_id", "ascending")])
        known = labels.SCHEMA.empty_table()
        if label_files:
            known = predictions.concat(list(self._read_labels(label_files)), f"the labels of {self.model}")
        return labels.join(rows, known, self.key_field)

    def _read(self, keys: Iterable[str]) -> Iterable[pa.Table]:
        columns = [*_COLUMNS, *([self.key_field] if self.key_field else [])]
        for key in keys:
            if key not in self._files:
                self._files[key] = predictions.read_files(self.store, [key], columns)
            yield self._files[key]

    def _read_labels(self, keys: Iterable[str]) -> Iterable[pa.Table]:
        for key in keys:
            if key not in self._files:
                self._files[key] = labels.read_files(self.store, [key])
            yield self._files[key]
