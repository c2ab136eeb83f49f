"""Encoders: pure functions from architectures or devices to numpy arrays."""
