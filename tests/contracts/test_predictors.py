"""Contract of `Predictor`, for every implementation: overfit, save, load, export, refuse."""

import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import MISSING, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from datasets.arguments import Parser
from datasets.records import Device, InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from datasets.splits import Parts
from encoders.base import GraphEncoder, VectorEncoder
from encoders.cell import CellGraph
from encoders.flat import FlatVector, Totals
from predictors.base import Adaptable, Predictor, rebuild
from predictors.blend import Blend, convex_weights
from predictors.config import from_config, to_config
from predictors.ensemble import Ensemble
from predictors.evaluation import evaluate
from predictors.export import OnnxPredictor, export, load_predictor
from predictors.limits import LIMITS
from predictors.linear import Linear, Mean
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import LAYERS, Learnt
from predictors.networks.tabulated import Tabulated
from predictors.neural import NeuralPredictor
from predictors.regressor import Regressor
from predictors.report import run_report
from predictors.scaling import Scale
from predictors.sparse_graphs import SparseGraphPredictor
from predictors.trees import XGBoost
from tests.conftest import ROOT, implementations, made_up
from tests.doubles.toy_layers import layer_tables

CLASSES = implementations("predictors", Predictor)
REGRESSORS = [cls for cls in CLASSES if issubclass(cls, Regressor)]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
every_regressor = pytest.mark.parametrize("cls", REGRESSORS, ids=lambda c: c.__name__)
PHYSICAL = Totals(("macs", "moved_bytes"))


def examples(cls: type[Predictor]) -> list[Predictor]:
    """Examples of a class; those of a `LayerSum` get synthetic tables."""
    if cls is not LayerSum:
        return cls.examples()
    layers = Learnt(*(Linear(metric="exe_ms", encoder=PHYSICAL) for _ in LAYERS), tables=layer_tables())
    return [LayerSum(layers), LayerSum(replace(layers, tables=layer_tables(power=0.9))), LayerSum(layers)]


def small(cls: type[Predictor], **changes: Any) -> Predictor:
    """An example of a class that fits in a second, with other values of some fields."""
    return replace(examples(cls)[0], **changes)


class Fitted(dict):
    """The first example of each class, fitted on first use."""

    def __init__(self, m: Measurements) -> None:
        self.m = m

    def __missing__(self, cls: type[Predictor]) -> Predictor:
        part = _taught(cls, self.m)
        self[cls] = small(cls).fit(part, part)
        return self[cls]


@pytest.fixture(scope="module")
def fitted(measurements: Measurements) -> dict[type, Predictor]:
    return Fitted(measurements)


def _taught(cls: type, m: Measurements) -> Measurements:
    """Training measurements of a class: few of a `LayerSum`, since it leaves out each network in turn, and of what
    reads graphs of more than a hundred nodes."""
    few = {LayerSum: 40, SparseGraphPredictor: 100}
    return m.where(archs=np.arange(next((count for kind, count in few.items() if issubclass(cls, kind)), 200)))


@every_class
def test_predictions_have_shape_unit_and_order(cls: type, fitted: dict, measurements: Measurements) -> None:
    measurements, predictor = measurements.where(archs=np.arange(80)), fitted[cls]
    archs, truth = measurements.architectures, measurements.matrix("latency_ms")
    both = predictor.predict_all(archs)
    assert both.shape == (len(archs), 2) and np.isfinite(both).all()
    assert np.abs(np.log(both.mean(0) / truth.mean(0))).max() < 0.5, "not in milliseconds"
    for j, device in enumerate(measurements.devices):
        np.testing.assert_array_equal(predictor.predict(archs, device), both[:, j])
        np.testing.assert_allclose(predictor.on(device)(archs[:7]), both[:7, j], rtol=1e-5)
    np.testing.assert_allclose(predictor.predict_all(archs, chunk=33), both, rtol=1e-5)
    assert predictor.predict_all(archs[:0]).shape == (0, 2)


@every_class
def test_it_can_overfit_thirty_samples(cls: type, space: NasBench201) -> None:
    """A predictor can overfit thirty cells, unless its features are equal on some; a wrongly wired network cannot."""
    m = made_up(space.sample(30, np.random.default_rng(1)), num_devices=1)
    predictor, truth = examples(cls)[-1], m.matrix("latency_ms")
    error = np.abs(predictor.fit(m).predict_all(m.architectures) / truth - 1)
    assert error.mean() < cls.learns_to and error.max() < 5 * cls.learns_to


def test_a_mean_is_the_mean(measurements: Measurements) -> None:
    predictor = Mean().fit(measurements)
    wanted = measurements.matrix("latency_ms").mean(axis=0)
    np.testing.assert_allclose(predictor.predict_all(measurements.architectures[:3]), [wanted] * 3, rtol=1e-6)


@every_class
def test_fitting_again_forgets_and_gives_the_same_numbers(cls: type, fitted: dict, measurements: Measurements) -> None:
    predictor = small(cls).fit(made_up(measurements.architectures[:40], seed=9))
    part = _taught(cls, measurements)
    predictor.fit(part, part)
    archs = measurements.architectures[:20]
    np.testing.assert_allclose(predictor.predict_all(archs), fitted[cls].predict_all(archs), rtol=1e-6)


@every_class
def test_every_field_matters(cls: type, measurements: Measurements) -> None:
    few = {SparseGraphPredictor: 12, LayerSum: 40, NeuralPredictor: 80}  # the slow ones
    count = next((count for kind, count in few.items() if issubclass(cls, kind)), 200)
    measurements = measurements.where(archs=np.arange(count))
    reference = _answers(small(cls).fit(measurements, measurements), measurements)
    for field in fields(cls):
        unseen = (
            "metric",
            "informative",
            "averaging",
            "rank",
            *(["encoder"] if cls is Mean else []),
        )  # by tests of their own
        if not field.init or field.name in unseen:
            continue
        changed = (small(cls, **{field.name: other}) for other in other_values(cls, field.name))
        assert any(
            not np.array_equal(_answers(one.fit(measurements, measurements), measurements), reference)
            for one in changed
        ), f"{field.name} changes nothing; let {cls.__name__}.examples() give one with a value that does"


def _answers(predictor: Predictor, m: Measurements) -> np.ndarray:
    """Predictions [A, D], and those [A, 1] after adapting to a few measurements."""
    predicted = predictor.predict_all(m.architectures)
    if not isinstance(predictor, Adaptable):
        return predicted
    return np.concatenate(
        [predicted, predictor.adapt(m.where(devices=[m.devices[1].name])).predict_all(m.architectures)], axis=1
    )


def other_values(cls: type[Predictor], name: str) -> list[Any]:
    """Other values of a field: what its type and its limits suggest, then those of the class's own examples."""
    value, kinds = getattr(small(cls), name), get_args(get_type_hints(cls)[name])
    others = [other for one in examples(cls) if (other := getattr(one, name)) != value]
    found: list[Any] = []
    if isinstance(value, Scale):
        found = [Scale("linear" if value.kind == "log" else "log")]
    elif isinstance(value, GraphEncoder):
        found = [CellGraph(pruned=True)]
    elif isinstance(value, VectorEncoder):
        found = [FlatVector()]
    elif isinstance(value, Predictor):
        found = others[:1] or [small(XGBoost)]
    elif isinstance(value, bool):
        found = [not value]
    elif isinstance(value, int):
        found = [value + 1]
    elif isinstance(value, float):
        found = [0.02 if name == "tolerance" else 0.5 if LIMITS.get(name, (0, 9))[1] <= 1 else value * 10 or 0.1]
    elif isinstance(value, str):
        found = [kind for kind in kinds if kind != value][:1]
    return found + others


@every_class
def test_missing_labels_do_not_count(cls: type, measurements: Measurements) -> None:
    measurements = _taught(cls, measurements)
    table = measurements.table
    table = table[(table["device"] == 0) | (table["arch"] % 3 == 0)]
    sparse = Measurements(measurements.architectures, measurements.devices, table, "sparse")
    assert np.isfinite(small(cls).fit(sparse, sparse).predict_all(measurements.architectures)).all()


@every_class
def test_it_is_scored_and_reported(cls: type, fitted: dict, measurements: Measurements) -> None:
    predictor, measurements = fitted[cls], _taught(cls, measurements)
    parts = Parts(measurements, measurements, measurements)
    rows, predictions = evaluate(predictor, parts, {"dataset": "made-up", "predictor": "it", "seed": 0, "draw": 0})
    assert len(rows) == 2 * 2 * 2 and all(row["n"] > 0 for row in rows)
    assert len(predictions) == 2 * 2 * len(measurements.architectures)
    page = run_report({"predictor": to_config(predictor)}, rows, predictions)
    assert page.count("data:image/png") == 3


def test_a_tolerance_moves_predictions_where_most_labels_are_within_it(measurements: Measurements) -> None:
    """A machine that ran 12 % slower for one label in eight: the centre of the window lies above the median."""
    slow = np.where(np.arange(len(measurements.table)) % 8 == 0, 1.12, 1.0)
    m = Measurements(
        measurements.architectures,
        measurements.devices,
        measurements.table.assign(value=measurements.table["value"] * slow),
        "drifting",
    )
    archs, y = m.architectures, m.matrix("latency_ms")

    def within(p: Predictor) -> float:
        return float((np.abs(p.predict_all(archs) / y - 1) <= 0.1).mean())

    plain, moved = small(XGBoost).fit(m, m), small(XGBoost, tolerance=0.1).fit(m, m)
    factors = moved.predict_all(archs) / plain.predict_all(archs)
    assert within(moved) > within(plain) + 0.01
    assert np.ptp(factors, axis=0).max() < 1e-6 and (factors[0] > 1).all(), "one factor per device"
    linear = small(Linear, tolerance=0.1).fit(m, m).predict_all(archs) / small(Linear).fit(m, m).predict_all(archs)
    assert np.ptp(linear, axis=0).max() < 1e-6 and np.abs(linear[0] - 1).max() <= 0.11
    for tolerance, val in ((0.1, None), (-0.1, m), (1.0, m)):
        with pytest.raises(InputError, match="must lie in .0, 1., and needs a validation set"):
            small(Linear, tolerance=tolerance).fit(m, val)


def test_a_metric_of_no_device(measurements: Measurements) -> None:
    table = measurements.table[measurements.table["device"] == 0].assign(device=-1, metric="accuracy")
    m = Measurements(measurements.architectures, [], table, "accuracies")
    predictor = Linear(metric="accuracy").fit(m)
    assert predictor.predict(m.architectures, None).shape == (200,)


def test_an_ensemble_is_the_mean_of_its_members(fitted: dict, measurements: Measurements) -> None:
    ensemble, archs, device = fitted[Ensemble], measurements.architectures, measurements.devices[1]
    alone = [small(XGBoost, seed=i).fit(measurements).predict(archs, device) for i in range(3)]
    np.testing.assert_allclose(ensemble.predict(archs, device), np.exp(np.mean(np.log(alone), axis=0)), rtol=1e-5)
    with pytest.raises(InputError, match="An ensemble of Linear makes no sense"):
        Ensemble(member=Linear())


def test_a_blend_is_convex_and_leans_on_who_is_right(fitted: dict, measurements: Measurements) -> None:
    blend, archs = fitted[Blend], measurements.architectures
    weights = blend.weights_
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert (weights >= 0).all()
    each = [member.scale.inverse(member.forward(member.arrays(archs))) for member in blend.members]
    np.testing.assert_allclose(blend.predict_all(archs), sum(w * p for w, p in zip(weights, each, strict=True)))
    y = np.random.default_rng(0).uniform(1, 2, 50)
    np.testing.assert_allclose(convex_weights(np.stack([y, y * 0 + 1.5], axis=1), y), [1, 0], atol=1e-3)
    np.testing.assert_allclose(convex_weights(np.stack([y + 1, y - 3], axis=1), y), [0.75, 0.25], atol=1e-3)
    equal = small(Blend).fit(measurements)
    np.testing.assert_allclose(equal.weights_, 0.5, err_msg="without a validation set weights must be equal")
    with pytest.raises(InputError, match="must predict latency_ms"):
        Blend(members=[Linear(metric="energy_mj")])


# Artefacts


@pytest.fixture(scope="module")
def written(fitted: dict, tmp_path_factory: pytest.TempPathFactory) -> Callable[[type], list[Path]]:
    """The files of a class's fitted example: predictor.pt, and predictor.onnx where there is such a form."""
    folder = tmp_path_factory.mktemp("written")

    @cache
    def write(cls: type) -> list[Path]:
        paths = [folder / f"{cls.__name__}{suffix}" for suffix in (".pt", ".onnx")[: 1 + (cls in REGRESSORS)]]
        fitted[cls].save(paths[0])
        for path in paths[1:]:
            export(fitted[cls], path)
        return paths

    return write


ANSWER = """
import sys, numpy as np
from pathlib import Path
from datasets.spaces import parse_space
from predictors.export import load_predictor
archs = parse_space(sys.argv[1]).sample(40, np.random.default_rng(77))
for line in sys.stdin:
    np.save(line.strip() + ".npy", load_predictor(Path(line.strip())).predict_all(archs))
    print("torch" in sys.modules, flush=True)
"""


@pytest.fixture(scope="module")
def elsewhere(space: NasBench201) -> Iterator[Callable[[Path], tuple[np.ndarray, bool]]]:
    """Predictions of a .pt and an .onnx file in a fresh process, and whether torch was imported there."""
    with ExitStack() as stack:

        @cache
        def process(suffix: str) -> subprocess.Popen:
            command = [sys.executable, "-c", ANSWER, str(space)]
            pipe = subprocess.PIPE
            opened = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, bufsize=1)
            return stack.enter_context(opened)

        def answer(path: Path) -> tuple[np.ndarray, bool]:
            there = process(path.suffix)
            assert there.stdin and there.stdout
            print(path, file=there.stdin, flush=True)
            reply = there.stdout.readline().strip()
            assert reply in ("True", "False"), f"the process that reads {path.name} ended"
            return np.load(f"{path}.npy"), reply == "True"

        yield answer


@every_class
def test_save_load_and_export_agree_in_fresh_processes(
    cls: type, fitted: dict, written: Callable, elsewhere: Callable, space: NasBench201
) -> None:
    """40 random cells: the .pt exactly, the .onnx to 1e-4, and that without torch in its process."""
    wanted = fitted[cls].predict_all(space.sample(40, np.random.default_rng(77)))
    for path in written(cls):
        got, torch_is_there = elsewhere(path)
        np.testing.assert_allclose(got, wanted, rtol=1e-6 if path.suffix == ".pt" else 1e-4, err_msg=path.name)
        assert path.suffix == ".pt" or not torch_is_there


def test_what_has_no_onnx_form_says_so_in_one_sentence(fitted: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="A LayerSum has no ONNX form; keep its predictor.pt"):
        export(fitted[LayerSum], tmp_path / "p.onnx")
    assert not (tmp_path / "p.onnx").exists()


@every_regressor
def test_metadata_stand_in_both_artefacts(cls: type, fitted: dict, written: Callable) -> None:
    predictor, (saved, exported_to) = fitted[cls], written(cls)
    loaded, exported = Predictor.load(saved), OnnxPredictor.load(exported_to)
    assert type(loaded) is cls and to_config(loaded) == to_config(predictor) == exported.meta["predictor"]
    assert exported.meta["unit"] == "ms" and exported.metric == "latency_ms"
    assert loaded.devices_ == exported.devices_ == predictor.devices_


def test_an_export_that_computes_something_else_is_not_written(fitted: dict, tmp_path: Path, monkeypatch) -> None:
    predictor = fitted[Linear]
    original = Linear.to_onnx

    def wrong(self, x):
        model = original(self, x)
        model.graph.node[-1].op_type = "Sub" if model.graph.node[-1].op_type == "Add" else "Gemm"
        model.graph.node[-1].attribute.append(__import__("onnx").helper.make_attribute("alpha", 1.01))
        return model

    monkeypatch.setattr(Linear, "to_onnx", wrong)
    with pytest.raises(RuntimeError, match="differs from the predictor"):
        export(predictor, tmp_path / "p.onnx")
    assert not (tmp_path / "p.onnx").exists()


def test_what_onnxruntime_says_of_an_export_is_shown(fitted: dict, tmp_path: Path, monkeypatch) -> None:
    original = Linear.to_onnx

    def newer(self, x):
        model = original(self, x)
        model.ir_version = 99
        return model

    monkeypatch.setattr(Linear, "to_onnx", newer)
    with pytest.raises(InputError, match="does not fit its description .*IR version"):
        export(fitted[Linear], tmp_path / "p.onnx")


def test_a_line_that_crosses_zero_is_exported(tmp_path: Path, measurements: Measurements, space: NasBench201) -> None:
    predictor = Linear(encoder=FlatVector()).fit(measurements)
    archs = space.sample(200, np.random.default_rng(0))
    predictor.scale.mean_ = predictor.scale.mean_ - predictor.predict_all(archs)[17]  # nearly zero for one of them
    export(predictor, tmp_path / "line.onnx")
    np.testing.assert_allclose(OnnxPredictor.load(tmp_path / "line.onnx").predict_all(archs)[17], 0, atol=1e-3)


def test_damaged_foreign_and_absent_files_are_one_sentence(fitted: dict, tmp_path: Path) -> None:
    fitted[Linear].save(tmp_path / "whole.pt")
    export(fitted[Linear], tmp_path / "whole.onnx")
    for suffix in (".pt", ".onnx"):
        content = (tmp_path / f"whole{suffix}").read_bytes()
        cases = {"truncated": content[: len(content) // 2], "empty": b"", "foreign": b"hello" * 100}
        for name, part in cases.items():
            path = tmp_path / (name + suffix)
            path.write_bytes(part)
            with pytest.raises(InputError, match=r"is truncated, or"):
                load_predictor(path)
        with pytest.raises(InputError, match="There is no file"):
            load_predictor(tmp_path / f"absent{suffix}")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="is not a predictor of Gnomon, or of an older version; write it again"):
        load_predictor(tmp_path / "other.pt")


def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "owned", "x"))

    path = tmp_path / "predictor.pt"
    for write in (lambda: torch.save({"format": 1, "state": Hostile()}, path),
                  lambda: path.write_bytes(pickle.dumps(Hostile()))):  # fmt: skip
        write()
        with pytest.raises(InputError, match="only plain data is ever loaded"):
            Predictor.load(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "tree, sentence",
    [
        ({"class_path": "os.system", "init_args": {}}, "not a class of Gnomon"),
        ({"class_path": "predictors.base.Path", "init_args": {}}, "is no class"),
        ({"class_path": "predictors.gcn.GNN", "init_args": {}}, "There is no class"),
        ({"class_path": "predictors.gcn.GCN", "init_args": {"hiden": 3}}, "has no field 'hiden'"),
        ({"class_path": "encoders.cell.CellGraph", "init_args": {}}, "is no Predictor"),
    ],
)
def test_a_checkpoint_may_only_name_our_own_classes(tree: dict, sentence: str, fitted: dict) -> None:
    meta = {**fitted[Linear].metadata(), "predictor": tree}
    with pytest.raises(InputError, match=sentence):
        rebuild(meta, "a file")


@every_class
def test_configurations_come_back(cls: type) -> None:
    predictor = small(cls)
    assert to_config(from_config(to_config(predictor), Predictor)) == to_config(predictor)
    assert all(f.default is not MISSING or f.default_factory is not MISSING for f in fields(cls) if f.init)


@pytest.mark.parametrize("cls", [*CLASSES, Learnt, Tabulated])
def test_command_lines_check_the_values_of_all_fields(cls: type) -> None:
    """jsonargparse takes any value where the module of a class lacks a name that an annotation of its bases needs."""
    parser = Parser()
    parser.add_class_arguments(cls, "made")
    loose = [action.dest for action in parser._actions if "Unvalidated" in str(getattr(action, "_typehint", ""))]
    assert not loose


# What it refuses


@every_class
def test_hyperparameters_have_limits(cls: type) -> None:
    names = [f.name for f in fields(cls) if f.init and type(getattr(small(cls), f.name)) in (int, float)]
    own = [name for name in names if name not in ("tolerance", "noise")]  # which `fit` judges
    missing = sorted(set(own) - set(LIMITS))
    assert not missing, f"add {', '.join(missing)} to LIMITS in predictors/limits.py"
    for name in own:
        least, most = LIMITS[name]
        for value in (least - 1, 2 * most + 1, math.nan):
            with pytest.raises(InputError, match=f"{name} has to be between"):
                replace(small(cls), **{name: value})


@every_class
def test_an_unknown_device_space_or_metric_is_one_sentence(cls: type, fitted: dict, measurements: Measurements) -> None:
    predictor, archs = fitted[cls], measurements.architectures[:3]
    with pytest.raises(InputError, match="not fitted on device 'phone'; it answers for: toy_0, toy_1"):
        predictor.predict(archs, Device("phone", "f", "gpu"))
    with pytest.raises(InputError, match="predicts latency_ms, not energy_mj"):
        predictor.on(measurements.devices[0], "energy_mj")
    if cls is LayerSum:  # of networks of any kinds
        assert predictor.predict(NasBench201(cells=1).all()[:3], measurements.devices[0]).shape == (3,)
        return
    if cls not in REGRESSORS:
        return
    with pytest.raises(InputError, match=r"was fitted on nasbench201\(.*; it cannot predict for"):
        predictor.predict(NasBench201(cells=1).all()[:3], measurements.devices[0])


def test_a_device_without_labels_is_named(measurements: Measurements) -> None:
    table = measurements.table[measurements.table["device"] == 0]
    m = Measurements(measurements.architectures, measurements.devices, table, "half")
    with pytest.raises(InputError, match="half has no latency_ms to learn from on toy_1"):
        Linear().fit(m)
