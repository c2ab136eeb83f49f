"""Whole networks: graphs of ops with shapes (`network`), their weights and files (`model`), their theoretical cost
(`analysis`), and networks built op by op (`builder`)."""
