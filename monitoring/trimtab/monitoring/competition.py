"""Candidate stretches of a real log compete before a retrain: everything, since the change, the newest windows.

A quick model learns from each and answers newer labelled rows, all of them before the rows that will judge, so that
the judge's evidence stays its own. The pipeline then trains once, on the winner's rows.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.core import datasets, logsource, preprocessing
from trimtab.core.bundle import read_manifest
from trimtab.core.errors import TrimtabError
from trimtab.core.records import rfc3339
from trimtab.core.schema import Schema
from trimtab.monitoring import learners
from trimtab.monitoring.gain import LEAST, Gain, Probe

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.champion import Published
    from trimtab.monitoring.choice import Choice, Times

Rows = npt.NDArray[np.int64]
# Rows of the champion's own data that enter, at most: an even sample of them.
BASE_ROWS = 20_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """What a competition found.

    Attributes:
        gain: the best stretch, and what it saves.
        rows: rows of the log in that stretch; with `gain.stretch.base` the champion's own come on top.
        ratio: what it saves a row: of all answers for classes, of the champion's error for numbers.
        classes: whether classes are predicted.
    """

    gain: Gain
    rows: int
    ratio: float
    classes: bool

    @property
    def words(self) -> str:
        """In words what it saves."""
        return f"{100 * self.ratio:.1f} more right answers in 100" if self.classes else f"{self.ratio:.1%} less error"


def competed(
    store: Store,
    model: str,
    about: Published,
    chosen: Choice,
    times: Times,
    change: datetime | None,
    labels_until: datetime,
) -> Choice:
    """A choice with its training rows replaced by those of the stretch that wins.

    Args:
        store: where log and datasets are.
        model: the model's name.
        about: the champion.
        chosen: what `choose` says; its judge's rows stay as they are.
        times: prediction times of the labelled rows that the champion has not seen, sorted.
        change: lower bound of the moment from which the new regime holds; None where none is known.
        labels_until: until when labels count.

    Returns:
        The choice as it was where the rows cannot be read, or are too few for a competition.
    """
    cut = int(np.searchsorted(times, _naive(chosen.judge_from)))
    start = int(np.searchsorted(times, _naive(chosen.since)))
    if about.dataset is None or cut - start < 2 * LEAST:
        return chosen
    seen = compared(store, model, about, (chosen.since, chosen.judge_from), change, labels_until)
    if seen is None:
        return chosen
    found = seen.gain
    stretch = found.stretch
    shown = f"quick models: {-found.mean:+.4f} loss a row against the champion's data, on {found.rows} newer rows"
    if stretch.base:
        return replace(chosen, base=True, why=f"{chosen.why}; {shown}")
    length = stretch.length * about.windows.rows
    first = max(start, cut - length) if stretch.length else int(np.searchsorted(times, _naive(change or chosen.since)))
    first = min(first, cut - 1)
    words = f"{cut - first} rows, {stretch.name}, alone; judged on the newest {chosen.judge_rows}; {shown}"
    since: datetime = times[first].astype("datetime64[us]").item().replace(tzinfo=chosen.since.tzinfo)
    return replace(chosen, since=since, base=False, train_rows=cut - first, why=words)


def compared(
    store: Store,
    model: str,
    about: Published,
    between: tuple[datetime, datetime],
    change: datetime | None,
    labels_until: datetime,
) -> Compared | None:
    """What other data would gain over the champion's, as quick models show it on the newest rows of a stretch.

    Args:
        store: where log and datasets are.
        model: the model's name.
        about: the champion.
        between: prediction times of the stretch, the end excluded.
        change: lower bound of the moment from which a new regime holds; None where none is known.
        labels_until: until when labels count.

    Returns:
        None where the rows cannot be read, or are too few for a competition.
    """
    if about.dataset is None:
        return None
    from sklearn import ensemble, linear_model  # noqa: F401 - threads are bounded in what is loaded
    from threadpoolctl import threadpool_limits

    try:
        # Small fits on as many threads as cores took 25 times the CPU of one, and the rollouts wait behind them.
        with threadpool_limits(1):
            return _competition(store, model, about, between, change, labels_until)
    except (TrimtabError, pa.ArrowException, ValueError) as error:
        # Private fields, a schema that has changed, a dataset that is gone: the rule of `choose` stands.
        _log.warning("candidate windows cannot compete: %s", error, extra={"model": model})
        return None


def _competition(
    store: Store,
    model: str,
    about: Published,
    between: tuple[datetime, datetime],
    change: datetime | None,
    labels_until: datetime,
) -> Compared | None:
    schema = _schema(store, model, about)
    base = _base(store, about, schema)
    stretch = {
        "model": model,
        "since": rfc3339(between[0]),
        "until": rfc3339(between[1]),
        "labels_until": rfc3339(labels_until),
    }
    log = pa.concat_tables(logsource.read_log(logsource.fix_log(stretch, store), store, schema).train)
    target = schema.target.name
    names = [f.name for f in schema.features] + [target]
    table = pa.concat_tables([base.select(names), log.select(names)], promote_options="permissive").combine_chunks()
    inputs = schema.encode_table(table)
    texts = table[target]
    if schema.target.kind == "category":
        classes = sorted({str(t) for t in texts.to_pylist()})
        index = {name: i for i, name in enumerate(classes)}
        truth: npt.NDArray[Any] = np.array([index[str(t)] for t in texts.to_pylist()], np.int64)
        k = len(classes)
    else:
        truth, k = np.asarray(texts.to_numpy(), np.float64), 0
    own = np.arange(base.num_rows)
    prepared = preprocessing.fit(schema, {n: v[own] for n, v in inputs.items()}, None if k else truth[own])
    x = prepared.apply(inputs).reshape(table.num_rows, -1)
    kind = learners.pick(x[own], truth[own], k)
    probe = Probe(
        lambda rows: learners.learn(kind, x[rows], truth[rows], k),
        lambda learnt, rows: learners.loss(learnt.predict(x[rows]), truth[rows]),
        about.windows.rows,
    )
    first = base.num_rows
    logged = np.asarray(log["_time"].cast(pa.int64()).to_numpy(), np.int64).astype("datetime64[us]")
    since = first + int(np.searchsorted(logged, _naive(change))) if change is not None else None
    found = probe.gain(own, table.num_rows, first, first, since)
    if found is None:
        return None
    rows = table.num_rows - (first if found.stretch.base else max(found.stretch.start, first))
    return Compared(found, rows, found.mean / (1.0 if k else max(found.own, 1e-12)), bool(k))


def _schema(store: Store, model: str, about: Published) -> Schema:
    read_manifest(store, model, about.version)
    return Schema.from_json(store.get(f"models/{model}/versions/{about.version}/schema.json"))


def _base(store: Store, about: Published, schema: Schema) -> pa.Table:
    """The champion's training rows, an even sample where there are many."""
    assert about.dataset is not None
    name, digest = about.dataset.split("/")
    with tempfile.TemporaryDirectory(prefix="trimtab-base-") as scratch:
        datasets.fetch_dataset(store, name, digest, Path(scratch))
        table = datasets.read_table(Path(scratch), [*(f.name for f in schema.features), schema.target.name])
    if table.num_rows > BASE_ROWS:
        table = table.take(pa.array(np.linspace(0, table.num_rows - 1, BASE_ROWS).astype(np.int64)))
    return table.filter(table[schema.target.name].is_valid())


def _naive(moment: datetime | None) -> np.datetime64:
    assert moment is not None
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
