"""The winner as one ONNX graph, proved equal to what was trained."""
