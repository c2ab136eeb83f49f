"""Predictors that learn a new device from few measurements, and their evaluation."""
