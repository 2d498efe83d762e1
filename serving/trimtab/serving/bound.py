"""One row through a graph in buffers made once: for a small model half of a run is its arguments and results."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Bound:
    """Runs single rows, one thread at a time.

    Args:
        session: ONNX Runtime's.
        shapes: of one row of each input, all float32.
        output: the output's name.
        width: its columns.

    Raises:
        Exception: the graph cannot be bound so (ONNX Runtime's own error).
    """

    def __init__(self, session: Any, shapes: Mapping[str, tuple[int, ...]], output: str, width: int) -> None:
        self._session = session
        self._inputs = [(name, np.zeros((1, *shape), np.float32)) for name, shape in shapes.items()]
        self._output = np.zeros((1, width), np.float32)
        self._binding = session.io_binding()
        for name, buffer in self._inputs:
            self._binding.bind_input(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        self._binding.bind_output(output, "cpu", 0, np.float32, self._output.shape, self._output.ctypes.data)
        self._lock = threading.Lock()

    def run(self, tensors: Mapping[str, Array]) -> Array | None:
        """The output of one row, float32 [1, k]; None while another thread is here."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            for name, buffer in self._inputs:
                buffer[...] = tensors[name]
            self._session.run_with_iobinding(self._binding)
            return self._output.copy()
        finally:
            self._lock.release()
