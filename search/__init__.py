"""Searches: which architecture is best under a budget; they know numbers, `Cost` and the predictors' interface."""
