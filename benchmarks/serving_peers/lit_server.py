"""The ONNX model behind LitServe with its defaults: `python lit_server.py MODEL.onnx PORT`."""

import sys

import litserve
import numpy as np
import onnxruntime as ort


class Mlp(litserve.LitAPI):
    # Without annotations, as LitServe's own examples: it makes a request model of one that it finds.
    def setup(self, device):  # noqa: ARG002
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        return np.array(request["instances"], np.float32)

    def predict(self, x):
        return self.session.run(["probabilities"], {"input": x})[0]

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Mlp(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
