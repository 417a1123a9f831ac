"""What computes a network for the tracker: PyTorch, OpenVINO or ONNX Runtime, on a CPU or a GPU."""
