"""Approach 2 of "Scaling up Deep Neural Network Optimization for Edge Inference" (Lu et al., 2020, section 5): networks
trained to optimize, and the differentiable predictor with the device as an input by which they are trained."""
