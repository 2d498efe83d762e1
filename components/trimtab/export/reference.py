"""The reference sample and the recorded rows that travel with a version.

The reference has the columns of the prediction log (features as received, never a private one; `_label` or `_value`,
`_probabilities`), the target, and `_unseen`: what the watch compares later windows with. Its predictions are honest:
of rows that the predicting fit did not see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.prepared import Prepared
from trimtab.core.trained import PROBABILITIES, VALUE, Predictions, list_column

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]
LABEL = "_label"
UNSEEN = "_unseen"  # rows that the served model was not fitted to
EXPECTED_ROWS = 16
TOLERANCE = 1e-4  # another machine's kernels may sum in another order


def reference_table(data: Prepared, honest: Predictions, test: Array, most: int, seed: int) -> pa.Table:
    """The reference sample.

    Args:
        data: the prepared dataset.
        honest: predictions by folds.
        test: predictions of the test rows by the served model, which saw none of them.
        most: rows at most; a larger set is sampled.
        seed: of the sample.
    """
    import pyarrow as pa

    rows = np.concatenate([honest.rows, data.test_rows])
    unseen = np.concatenate([np.zeros(len(honest.rows), bool), np.ones(len(data.test_rows), bool)])
    predicted = np.concatenate([honest.prediction, test])
    if len(rows) > most:
        kept = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
        rows, predicted, unseen = rows[kept], predicted[kept], unseen[kept]
    order = np.argsort(rows, kind="stable")
    rows, predicted, unseen = rows[order], predicted[order], unseen[order]
    shown = [f.name for f in data.schema.features if not f.private]
    table = data.table.take(rows).select([*shown, data.schema.target.name])
    table = table.append_column(UNSEEN, pa.array(unseen))
    if data.schema.target.kind == "category":
        names = np.array(data.schema.target.classes, dtype=object)
        table = table.append_column(LABEL, pa.array(names[predicted.argmax(axis=1)].tolist(), pa.string()))
        return table.append_column(PROBABILITIES, list_column(predicted)).combine_chunks()
    return table.append_column(VALUE, pa.array(predicted, pa.float64())).combine_chunks()


def recorded_inputs(data: Prepared, seed: int) -> dict[str, Array]:
    """A few encoded rows to record outputs of; private features are left missing in them."""
    rng = np.random.default_rng(seed)
    n = min(EXPECTED_ROWS, data.table.num_rows)
    rows = np.sort(rng.choice(data.table.num_rows, n, replace=False))
    inputs = {name: tensor.copy() for name, tensor in data.take(rows).items()}
    numbers = [f.name for f in data.schema.features]
    for field in data.schema.features:
        if not field.private:
            continue
        if data.schema.single_input:
            inputs["input"][:, numbers.index(field.name)] = np.nan
        else:
            inputs[field.name][:] = {"number": np.nan, "category": "", "image": 0.0}[field.kind]
    return inputs


def expected(inputs: dict[str, Array], outputs: dict[str, Array]) -> dict[str, Any]:
    """What `expected.json` says: inputs by tensor (null for NaN), outputs by name, tolerance."""
    return {
        "inputs": {name: _plain(tensor) for name, tensor in inputs.items()},
        "outputs": {name: np.asarray(tensor, np.float64).tolist() for name, tensor in outputs.items()},
        "tolerance": TOLERANCE,
    }


def _plain(tensor: Array) -> Any:
    if tensor.dtype == object:
        return tensor.tolist()
    values = tensor.astype(np.float64).astype(object)
    values[np.isnan(tensor)] = None
    return values.tolist()
