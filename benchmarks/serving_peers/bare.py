"""The yardstick: uvicorn, uvloop, httptools and orjson around an ONNX Runtime session, and nothing else.

It reads V1 JSON at `/v1/…`, V2 JSON or V2 binary elsewhere; it checks nothing, counts nothing, logs nothing.

    python bare.py MODEL.onnx PORT
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn

NUMPY = orjson.OPT_SERIALIZE_NUMPY
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
NAME = session.get_inputs()[0].name
OUTPUTS = ["probabilities"]
JSON = (b"content-type", b"application/json")


async def app(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    body = message["body"]
    if message["more_body"]:
        parts = [body]
        while message["more_body"]:
            message = await receive()
            parts.append(message["body"])
        body = b"".join(parts)
    headers = [JSON]
    if scope["path"][:3] == "/v1":
        x = np.array(orjson.loads(body)["instances"], np.float32)
        out = session.run(OUTPUTS, {NAME: x})[0]
        answer = orjson.dumps({"predictions": out}, option=NUMPY)
    elif (head := dict(scope["headers"]).get(b"inference-header-content-length")) is None:
        tensor = orjson.loads(body)["inputs"][0]
        x = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        out = session.run(OUTPUTS, {NAME: x})[0]
        tensor = {"name": "probabilities", "datatype": "FP32", "shape": out.shape, "data": out.ravel()}
        answer = orjson.dumps({"model_name": "mlp", "outputs": [tensor]}, option=NUMPY)
    else:
        length = int(head)
        tensor = orjson.loads(body[:length])["inputs"][0]
        x = np.frombuffer(body, np.float32, offset=length).reshape(tensor["shape"])
        out = session.run(OUTPUTS, {NAME: x})[0]
        tensor = {
            "name": "probabilities", "datatype": "FP32", "shape": out.shape,
            "parameters": {"binary_data_size": out.nbytes},
        }  # fmt: skip
        said = orjson.dumps({"model_name": "mlp", "outputs": [tensor]})
        answer = said + out.tobytes()
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"inference-header-content-length", b"%d" % len(said)),
        ]
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % len(answer)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[2]), loop="uvloop", http="httptools", ws="none", lifespan="off", log_level="warning",
        access_log=False, server_header=False, date_header=False,
    )  # fmt: skip
