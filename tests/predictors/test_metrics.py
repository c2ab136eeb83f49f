"""Metrics against numbers worked out by hand."""

import itertools

import numpy as np
import pytest

from predictors.metrics import LEAST, METRICS, best_of_ranking, plain, report
from predictors.ranking import excluded, ranking


def test_by_hand() -> None:
    row = report(np.array([1.0, 2.0, 4.0, 10.0]), np.array([1.1, 1.9, 4.8, 10.0]))
    assert row["n"] == 4 and row["spearman"] == row["kendall"] == 1
    assert row["mae"] == pytest.approx((0.1 + 0.1 + 0.8) / 4)
    assert row["rmse"] == pytest.approx(np.sqrt((0.01 + 0.01 + 0.64) / 4))
    assert row["mape"] == pytest.approx((0.1 + 0.05 + 0.2 + 0) / 4)
    assert row["r2"] == pytest.approx(1 - 0.66 / (3.25**2 + 2.25**2 + 0.25**2 + 5.75**2))
    assert (row["within_1"], row["within_5"], row["within_10"]) == (0.25, 0.5, 0.75)


def test_kendall_is_tau_b() -> None:
    """One tie in y: (concordant - discordant) / sqrt((pairs - ties_x)(pairs - ties_y)) = (4 - 1) / sqrt(6 * 5)."""
    row = report(np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0, 3.0]))
    assert row["kendall"] == pytest.approx(3 / np.sqrt(30))


def test_what_is_undefined_is_none() -> None:
    constant = report(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]))
    assert constant["spearman"] is None and constant["kendall"] is None
    assert constant["mae"] == pytest.approx(2 / 3) and constant["r2"] == 0
    assert report(np.array([2.0, 2.0]), np.array([1.0, 3.0]))["r2"] is None
    single = report(np.array([2.0]), np.array([1.0]))
    assert single["spearman"] is None and single["mape"] == 0.5
    assert report(np.array([np.nan]), np.array([1.0])) == {"n": 0, **dict.fromkeys(METRICS)}


def test_unmeasured_pairs_do_not_count() -> None:
    with_gap = report(np.array([1.0, np.nan, 2.0, 3.0]), np.array([1.0, 9.0, 3.0, 2.0]))
    assert with_gap == report(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))


def _all_draws(values: np.ndarray, k: int) -> list[set[int]]:
    """Every choice of k places with the lowest values, where equal values are drawn."""
    last = np.sort(values)[k - 1]
    below, equal = set(np.flatnonzero(values < last)), np.flatnonzero(values == last)
    return [below | set(more) for more in itertools.combinations(equal, k - len(below))]


def test_precision_and_regret_at_k_are_means_over_all_draws_of_equal_predictions() -> None:
    rng = np.random.default_rng(0)
    for kinds in range(1, 8):
        measured, predicted = rng.integers(1, 6, 7).astype(float), rng.integers(0, kinds, 7).astype(float)
        taken, best = _all_draws(predicted, 3), _all_draws(measured, 3)
        precision = np.mean([len(a & b) / 3 for a in taken for b in best])
        regret = np.mean([measured[list(a)].min() / measured.min() - 1 for a in taken])
        assert best_of_ranking(measured, predicted, 3) == pytest.approx((precision, regret))


def test_precision_and_regret_of_a_known_ranking() -> None:
    measured = np.arange(1.0, 31)
    assert best_of_ranking(measured, measured) == (1, 0) and best_of_ranking(measured, -measured) == (0, 20)
    assert best_of_ranking(measured, np.ones(30))[0] == pytest.approx(1 / 3), "a constant draws 10 of 30"
    row = report(measured, -measured, highest=True)
    assert (row["precision_at_10"], row["regret_at_10"]) == (0, pytest.approx(20 / 30)), "30 is best, 10 is found"
    assert report(measured[:10], measured[:10])["precision_at_10"] is None, "all would be taken"
    assert report(np.append(0, measured), np.append(0, measured))["regret_at_10"] is None


def test_devices_with_few_cells_are_named_and_not_ranked() -> None:
    """A device with two test cells counted as much as one with a hundred."""
    about = {"predictor": "toy", "shots": 100, "seed": 0, "cells": "all", "fit_cpu_s": 1.0, "predict_cpu_s": 1.0}
    scores = dict.fromkeys(METRICS, 0.9)
    rows = [
        {**about, "set": part, "device": device, "n": n, **scores, "spearman": spearman}
        for part in ("val", "test")
        for device, n, spearman in (("well", 100, 0.9), ("badly", 2, -1.0), ("never", 0, None))
    ]
    (line,) = ranking(rows).to_dict("records")
    assert line["val_spearman"] == line["spearman"] == 0.9 and line["test_cells"] == 100
    assert excluded(rows)[:2] == ["badly: 2 val cells", "never: 0 val cells"] and LEAST == 10


def test_numbers_are_written_as_plain_decimals() -> None:
    assert [plain(x) for x in (12345.6, 0.00001234, 1.0, 0.5)] == ["12350", "0.00001234", "1", "0.5"]
