"""The commands of `python -m gnomon`: functions that read flags and call the other modules."""
