"""Predictors of whole networks, which add up the costs of their layers."""
