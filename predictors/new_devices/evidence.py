"""A linear model on blocks of features whose variances maximise the marginal likelihood of many labels."""

from __future__ import annotations

import numpy as np

from predictors.new_devices.averaging import DEGREES, ROUNDS, Posterior

SPREAD = 1.5
"""Standard deviation of the logarithms of the variances around where their search starts."""
FLOOR = 1e-3
"""Least variance of the noise, as a share of the labels'."""


def maximised(
    samples: np.ndarray, t: np.ndarray, measured: np.ndarray, sizes: tuple[int, ...], start: np.ndarray
) -> Posterior:
    """Fit weights and variances. Samples are first reduced to at most as many rows as features (`reduced`), so three
    thousand samples take about as long as a hundred.

    Args:
        samples: features [n, F].
        t: labels [n], in units of about their deviation.
        measured: variance of each label [n], known from repeats.
        sizes: of the blocks of features.
        start: logarithms of the variances of the blocks, the constant and the noise, where their search starts.
    """
    theta, squares = start, np.ones(len(t))  # squared residuals in units of the noise variance
    all_ = np.column_stack([samples, np.ones(len(t))])
    for _ in range(ROUNDS + 1):
        usual = float(np.exp(theta[-1])) + FLOOR
        weight = (DEGREES + 1) / (DEGREES + squares)  # variational posterior mean per label
        inflation = 1 + measured / usual  # noise of the measurements adds to that of the model
        rows, ones, labels, rest = reduced(samples, t, weight / inflation)
        blocks = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        theta = maximise_evidence([*(b @ b.T for b in blocks), np.outer(ones, ones)], labels, rest, start, theta)
        usual = float(np.exp(theta[-1])) + FLOOR
        prior = np.exp(np.repeat(theta[:-1], [*sizes, 1]))  # variances of the weights and the constant
        known = np.column_stack([rows, ones]) * prior
        covariance = known @ np.column_stack([rows, ones]).T + usual * np.eye(len(rows))
        mean = known.T @ np.linalg.solve(covariance, labels)
        half = np.linalg.solve(np.linalg.cholesky(covariance), known)
        spread = np.diag(prior) - half.T @ half
        residual, variance = t - all_ @ mean, np.maximum(np.einsum("ni,ij,nj->n", all_, spread, all_), 0)
        squares = (residual**2 + variance) / (usual * inflation)
    own = usual * inflation / weight
    without = np.maximum(own - variance, 1e-9 * own)
    return Posterior(mean, spread, usual, residual * own / without, own**2 / without + usual * inflation - own)


def reduced(
    samples: np.ndarray, t: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, float]]:
    """Reduce weighted samples to at most F + 1 rows of equal noise that are equivalent for a linear model.

    Args:
        samples: features [n, F].
        t: labels [n].
        weight: of each label [n]; its noise variance is the common one divided by it.

    Returns:
        Features [R, F], the column of the constant [R] and labels [R], all multiplied by the root of the weights and,
        where n > F + 1, rotated by a QR decomposition; and of the other directions, which hold noise only, their number
        and the sum of their squared labels.
    """
    root = np.sqrt(weight)
    rows, labels = np.column_stack([samples, np.ones(len(t))]) * root[:, None], t * root
    rest = 0, 0.0
    if len(rows) > rows.shape[1]:
        turn, upper = np.linalg.qr(rows)
        turned = turn.T @ labels
        rest = len(rows) - rows.shape[1], float(((labels - turn @ turned) ** 2).sum())
        rows, labels = upper, turned
    return rows[:, :-1], rows[:, -1], labels, rest


def maximise_evidence(
    kernels: list[np.ndarray], t: np.ndarray, rest: tuple[int, float], start: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Maximise the marginal likelihood of labels under a weak prior around `start`.

    Args:
        kernels: [R, R], one per block and one for the constant.
        t: reduced labels [R].
        rest: number of further labels that are noise only, and the sum of their squares.
        start: centre of the prior.
        first: initial value.

    Returns:
        Logarithms of the variances of the kernels and of the noise.
    """
    from scipy.linalg import cho_solve
    from scipy.optimize import minimize

    n, (more, squares) = len(t), rest
    parts = np.array([*kernels, np.eye(n)])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(theta)
        noise = weights[-1] + FLOOR
        factor = np.linalg.cholesky(np.tensordot(weights, parts, 1) + FLOOR * parts[-1])
        inverse = cho_solve((factor, True), np.eye(n))
        alpha = inverse @ t
        off = (theta - start) / SPREAD
        value = t @ alpha / 2 + np.log(np.diagonal(factor)).sum() + off @ off / 2
        value += (more * np.log(noise) + squares / noise) / 2
        slope = np.tensordot(parts, inverse - np.outer(alpha, alpha), 2) * weights / 2 + off / SPREAD
        slope[-1] += (more - squares / noise) / noise * weights[-1] / 2
        return float(value), slope

    bounds = [(s - 4 * SPREAD, s + 4 * SPREAD) for s in start]
    return minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
