"""Saved predictors that were damaged or edited: refused in one sentence, or they answer exactly as before."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from datasets.files.checkpoint import digest, read_checkpoint, write_checkpoint
from datasets.records import InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from encoders.flat import Totals
from predictors.any_device.device_net import DeviceNet
from predictors.base import Predictor
from predictors.blend import Blend
from predictors.boosters import check_booster
from predictors.ensemble import Ensemble
from predictors.export import OnnxPredictor, export, load_predictor
from predictors.gcn import GCN
from predictors.gp import GaussianProcess
from predictors.layers.polynomial import Polynomial
from predictors.linear import BetterFlops, Linear
from predictors.mlp import MLP
from predictors.new_devices.conditioned import Conditioned
from predictors.new_devices.proxies import AdaProxy
from predictors.onnx_check import with_digest
from predictors.trees import XGBoost
from search.optimizer_network import Objective, OptimizerNetwork
from tests.conftest import made_up

SPACE = NasBench201()
ARCHS = SPACE.sample(10, np.random.default_rng(7))
SMALL = {"hidden": 8, "layers": 2, "epochs": 1}
KINDS: dict[str, Callable[[], Predictor]] = {
    "gcn": lambda: GCN(**SMALL),
    "ensemble": lambda: Ensemble(member=MLP(**SMALL), size=2),
    "blend": lambda: Blend(members=[Linear(), BetterFlops()]),
    "trees": lambda: XGBoost(trees=3, depth=2),
    "polynomial": lambda: Polynomial(encoder=Totals(("macs", "kernels")), degree=2),
    "process": lambda: GaussianProcess(encoder=Totals(("macs", "kernels"))),
    "conditioned": Conditioned,
    "adaproxy": AdaProxy,
}
ADAPTED = ("conditioned", "adaproxy")


@pytest.fixture(scope="module")
def train() -> Measurements:
    return made_up(SPACE.sample(30, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def saved(train: Measurements, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, found = tmp_path_factory.mktemp("saved"), {}
    for name, make in KINDS.items():
        predictor: Any = make().fit(train, train)
        if name in ADAPTED:
            predictor = predictor.adapt(made_up(SPACE.sample(8, np.random.default_rng(1)), 1))
        found[name] = folder / f"{name}.pt"
        predictor.save(found[name])
    for name in ("gcn", "trees", "adaproxy"):
        found[f"{name}.onnx"] = folder / f"{name}.onnx"
        export(Predictor.load(found[name]), found[f"{name}.onnx"], checked=20)
    return found


def answers(path: Path) -> np.ndarray | None:
    """What a file predicts; nothing where it is refused in a sentence."""
    try:
        return load_predictor(path).predict_all(ARCHS)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return None


# Damage


@pytest.mark.parametrize("name, flips", [("gcn", 80), ("trees", 60), ("process", 60), ("gcn.onnx", 150),
                                         ("trees.onnx", 50)])  # fmt: skip
def test_a_flipped_bit_is_refused_or_changes_nothing(
    name: str, flips: int, saved: dict[str, Path], tmp_path: Path
) -> None:
    content, wanted = saved[name].read_bytes(), answers(saved[name])
    assert wanted is not None
    rng, path, refused = np.random.default_rng(0), tmp_path / f"flipped{saved[name].suffix}", 0
    for _ in range(flips):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        got = answers(path)
        refused += got is None
        assert got is None or np.array_equal(got, wanted)
    assert refused > flips / 4


@pytest.mark.parametrize("name", ["gcn", "gcn.onnx"])
def test_a_number_that_was_changed_is_called_damage(name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / f"changed{saved[name].suffix}"
    if path.suffix == ".pt":
        content = torch.load(saved[name], weights_only=True)
        content["state"]["network"]["head.0.weight"][0, 0] += 1
        torch.save(content, path)
    else:
        raw = bytearray(saved[name].read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    with pytest.raises(InputError, match="is damaged, its content does not match its digest"):
        load_predictor(path)


def test_files_of_before_the_digest_are_to_be_written_again(saved: dict[str, Path], tmp_path: Path) -> None:
    content = torch.load(saved["gcn"], weights_only=True)
    content.pop("digest")
    torch.save(content, tmp_path / "old.pt")
    model = onnx.load(saved["gcn.onnx"])
    model.metadata_props.pop()
    onnx.save(model, tmp_path / "old.onnx")
    for name in ("old.pt", "old.onnx"):
        with pytest.raises(InputError, match=r"digest of its .*(write|export) it again"):
            load_predictor(tmp_path / name)


def test_a_digest_tells_types_shapes_order_and_values_apart() -> None:
    different = [
        {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": None}, {"a": {"a": 1}}, {},
        {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)}, {"a": torch.zeros(6)},
        {"a": torch.zeros(6, dtype=torch.float64)}, {"a": torch.zeros(6, dtype=torch.int32)}, {"a": torch.ones(6)},
        {"a": torch.zeros(0)}, {"a": [[], []]}, {"a": [[[]]]},
    ]  # fmt: skip
    assert len({digest(content) for content in different}) == len(different)
    assert digest({"a": torch.zeros(2, 3).T}) == digest({"a": torch.zeros(3, 2)})


# Edits by somebody who writes the digest again


def places(tree: Any, at: tuple = ()) -> Iterator[tuple]:
    """The path of every value in nested dictionaries and lists; of long lists the first and the last."""
    if isinstance(tree, dict | list):
        keys = list(tree) if isinstance(tree, dict) else sorted({0, len(tree) - 1} & set(range(len(tree))))
        for key in keys:
            yield (*at, key)
            yield from places(tree[key], (*at, key))


def edits(value: Any) -> list[Any]:
    """Other values to put in a place."""
    other: list[Any] = [None, 10**9, "x", [], {}, float("nan")]
    if isinstance(value, torch.Tensor):
        other = [other[i] for i in (0, 2, 3)]
        other += [value[:0], value.reshape(-1)[:1], value.double() if value.dtype != torch.float64 else value.float()]
        other += [torch.full_like(value, float("nan"))] if value.is_floating_point() else [value * 0 + 100]
    return other


@pytest.mark.parametrize("name", KINDS)
def test_an_edited_tree_is_refused_or_answers(name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    tree, path = read_checkpoint(saved[name]), tmp_path / "edited.pt"
    rng = np.random.default_rng(0)
    found = [place for place in places(tree) if place[0] != "versions"]
    rows = [(place, number) for place in found for number in range(-1, 7)]
    for row in rng.permutation(len(rows))[:120].tolist():
        place, number = rows[row]
        edited = copy.deepcopy(tree)
        inner = edited
        for key in place[:-1]:
            inner = inner[key]
        values = edits(inner[place[-1]])
        if number < 0:
            del inner[place[-1]]
        else:
            inner[place[-1]] = values[number % len(values)]
        write_checkpoint(edited, path)
        got = answers(path)
        assert got is None or (got.shape[0] == len(ARCHS) and not np.isnan(got).any()), (place, number)
