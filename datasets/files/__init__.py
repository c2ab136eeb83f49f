"""Files: networks of others (ONNX, Keras), reading what users name, writing whole or not at all."""
