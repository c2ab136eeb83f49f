"""`Belief`: intervals and probabilities in the metric's unit, from distributions on the label scale."""

import numpy as np
import pytest
from scipy import stats

from datasets.records import InputError
from predictors.belief import Belief
from predictors.scaling import Scale

LOCATION, DEVIATION = np.array([0.5, -1.0, 2.0]), np.array([0.3, 1.0, 0.1])


@pytest.mark.parametrize("degrees", [4.0, np.inf])
@pytest.mark.parametrize("kind", ["log", "linear"])
def test_beliefs_are_those_of_scipy_on_the_scale_of_the_labels(kind: str, degrees: float) -> None:
    both = Scale(kind).fit(np.array([[1.0, 5.0], [2.0, 9.0], [4.0, 11.0]]))
    belief = Belief(LOCATION, DEVIATION, both.output(1), degrees)
    theirs = stats.t(degrees, LOCATION, DEVIATION)
    for ours, ends in zip(belief.interval(0.8), theirs.interval(0.8), strict=True):
        np.testing.assert_allclose(ours, both.inverse(np.stack([ends, ends], axis=1))[:, 1], rtol=1e-9)
        np.testing.assert_allclose([belief.cdf(end)[i] for i, end in enumerate(ours)], theirs.cdf(ends), rtol=1e-9)


def test_what_is_impossible_has_no_probability() -> None:
    belief = Belief(LOCATION, DEVIATION, Scale.known("linear"), 4.0, least=0.0)
    low, high = belief.interval(0.999)
    assert low.min() == 0 and (low <= high).all()
    assert belief.cdf(-1.0).tolist() == Belief(LOCATION, DEVIATION, Scale.known("log")).cdf(0.0).tolist() == [0, 0, 0]
    for level in (0.0, 1.0, np.nan):
        with pytest.raises(InputError, match="between 0 and 1"):
            belief.interval(level)


def test_quantiles_are_the_inverse_of_probabilities() -> None:
    belief = Belief(LOCATION, DEVIATION, Scale.known("log"), 4.0)
    for probability in (0.1, 0.5, 0.95):
        ends = belief.quantile(probability)
        np.testing.assert_allclose([belief.cdf(end)[i] for i, end in enumerate(ends)], probability, rtol=1e-9)
    for wrong in (0.0, 1.0, np.nan):
        with pytest.raises(InputError, match="between 0 and 1"):
            belief.quantile(wrong)
