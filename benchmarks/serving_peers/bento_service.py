"""The ONNX model as a BentoML service: `BENCH_MODEL=MODEL.onnx bentoml serve bento_service:Mlp`."""

import os

import bentoml
import numpy as np
import onnxruntime as ort


@bentoml.service
class Mlp:
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])

    @bentoml.api
    def predict(self, instances: np.ndarray) -> np.ndarray:
        return self.session.run(["probabilities"], {"input": instances.astype(np.float32)})[0]
