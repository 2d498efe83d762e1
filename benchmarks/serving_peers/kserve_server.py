"""KServe's own Python server with its defaults: `python kserve_server.py MODEL.onnx PORT GRPC_PORT`."""

from __future__ import annotations

import sys
from typing import Any

import kserve
import numpy as np
import onnxruntime as ort


class Mlp(kserve.Model):
    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    # ruff: noqa: ARG002
    def predict(self, payload: Any, headers: Any = None) -> Any:
        if isinstance(payload, dict):
            x = np.array(payload["instances"], np.float32)
            return {"predictions": self.session.run(["probabilities"], {"input": x})[0].tolist()}
        x = payload.inputs[0].as_numpy()
        out = self.session.run(["probabilities"], {"input": x})[0]
        tensor = kserve.InferOutput("probabilities", list(out.shape), "FP32")
        tensor.set_data_from_numpy(out, binary_data=payload.request_outputs is not None)
        return kserve.InferResponse(payload.id, self.name, [tensor])


if __name__ == "__main__":
    server = kserve.ModelServer(http_port=int(sys.argv[2]), grpc_port=int(sys.argv[3]))
    server.start([Mlp("mlp", sys.argv[1])])
