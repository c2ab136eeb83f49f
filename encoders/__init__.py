"""Encoders: pure functions from a noun (architectures, devices) to numpy arrays."""
