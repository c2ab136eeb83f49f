"""The commands of `python -m measure`: functions that read flags and call the modules of this package."""
