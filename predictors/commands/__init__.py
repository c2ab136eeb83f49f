"""The commands of `python -m predictors`, by what they are for."""
