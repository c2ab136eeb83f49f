"""Searches: which architecture is best under a budget; they know architectures, numbers and `Cost`, nothing else."""
