"""Write a trained model's folder: weights, description, network, and rows with torch's own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trimtab.core.records import canonical
from trimtab.core.trained import MODEL, NETWORK, PARITY, PROBABILITIES, VALUE, WEIGHTS, TrainedModel, list_column
from trimtab.train.network import write_network

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.prepared import Prepared

Array = np.ndarray[Any, Any]
PARITY_ROWS = 1000
UNSEEN = "never seen before"


def save(module: Any, model: TrainedModel, data: Prepared, out: Path) -> None:
    """Write everything but the predictions.

    Args:
        module: trained, in eval mode, on the CPU.
        model: its description.
        data: what it was trained on.
        out: folder, which is there.

    Raises:
        ModelError: the network cannot be written as ONNX.
    """
    import pyarrow.parquet as pq
    from safetensors.torch import save as tensors

    from trimtab.train.fits import weights

    (out / WEIGHTS).write_bytes(tensors(weights(module)))
    (out / MODEL).write_bytes(canonical(model.model_dump(mode="json")))
    write_network(module, model.shape, model.outputs, out / NETWORK, model.name)
    rows = parity_rows(data, model.seed)
    x = torch.from_numpy(data.preprocessing.apply(data.schema.encode_table(rows)))
    with torch.no_grad():
        raw = module(x)
        if model.task == "classification":
            rows = rows.append_column(PROBABILITIES, list_column(torch.softmax(raw / model.temperature, 1).numpy()))
        else:
            value = raw[:, 0] * np.float32(model.target.scale) + np.float32(model.target.mean)
            rows = rows.append_column(VALUE, [value.double().numpy()])
    pq.write_table(rows, out / PARITY, compression="zstd", compression_level=1)


def parity_rows(data: Prepared, seed: int, n: int = PARITY_ROWS) -> pa.Table:
    """Rows to compare two computations on: drawn from the data, half of them changed a little.

    Numbers and images get noise, nullable fields some nulls, categories some values that were never seen.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rng = np.random.default_rng(seed)
    table = data.table.take(rng.integers(0, data.table.num_rows, n)).select([f.name for f in data.schema.features])
    for i, field in enumerate(data.schema.features):
        column = table.column(field.name).combine_chunks()
        if field.kind == "number":
            values = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False)
            spread = float(np.nanstd(values)) if np.isfinite(values).any() else 1.0
            changed = np.where(rng.random(n) < 0.5, values + rng.normal(0, 0.1, n) * spread, values)
            null = np.isnan(changed) | ((rng.random(n) < 0.05) if field.nullable else False)
            column = pa.array(changed, pa.float64(), mask=null)
        elif field.kind == "category":
            column = pc.if_else(pa.array(rng.random(n) < 0.05), UNSEEN, column.cast(pa.string()))
            if field.nullable:
                column = pc.if_else(pa.array(rng.random(n) < 0.05), pa.scalar(None, pa.string()), column)
        else:
            pixels = column.flatten().to_numpy(zero_copy_only=False).reshape(n, -1)
            noise = rng.normal(0, 0.1, pixels.shape) * max(float(pixels.std()), 1e-6)
            column = list_column(np.where(rng.random((n, 1)) < 0.5, pixels + noise, pixels))
        table = table.set_column(i, field.name, column)
    return table
