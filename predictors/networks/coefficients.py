"""Names and prior of the coefficients of a sum of learnt costs, one per cost term."""

from __future__ import annotations

import numpy as np

WIDTHS = {"session": 0.5, "call": 0.5, "convolution": 0.6, "stem": 0.5, "roofline": 1.0, "depthwise": 1.0, "wide": 1.0,
          "pooling": 0.5, "dense": 0.3, "moved": 0.7, "weights": 0.7, "smooth": 0.6, "tanh": 0.35,
          "stepped": 0.6, "product": 0.4, "operation": 0.6}  # fmt: skip
"""Prior standard deviations of the logarithms of a device's coefficients, one per cost term: of `session` (ms per run)
and `call` (ms per piece); of factors of the layer predictors' latencies, of the rooflines of convolutions beside them
(a layer alone also rearranges its tensors) and of depthwise convolutions; of ms per byte that other ops move and per
byte of weights (which a layer alone finds in the cache); of ms per element of activations; and of factors of operations
with tables of their own, products and others, which runtimes may fuse with what is beside them. Chosen, like `LIKE`,
`learnt.DEPTHWISE` and the guess, by the errors of twenty random networks, each left out once."""

LIKE = {"stem": "convolution", "wide": "depthwise", "tanh": "smooth"}
"""Terms whose coefficient has that of another term as prior median (their width is that of the ratio): convolutions of
at most four channels (images); depthwise ones with windows of more than 25 elements, probably since XNNPACK has no
kernel for them; tanh."""

COEFFICIENTS = tuple(WIDTHS)

AT = {name: i for i, name in enumerate(COEFFICIENTS)}
"""Column of each term."""


def _prior() -> np.ndarray:
    """Covariance of the coefficients' logarithms [K, K]."""
    mixed = np.eye(len(WIDTHS))
    for name, other in LIKE.items():
        mixed[AT[name], AT[other]] = 1
    return mixed @ np.diag(np.square(list(WIDTHS.values()))) @ mixed.T


PRIOR = _prior()
