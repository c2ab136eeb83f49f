"""Whole networks: a graph of ops with shapes (`network`), its weights and file (`model`), what it costs in theory
(`analysis`), how one is built op by op (`builder`)."""
