"""Built-in candidates of the project file in a simulation: trained by the stage's own code."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.monitoring.simulate.stream import Rows, Stream
from trimtab.monitoring.simulate.version import FOLDED_ROWS, Fit, Train

Floats = npt.NDArray[np.float64]
CANDIDATES = ("linear", "mlp", "cnn")
FOLDS = 4


def candidate(kind: str) -> Train:
    """Trains a built-in candidate: the honest predictions are the stage's.

    Args:
        kind: one of `CANDIDATES`.
    """

    def train(stream: Stream, rows: Rows, seed: int) -> Fit:
        import torch

        from trimtab.core.trained import probabilities
        from trimtab.prepare.folds import folds
        from trimtab.train.arrays import fit_arrays
        from trimtab.train.calibrate import temperature
        from trimtab.train.fits import predict

        torch.set_num_threads(1)
        prepared, truth, k = stream.prepared(rows), stream.truth[rows], len(stream.classes)
        x = np.ascontiguousarray(prepared.apply(stream.take(rows)), np.float32)
        scale = prepared.target
        y = truth if k else ((truth - scale.mean) / scale.scale).astype(np.float32)[:, None]
        parts = 1 if len(rows) > FOLDED_ROWS else FOLDS
        dealt = folds(truth if k else None, len(rows), parts, seed)
        fitted = fit_arrays(kind, x, y, dealt, k or 1, seed)
        hot = temperature(fitted.raw, y[fitted.rows]) if k else 1.0

        def answers(raw: npt.NDArray[Any]) -> Floats:
            if k:
                return np.asarray(probabilities(raw, hot), np.float64)
            return np.asarray(raw[:, 0], np.float64) * scale.scale + scale.mean

        def served(stream: Stream, rows: Rows) -> Floats:
            inputs = np.ascontiguousarray(prepared.apply(stream.take(rows)), np.float32)
            return answers(predict(fitted.module, torch.from_numpy(inputs), k or 1, kind))

        return Fit(served, rows[fitted.rows], answers(fitted.raw))

    return train
