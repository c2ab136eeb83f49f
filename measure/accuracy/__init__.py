"""Accuracies of architectures on a small task of this project."""
