"""Predictors of single layers that PerfNetRT's study compares, and errors that its paper publishes (Tables IV, V)."""

from __future__ import annotations

from collections.abc import Callable

from encoders.layer import LayerFeatures, LayerPhysics, LayerWork
from predictors.base import Predictor
from predictors.blend import Blend
from predictors.gp import GaussianProcess
from predictors.layers.perfnetrt import PerfNetRT
from predictors.mlp import MLP
from predictors.polynomial import Polynomial
from predictors.roofline import Roofline
from predictors.scaling import Scale
from predictors.trees import XGBoost

Make = Callable[[], Predictor]

PAPER = {
    ("convolution", "pre_ms"): (0.962, 0.0741, 1.682, 0.99),
    ("convolution", "exe_ms"): (0.327, 0.1753, 0.785, 0.96),
    ("convolution", "post_ms"): (0.152, 0.070, 0.452, 0.99),
    ("pooling", "pre_ms"): (1.133, 0.0864, 2.072, 0.99),
    ("pooling", "exe_ms"): (0.206, 0.1968, 0.513, 0.95),
    ("pooling", "post_ms"): (0.142, 0.0727, 0.331, 0.99),
    ("dense", "pre_ms"): (0.035, 0.0562, 0.055, 0.95),
    ("dense", "exe_ms"): (0.048, 0.3688, 0.103, 0.95),
    ("dense", "post_ms"): (0.013, 0.1929, 0.017, 0.57),
}
"""Table IV: MAE (ms), MAPE, RMSE (ms), R2 of PerfNetRT on a GTX 1080 Ti with TensorRT."""
PAPER_POLYNOMIAL = {
    ("convolution", "pre_ms"): (0.595, 0.1599, 1.412, 0.99),
    ("convolution", "exe_ms"): (0.993, 3.1654, 1.758, 0.84),
    ("convolution", "post_ms"): (1.743, 3.1873, 2.739, 0.91),
    ("pooling", "pre_ms"): (0.546, 0.1023, 0.828, 0.99),
    ("pooling", "exe_ms"): (0.629, 3.1278, 1.213, 0.76),
    ("pooling", "post_ms"): (1.600, 2.9119, 2.324, 0.90),
    ("dense", "pre_ms"): (0.037, 0.0630, 0.057, 0.95),
    ("dense", "exe_ms"): (0.090, 5.9468, 0.146, 0.91),
    ("dense", "post_ms"): (0.014, 0.1974, 0.017, 0.56),
}
"""Table V: MAE (ms), MAPE, RMSE (ms), R2 of the paper's polynomial regression."""


def trees(metric: str, **changes: object) -> XGBoost:
    settings = {"columns": 0.5, "depth": 5, "min_child_weight": 2.0, "encoder": LayerPhysics(tiles=False)} | changes
    return XGBoost(metric=metric, **settings)  # type: ignore[arg-type]


def gaussian_process(metric: str) -> GaussianProcess:
    return GaussianProcess(metric=metric, encoder=LayerPhysics(tiles=False))


def net(metric: str) -> MLP:
    return MLP(metric=metric, encoder=LayerPhysics(), scale=Scale("log"), loss="l1", epochs=200, hidden=512)


def on_logarithms(metric: str) -> PerfNetRT:
    """PerfNetRT's network on logarithms of its features and labels, with a smaller learning rate."""
    return PerfNetRT(metric=metric, learning_rate=1e-3, encoder=LayerFeatures(log=True), scale=Scale("log"), loss="l1")


def blend(metric: str) -> Blend:
    return Blend(
        metric=metric, relative=True, members=[make(metric) for make in (trees, gaussian_process, net, on_logarithms)]
    )


def kinds(metric: str) -> dict[str, Make]:
    """All predictors of the tables, the paper's first."""
    return {
        "perfnetrt": lambda: PerfNetRT(metric=metric),
        "polynomial": lambda: Polynomial(metric=metric),
        "polynomial_log": lambda: Polynomial(metric=metric, encoder=LayerFeatures(log=True), scale=Scale("log")),
        "roofline": lambda: Roofline(metric=metric, encoder=LayerWork()),
        "xgboost_raw": lambda: XGBoost(metric=metric, encoder=LayerFeatures(), scale=Scale("linear")),
        "xgboost_log": lambda: XGBoost(metric=metric, encoder=LayerFeatures()),
        "trees": lambda: trees(metric),
        "gp": lambda: gaussian_process(metric),
        "net": lambda: net(metric),
        "perfnetrt_log": lambda: on_logarithms(metric),
        "blend": lambda: blend(metric),
    }


def variants(metric: str) -> dict[str, Make]:
    """PerfNetRT's model with single settings changed, then with all of them changed."""
    return {
        "as published": lambda: PerfNetRT(metric=metric),
        "learning rate 0.001": lambda: PerfNetRT(metric=metric, learning_rate=1e-3),
        "0.001, 400 epochs": lambda: PerfNetRT(metric=metric, learning_rate=1e-3, epochs=400, halving=100),
        "0.001, logarithms of features": lambda: PerfNetRT(
            metric=metric, learning_rate=1e-3, encoder=LayerFeatures(log=True)
        ),
        "0.001, logarithms of features and labels, L1": lambda: on_logarithms(metric),
    }
