"""Searches for the best architecture under a budget; they use numbers, `Cost` and the predictors' interface."""
