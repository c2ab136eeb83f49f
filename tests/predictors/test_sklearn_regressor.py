"""Regressors of scikit-learn as predictors: which do, what the others say, and what is kept of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVR
from sklearn.utils.discovery import all_estimators

from datasets.files.checkpoint import read_checkpoint
from datasets.records import InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from encoders.flat import Totals
from predictors import sklearn_onnx
from predictors.base import Predictor
from predictors.config import from_config, to_config
from predictors.scaling import Scale
from predictors.sklearn_regressor import TRIED, SklearnRegressor
from tests.conftest import made_up, run

COLUMNS = ("macs", "kernels", "moved_bytes")


def test_each_of_scikit_learn_s_list_answers_or_is_refused_in_one_sentence(space: NasBench201) -> None:
    m = made_up(space.sample(40, np.random.default_rng(0)), 1)
    did = set()
    for name, _ in all_estimators(type_filter="regressor"):
        try:
            predictor = SklearnRegressor(estimator=name, encoder=Totals(COLUMNS)).fit(m)
        except InputError as refused:
            assert name in str(refused) and "\n" not in str(refused) and len(str(refused)) < 600
            continue
        assert np.isfinite(predictor.predict_all(m.architectures)).all(), name
        did.add(name)
    assert len(did) >= 30
    assert did >= {"Ridge", "Lasso", "RandomForestRegressor", "GradientBoostingRegressor", "SVR", "MLPRegressor"}


@pytest.mark.parametrize("kernel", ["rbf", "linear", "sigmoid", "poly"])
@pytest.mark.parametrize("degree", [1, 2, 5])
def test_kernels_are_computed_as_scikit_learn_does(kernel: str, degree: int, measurements: Measurements) -> None:
    params: dict[str, Any] = {"kernel": kernel, "degree": degree, "coef0": 0.5}
    predictor = SklearnRegressor(estimator="SVR", params=params, encoder=Totals(COLUMNS)).fit(measurements)
    x = predictor.encode(measurements.architectures)["x"]
    z = predictor.scale.transform(measurements.matrix("latency_ms"))
    standard = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(float)
    wanted = [SVR(**params).fit(standard, target).predict(standard) for target in z.T]
    np.testing.assert_allclose(predictor.forward({"x": x}), np.stack(wanted, axis=1), atol=1e-3)


def test_labels_that_are_missing_on_a_device_are_not_learnt_there(measurements: Measurements) -> None:
    m, every = measurements, np.arange(len(measurements.architectures))
    table = m.table[(m.table["device"] == 0) | (m.table["arch"] % 3 == 0)]
    sparse = SklearnRegressor(params={"n_estimators": 3}, standardise=False).fit(
        Measurements(m.architectures, m.devices, table, "sparse")
    )
    third = SklearnRegressor(params={"n_estimators": 3}, standardise=False).fit(m.where(archs=every[every % 3 == 0]))
    archs, device = m.architectures, m.devices[1]
    np.testing.assert_allclose(sparse.predict(archs, device), third.predict(archs, device), rtol=1e-5)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"estimator": "RandomForest"}, "no regressor 'RandomForest'; near are RandomForestRegressor"),
        ({"estimator": "LogisticRegression"}, "no regressor 'LogisticRegression'"),
        ({"estimator": "os.system"}, "no regressor 'os.system'"),
        ({"params": {"n_trees": 3}}, "RandomForestRegressor has no setting 'n_trees'; it has n_estimators, criterion"),
        ({"params": {"n_estimators": -1}}, "cannot be fitted with these settings and labels: The 'n_estimators'"),
        ({"params": {"n_estimators": "many"}}, "cannot be fitted with these settings and labels: The 'n_estimators'"),
        ({"estimator": "VotingRegressor"}, "VotingRegressor needs estimators, which is no plain value"),
        ({"estimator": "SVR", "params": {"kernel": "poly", "degree": 40}}, "SVR with these settings has no ONNX form"),
    ],
)
def test_what_scikit_learn_does_not_have_or_take_is_one_sentence(
    settings: dict, sentence: str, measurements: Measurements
) -> None:
    with pytest.raises(InputError, match=sentence):
        SklearnRegressor(**settings).fit(measurements)


def test_an_estimator_without_an_onnx_form_is_refused_before_the_whole_fit(
    measurements: Measurements, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, fit = [], KernelRidge.fit
    monkeypatch.setattr(KernelRidge, "fit", lambda self, x, y: (sizes.append(len(x)), fit(self, x, y))[1])
    with pytest.raises(InputError, match="KernelRidge with these settings has no ONNX form .*choose another regressor"):
        SklearnRegressor(estimator="KernelRidge").fit(measurements)
    assert sizes == [TRIED]


def test_a_graph_that_computes_something_else_is_refused(
    measurements: Measurements, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = RandomForestRegressor.predict
    monkeypatch.setattr(RandomForestRegressor, "predict", lambda self, x: right(self, x) + 0.01)
    with pytest.raises(InputError, match="ONNX form of RandomForestRegressor differs from it by 0.0.* deviations"):
        SklearnRegressor(params={"n_estimators": 2}).fit(measurements)
    monkeypatch.setattr(sklearn_onnx, "TOLERANCE", 0.02)
    SklearnRegressor(params={"n_estimators": 2}).fit(measurements)


def test_labels_in_their_own_unit_are_compared_by_their_deviation(measurements: Measurements) -> None:
    table = measurements.table.assign(value=measurements.table["value"] * 1e6)
    large = Measurements(measurements.architectures, measurements.devices, table, "large")
    SklearnRegressor(scale=Scale("none"), params={"n_estimators": 2}).fit(large)


def test_what_is_saved_is_a_graph_and_is_read_without_scikit_learn(measurements: Measurements, tmp_path: Path) -> None:
    predictor = SklearnRegressor(estimator="Ridge").fit(measurements)
    predictor.save(tmp_path / "predictor.pt")
    state = read_checkpoint(tmp_path / "predictor.pt")["state"]
    assert set(state) == {"graph", "features"} and b"sklearn.linear_model" not in state["graph"].tobytes()
    code = """
import sys
from pathlib import Path
from predictors.base import Predictor
predictor = Predictor.load(Path(sys.argv[1]))
predictor.predict_all(predictor.space_.all()[:10])
sys.exit(any(name in sys.modules for name in ("sklearn", "skl2onnx", "pickle5", "joblib")))
"""
    assert run("-c", code, tmp_path / "predictor.pt").returncode == 0


def test_settings_of_lists_come_back_from_files(measurements: Measurements) -> None:
    predictor = SklearnRegressor(estimator="MLPRegressor", params={"hidden_layer_sizes": [8, 4], "alpha": 0.1})
    again = from_config(to_config(predictor), Predictor)  # type: ignore[type-abstract]
    assert to_config(again) == to_config(predictor)
    numbers = [one.fit(measurements).predict_all(measurements.architectures) for one in (predictor, again)]
    np.testing.assert_array_equal(*numbers)
    assert SklearnRegressor(params={"hidden_layer_sizes": (8, 4)}).params == {"hidden_layer_sizes": [8, 4]}
    for value in ({"a": 1}, [[1]], object()):
        with pytest.raises(
            InputError, match="The setting 'kernel' of SVR has to be a number, a text or a list of such"
        ):
            SklearnRegressor(estimator="SVR", params={"kernel": value})
