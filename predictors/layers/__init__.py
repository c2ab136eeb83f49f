"""Predictors of single layers, and networks as sums of their layers."""
