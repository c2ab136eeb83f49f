"""Gaussian processes: accuracy and intervals with few labels."""

import numpy as np
import pytest

from datasets.records import InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from encoders.cell import CellOneHot
from predictors.gp import GaussianProcess
from predictors.linear import Linear
from predictors.metrics import report
from tests.conftest import made_up


@pytest.fixture(scope="module")
def parts() -> tuple[Measurements, Measurements]:
    m = made_up(NasBench201().sample(700, np.random.default_rng(5)), 1)
    return m.where(archs=np.arange(60)), m.where(archs=np.arange(100, 700))


def test_few_labels_are_enough(parts: tuple[Measurements, Measurements]) -> None:
    train, test = parts
    truth = test.matrix("latency_ms")[:, 0]
    ours, line = (p.fit(train).predict(test.architectures, test.devices[0]) for p in (GaussianProcess(), Linear()))
    assert report(truth, ours)["mape"] < 0.02 < report(truth, line)["mape"]


def test_intervals_hold_what_they_promise(parts: tuple[Measurements, Measurements]) -> None:
    train, test = parts
    predictor, truth = GaussianProcess().fit(train), test.matrix("latency_ms")[:, 0]
    for level in (0.5, 0.9):
        low, high = predictor.belief(test.architectures, test.devices[0]).interval(level)
        assert (low < high).all() and abs(((low < truth) & (truth < high)).mean() - level) < 0.12
    with pytest.raises(InputError, match="between 0 and 1"):
        predictor.belief(test.architectures, test.devices[0]).interval(1.0)


def test_what_it_has_seen_is_surer(parts: tuple[Measurements, Measurements]) -> None:
    train, _ = parts
    predictor = GaussianProcess(encoder=CellOneHot()).fit(train)
    far = train.architectures.space.parse(["|none~0|+|none~0|none~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_1x1~2|"])
    widths = [
        np.log(np.divide(*predictor.belief(a, train.devices[0]).interval(0.9)[::-1]))
        for a in (train.architectures, far)
    ]
    assert np.median(widths[0]) < widths[1][0]


def test_more_labels_than_hyperparameters_need_still_count(parts: tuple[Measurements, Measurements]) -> None:
    _, many = parts
    fitted = GaussianProcess(most=50).fit(many)
    assert (fitted.alpha_ != 0).all() and report(
        many.matrix("latency_ms")[:, 0], fitted.predict_all(many.architectures)[:, 0]
    )["mape"] < 0.02
