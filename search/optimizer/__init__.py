"""Approach 2 of "Scaling up DNN optimization for edge inference" (Lu et al., section 5): networks that have learnt to
optimize, and the predictor with the device as an input that they learn through."""
