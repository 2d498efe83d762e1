"""Images as the model sees them: the embedding that its graph gives, computed from rows of the log.

The reference's embeddings are those of rows that the served model was not fitted to (`_unseen`): a network embeds the
rows it learned from differently, and every window would look moved against those.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.core.errors import DataError

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

OUTPUT = "embedding"
# The column of embeddings, and that of the reference which says what the served model was not fitted to.
EMBEDDING, UNSEEN = "_embedding", "_unseen"
# A reference of fewer unseen rows has no embedding to compare with.
LEAST_ROWS = 50
BATCH = 1024
_log = logging.getLogger(__name__)


class Embedder:
    """Runs a model's graph up to its embedding.

    Args:
        model: the ONNX graph.
        schema: its fields.
    """

    def __init__(self, model: bytes, schema: Schema) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.schema = schema
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.gives = OUTPUT in {o.name for o in self._session.get_outputs()}

    def __call__(self, table: pa.Table) -> npt.NDArray[np.float32] | None:
        """Embeddings [n, dimensions] of rows; None where they cannot be computed."""
        if any(f.name not in table.column_names for f in self.schema.features):
            return None
        found = []
        try:
            for start in range(0, table.num_rows, BATCH):
                inputs: dict[str, Any] = self.schema.encode_table(table.slice(start, BATCH))
                out = np.asarray(self._session.run([OUTPUT], inputs)[0], np.float32)
                found.append(out.reshape(len(out), -1))
        except (DataError, ValueError, RuntimeError) as error:
            _log.warning("rows without an embedding: %s", error)
            return None
        return np.concatenate(found) if found else None


def of_version(model: bytes, schema: Schema, reference: pa.Table) -> Embedder | None:
    """The embedder of a version with images whose reference can be compared by it; else None."""
    images = any(f.kind == "image" and not f.private for f in schema.features)
    if not images or any(f.private for f in schema.features) or UNSEEN not in reference.column_names:
        return None
    if int(np.asarray(reference[UNSEEN]).sum()) < LEAST_ROWS:
        return None
    try:
        embedder = Embedder(model, schema)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common class; without it images are summarised
        _log.warning("the graph cannot be run for embeddings: %s", error)
        return None
    return embedder if embedder.gives else None
