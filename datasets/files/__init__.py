"""Files that others write, as architectures with their weights: ONNX, Keras."""
