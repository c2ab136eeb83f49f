"""Predictors that learn a device from a few measurements of it, and their study."""
