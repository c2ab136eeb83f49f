"""Bayesian model averaging of linear models on blocks of features (Hoeting et al., "Bayesian Model Averaging: A
Tutorial", 1999): from few labels nobody knows which source devices resemble a new device, or whether any does."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

DEGREES = 4.0
"""Degrees of freedom of the Student-t noise; heavy tails, so one outlier among ten labels moves the fit little."""
ROUNDS = 3
"""Number of times that the weights of samples and the variances are updated after the first fit."""
CENTRE = {"sources": -0.7, "first": -3.0, "middle": -3.0, "last": -3.5, "constant": -2.0, "noise": -3.5}
"""Means of the logarithms of the variances, in units of the labels' variance: of the sources, of the first (FLOPs),
last (decisions) and other blocks of the vector, of the constant and of the noise."""
SPREADS = {"sources": 1.0, "first": 1.25, "middle": 1.5, "last": 1.5, "constant": 1.0, "noise": 1.5}
"""Standard deviations of these logarithms."""
KINDS = {"none": 0.6, "all": 0.15, "one": 0.1, "one alone": 0.15}
"""Prior probabilities of what a model learns from the sources: nothing, all of them alike, one of them, or one of them
and little of the vector (`ALONE`)."""
ALONE = 0.05
"""Factor of the vector's variances where one source stands alone."""
DRAWN = 96
"""Number of models of each kind, which differ in the variances."""
FREEDOM = 2.0
"""Half the degrees of freedom of the prior of a common factor of all variances (inverse gamma)."""
NEGLIGIBLE = 1e-3
"""Models whose probability is less than this multiple of the largest are left out of the average."""


class Posterior(NamedTuple):
    """Posterior of the weights of a linear model.

    Attributes:
        mean: of the weights [F] and the constant [F + 1].
        covariance: of these [F + 1, F + 1].
        noise: variance of a new label around its prediction.
        error: of each label [n], predicted from all others.
        variance: of each of these predictions [n], noise included.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    error: np.ndarray
    variance: np.ndarray


class Models(NamedTuple):
    """Models of an average: variances of the sources, blocks and constant [K, S + B + 1], of the noise [K], and
    logarithms of prior probabilities [K]."""

    variances: np.ndarray
    noise: np.ndarray
    prior: np.ndarray


def averaged(samples: np.ndarray, t: np.ndarray, noise: np.ndarray, sizes: tuple[int, ...]) -> Posterior:
    """Average of models, weighted by their marginal likelihoods.

    Args:
        samples: features [n, F].
        t: labels [n], in units of about their deviation.
        noise: variance of each label [n], known from repeats.
        sizes: of the blocks of features; the first are the predictions of the source devices.
    """
    n, models = len(t), _models(sizes)
    rows = np.column_stack([samples, np.ones(n)])
    kernel = np.tensordot(models.variances, _kernels(rows, sizes), 1)  # [K, n, n]
    usual = models.noise[:, None] + noise  # [K, n]
    squares = np.ones(n)
    for _ in range(ROUNDS + 1):
        own = usual * (DEGREES + squares) / (DEGREES + 1)  # variational posterior mean of each label's noise
        inverse = np.linalg.inv(kernel + own[:, :, None] * np.eye(n))
        alpha, precision = inverse @ t, np.diagonal(inverse, axis1=1, axis2=2)
        quadratic = alpha @ t
        factor = (FREEDOM + quadratic / 2) / (FREEDOM + n / 2)  # posterior mean of the common factor [K]
        evidence = np.linalg.slogdet(inverse)[1] / 2 - (FREEDOM + n / 2) * np.log1p(quadratic / (2 * FREEDOM))
        probability = _normalised(evidence + models.prior)
        mean, variance = _moments(probability, t - own * alpha, factor[:, None] * own * (1 - own * precision))
        squares = ((t - mean) ** 2 + variance) / (probability @ (factor[:, None] * usual))
    # every label from the others: models are weighted by what the others say
    error, scaled = alpha / precision, factor[:, None] / precision
    others = _normalised(np.log(probability + 1e-300)[:, None] + (np.log(scaled) + error**2 / scaled) / 2)
    error, variance = _moments(others, error, scaled + factor[:, None] * (usual - own))
    kept = probability > NEGLIGIBLE * probability.max()
    probability = probability[kept] / probability[kept].sum()
    prior = _per_feature(models.variances[kept], sizes)  # [k, F + 1]
    means = prior * (alpha[kept] @ rows)
    centre = probability @ means
    weight = probability * factor[kept]
    half = np.linalg.cholesky(inverse[kept] * weight[:, None, None]).transpose(0, 2, 1) @ (rows * prior[:, None])
    half, off = half.reshape(-1, rows.shape[1]), (means - centre) * np.sqrt(probability)[:, None]
    covariance = np.diag(weight @ prior) - half.T @ half + off.T @ off
    return Posterior(centre, covariance, float(weight @ models.noise[kept]), error, variance)


@lru_cache(maxsize=8)
def _models(sizes: tuple[int, ...]) -> Models:
    """Models for blocks of these sizes. Logarithms of variances are normal; they stand on a lattice, which fills their
    space more evenly than random draws (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018)."""
    from scipy.special import ndtri

    sources, blocks = sizes[0], len(sizes) - 1
    names = ["sources", *_names(blocks), "constant", "noise"]
    golden = 2.0
    for _ in range(60):  # root of x^(d + 1) = x + 1
        golden = (1 + golden) ** (1 / (len(names) + 1))
    lattice = (0.5 + np.outer(np.arange(1, DRAWN + 1), golden ** -np.arange(1.0, len(names) + 1))) % 1
    drawn = np.exp([CENTRE[name] for name in names] + ndtri(lattice) * [SPREADS[name] for name in names])
    single = sources * np.eye(sources)[np.arange(DRAWN) % sources]
    shares = {"none": np.zeros_like(single), "all": np.ones_like(single), "one": single, "one alone": single}
    variances = []
    for kind, share in shares.items():
        vector = drawn[:, 1:-2] * (ALONE if kind == "one alone" else 1)
        variances.append(np.concatenate([share * drawn[:, :1], vector, drawn[:, -2:-1]], axis=1))
    prior = np.repeat(np.log([KINDS[kind] for kind in shares]), DRAWN)
    return Models(np.concatenate(variances), np.tile(drawn[:, -1], len(shares)), prior)


def _names(blocks: int) -> list[str]:
    """Names of the vector's blocks in `CENTRE`."""
    return ["last"] if blocks == 1 else ["first", *["middle"] * (blocks - 2), "last"]


def _kernels(rows: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Products of features [n, F + 1] by source, block and constant [S + B + 1, n, n]."""
    ends = np.cumsum([1] * sizes[0] + [*sizes[1:], 1])[:-1]
    return np.array([part @ part.T for part in np.split(rows, ends, axis=1)])


def _per_feature(variances: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Variances [K, F + 1] of the weights from those [K, S + B + 1] of sources, blocks and constant."""
    return np.repeat(variances, [1] * sizes[0] + [*sizes[1:], 1], axis=1)


def _normalised(logarithms: np.ndarray) -> np.ndarray:
    """Probabilities that sum to 1 along the first axis."""
    powers = np.exp(logarithms - logarithms.max(axis=0))
    return powers / powers.sum(axis=0)


def _moments(weight: np.ndarray, means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance [n] of mixtures with weights [K] or [K, n], from means and variances [K, n]."""
    weight = weight if weight.ndim == 2 else weight[:, None]
    mean = (weight * means).sum(axis=0)
    return mean, (weight * (variances + (means - mean) ** 2)).sum(axis=0)
