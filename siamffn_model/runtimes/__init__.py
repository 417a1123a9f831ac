"""Inference engines that run a model for the tracker: PyTorch, OpenVINO and ONNX Runtime."""
