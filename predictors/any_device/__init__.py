"""Predictors that take the device as an input, and what an optimizer network learns from them."""
