"""Predictors of single layers."""
