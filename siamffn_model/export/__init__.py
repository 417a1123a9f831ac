"""Export of models to ONNX, OpenVINO and TorchScript, and quantisation."""
