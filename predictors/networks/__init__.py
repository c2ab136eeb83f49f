"""Predictors of whole networks, by what their layers cost."""
