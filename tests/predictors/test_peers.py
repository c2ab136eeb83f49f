"""HELP's and NASFLAT's methods: what they do beyond the contract of predictors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.records import InputError, Measurements
from datasets.spaces.fbnet import FBNet
from datasets.spaces.nasbench201 import NasBench201
from encoders.cell import CellGraph, CellOneHot
from predictors.base import Adaptable, Predictor
from predictors.export import OnnxPredictor, export
from predictors.metrics import report
from predictors.new_devices.help_meta import HelpMeta
from predictors.new_devices.nasflat import Nasflat
from predictors.new_devices.two_pass import MonotoneOutput, rising_line
from predictors.training import PairHinge
from tests.conftest import made_up, run


def tiny(cls: type[HelpMeta] | type[Nasflat], **changes: Any) -> HelpMeta | Nasflat:
    help_: dict[str, Any] = {"hidden": 16, "layers": 2, "episodes": 60, "query": 30, "references": 5}
    flat: dict[str, Any] = {"hidden": 16, "layers": 2, "epochs": 6, "batch_size": 32, "adapt_epochs": 5}
    return cls(**{**(help_ if cls is HelpMeta else flat), **changes})


@pytest.fixture(scope="module")
def toys() -> Measurements:
    """Three source devices and a new one, `toy_3`."""
    return made_up(NasBench201().sample(240, np.random.default_rng(3)), 4)


@pytest.fixture(scope="module", params=[HelpMeta, Nasflat], ids=lambda c: c.__name__)
def source(request: pytest.FixtureRequest, toys: Measurements) -> HelpMeta | Nasflat:
    return tiny(request.param).fit(toys.where(devices=["toy_0", "toy_1", "toy_2"]))


def chosen(predictor: Adaptable, m: Measurements, n: int = 20, seed: int = 0) -> np.ndarray:
    """Positions of what it chooses to measure."""
    place = {key: i for i, key in enumerate(m.architectures.keys)}
    return np.array([place[key] for key in predictor.choose(m.architectures, n, np.random.default_rng(seed)).keys])


def test_a_new_device_is_ranked_from_twenty_measurements(source: HelpMeta | Nasflat, toys: Measurements) -> None:
    rows = chosen(source, toys)
    assert isinstance(source, Adaptable) and len(set(rows)) == 20
    before = source.predict_all(toys.architectures)
    adapted = source.adapt(toys.where(archs=rows, devices=["toy_3"]))
    others = np.setdiff1d(np.arange(240), rows)
    truth = toys.where(devices=["toy_3"]).matrix("latency_ms")[:, 0]
    predicted = adapted.predict(toys.architectures, toys.device("toy_3"))
    spearman = report(truth[others], predicted[others])["spearman"]
    assert spearman is not None and spearman > 0.6
    assert np.abs(np.log(predicted.mean() / truth.mean())) < 0.3, "not in milliseconds"
    np.testing.assert_array_equal(source.predict_all(toys.architectures), before, err_msg="the old one changed")
    again = source.adapt(toys.where(archs=rows, devices=["toy_3"]))
    np.testing.assert_allclose(again.predict(toys.architectures, toys.device("toy_3")), predicted, rtol=1e-6)


def test_labels_outside_of_the_samples_change_nothing(source: HelpMeta | Nasflat, toys: Measurements) -> None:
    rows, target = chosen(source, toys), toys.where(devices=["toy_3"])
    value = target.table["value"].to_numpy().copy()
    hidden = ~np.isin(target.table["arch"], rows)
    value[hidden] = np.random.default_rng(1).permutation(value[hidden])
    shuffled = Measurements(target.architectures, target.devices, target.table.assign(value=value), "shuffled")
    one, other = (source.adapt(m.where(archs=rows)).predict_all(m.architectures) for m in (target, shuffled))
    np.testing.assert_array_equal(one, other)


def test_what_is_adapted_is_saved_exported_and_adapts_again(
    source: HelpMeta | Nasflat, toys: Measurements, tmp_path: Path
) -> None:
    few = toys.where(archs=chosen(source, toys), devices=["toy_3"])
    adapted = source.adapt(few)
    predicted = adapted.predict_all(toys.architectures)
    adapted.save(tmp_path / "adapted.pt")
    source.save(tmp_path / "source.pt")
    if isinstance(source, Nasflat):  # below, HELP's
        export(adapted, tmp_path / "adapted.onnx")
        exported = OnnxPredictor.load(tmp_path / "adapted.onnx")
        np.testing.assert_allclose(exported.predict_all(toys.architectures), predicted, 1e-3)
    loaded = Predictor.load(tmp_path / "source.pt")
    assert isinstance(loaded, Adaptable)
    np.testing.assert_allclose(loaded.adapt(few).predict_all(toys.architectures), predicted, rtol=1e-5)
    code = "import sys, json, numpy as np; from predictors.base import Predictor; p = Predictor.load(sys.argv[1]);" \
           "print(json.dumps(p.predict_all(p.space_.sample(9, np.random.default_rng(0))).tolist()))"  # fmt: skip
    done = run("-c", code, str(tmp_path / "adapted.pt"))
    assert done.returncode == 0, done.stderr
    wanted = adapted.predict_all(adapted.space_.sample(9, np.random.default_rng(0)))
    np.testing.assert_allclose(json.loads(done.stdout), wanted, rtol=1e-5)
    again = Predictor.load(tmp_path / "adapted.pt")
    assert isinstance(again, Adaptable)
    more = again.adapt(few)
    assert more.devices_ == few.devices and np.isfinite(more.predict_all(toys.architectures)).all()


def test_bad_samples_are_one_sentence(source: HelpMeta | Nasflat, toys: Measurements) -> None:
    with pytest.raises(InputError, match="has 4 devices; adapt to one"):
        source.adapt(toys)
    other = made_up(NasBench201(cells=1).sample(20, np.random.default_rng(0)), 1)
    with pytest.raises(InputError, match="was fitted on nasbench201"):
        source.adapt(other)
    with pytest.raises(InputError, match="cannot be chosen|ask for 5 or more"):
        source.choose(toys.architectures, 0, np.random.default_rng(0))
    none = toys.where(archs=np.arange(20), devices=["toy_3"])
    with pytest.raises(InputError, match="has no"):
        source.adapt(Measurements(none.architectures, none.devices, none.table[:0], "nothing"))


def test_a_single_sample_is_enough_to_answer(toys: Measurements) -> None:
    source = tiny(Nasflat, epochs=1).fit(toys.where(devices=["toy_0", "toy_1"]))
    adapted = source.adapt(toys.where(archs=np.arange(1), devices=["toy_3"]))
    assert np.isfinite(adapted.predict_all(toys.architectures)).all()


def test_helps_references_come_first_and_must_be_measured(toys: Measurements) -> None:
    source = tiny(HelpMeta, episodes=2).fit(toys.where(devices=["toy_0", "toy_1"]))
    assert isinstance(source, HelpMeta)
    others = toys.architectures[np.setdiff1d(np.arange(240), chosen(source, toys, 5))]
    picked = source.choose(others, 8, np.random.default_rng(0))
    assert picked[:5] == source.references_ == source.choose(others, 5, np.random.default_rng(1))
    with pytest.raises(InputError, match="references .* measure them"):
        source.adapt(toys.where(archs=np.setdiff1d(np.arange(240), chosen(source, toys, 5)), devices=["toy_3"]))
    with pytest.raises(InputError, match="3 architectures of made-up were measured on all"):
        tiny(HelpMeta).fit(toys.where(archs=np.arange(3)))


CHAINS = [
    tiny(HelpMeta, encoder=CellOneHot(), episodes=3),
    tiny(Nasflat, epochs=1),
    tiny(Nasflat, epochs=1, edges=False),
]


@pytest.mark.parametrize("predictor", CHAINS)
def test_chains_of_blocks_are_learnt_too(predictor: HelpMeta | Nasflat, tmp_path: Path) -> None:
    m = made_up(FBNet(image=32).sample(40, np.random.default_rng(0)), 3)
    source = predictor.fit(m.where(devices=["toy_0", "toy_1"]))
    adapted = source.adapt(m.where(archs=chosen(source, m), devices=["toy_2"]))
    if isinstance(predictor, HelpMeta):  # NASFLAT's is exported above
        export(adapted, tmp_path / "chain.onnx", checked=20)
    assert np.isfinite(adapted.predict_all(m.architectures)).all()


def test_pruned_and_padded_graphs_do_not_hear_what_is_not_there(toys: Measurements) -> None:
    """A node that is masked changes nothing, whatever its features are."""
    for predictor in (tiny(Nasflat, epochs=1, encoder=CellGraph(pruned=True, global_node=False)),
                      tiny(HelpMeta, episodes=2, encoder=CellGraph(pruned=True))):  # fmt: skip
        predictor.fit(toys.where(devices=["toy_0"]))
        x = predictor.encode(toys.architectures)
        gone = x["mask"] == 0
        assert gone.any()
        noisy = {**x, "nodes": np.where(gone[..., None], 7.0, x["nodes"]).astype(np.float32)}
        if isinstance(predictor, Nasflat):
            output: Any = predictor.network_.output
            noisy["nodes"][..., output] = x["nodes"][..., output]
        np.testing.assert_allclose(predictor.forward(noisy), predictor.forward(x), rtol=1e-4, atol=1e-5)


def test_without_edges_a_graph_is_the_sum_of_its_nodes() -> None:
    """Without edges, each node receives from itself only, so each kind of node is computed once."""
    archs = FBNet(image=32).sample(5, np.random.default_rng(0))
    m = made_up(archs, 2)
    alone = tiny(Nasflat, epochs=1, edges=False).fit(m)
    x = CellGraph(global_node=False)(archs)._asdict()
    predicted = alone.forward({"nodes": x["nodes"]})
    x["adjacency"] = np.zeros_like(x["adjacency"])
    np.testing.assert_allclose(alone.forward(x), predicted, atol=2e-3)
    order = np.r_[0, np.random.default_rng(1).permutation(np.arange(1, x["nodes"].shape[1]))]
    np.testing.assert_allclose(alone.forward({"nodes": x["nodes"][:, order]}), predicted, atol=2e-3)


points = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=80)


@settings(max_examples=30, deadline=None)
@given(points=points)
def test_calibration_keeps_the_order_and_passes_its_knots(points: list[tuple[float, float]]) -> None:
    score, z = np.array(points, np.float32).T
    line = MonotoneOutput(1)
    grid = torch.linspace(-8, 8, 200)[:, None]
    np.testing.assert_allclose(line(grid), grid, atol=1e-5, err_msg="at first each number is itself")
    line.fit(score[:, None], z[:, None])
    predicted = line(grid)[:, 0].numpy()
    assert np.isfinite(predicted).all() and (np.diff(predicted) > -1e-4).all()
    at, value = rising_line(score.astype(float), z.astype(float), 33)
    np.testing.assert_allclose(line(torch.tensor(at, dtype=torch.float32)[:, None])[:, 0], value, atol=2e-2)


def test_a_hinge_is_zero_where_pairs_are_in_order_and_apart() -> None:
    z = torch.tensor([0.0, 1.0, 2.0])
    assert PairHinge()(z, z) == 0 and PairHinge()(z[:1], z[:1]) == 0
    assert PairHinge()(-z, z) == pytest.approx((1.1 + 1.1 + 2.1) / 3)


def test_pairs_of_different_devices_count_where_they_are_mixed() -> None:
    z = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    score = z + torch.tensor([5.0, 0.0])  # in order on each device, not across
    assert PairHinge()(score, z) == 0
    wrong = [(5, 1), (5, 3)]  # scores of device 0's first label, of the higher ones of device 1
    wrong += [(7, 3)]
    assert PairHinge(mixed=True)(score, z) == pytest.approx(sum(0.1 + low - high for low, high in wrong) / 6)
    assert PairHinge(mixed=True)(score, torch.full_like(z, torch.nan)) == 0


def test_training_of_exactly_ten_steps_does_not_divide_by_zero(toys: Measurements) -> None:
    m = toys.where(archs=np.arange(20), devices=["toy_0"])
    assert np.isfinite(tiny(Nasflat, epochs=10).fit(m).predict_all(m.architectures)).all()
