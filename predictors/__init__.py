"""Predictors: fit measurements, predict numbers for architectures on a device."""
