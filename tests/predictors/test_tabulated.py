"""Networks priced by a look-up table of their layers: the fit, the artefact, the commands, NetAdapt."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datasets.files.checkpoint import read_checkpoint, write_checkpoint
from datasets.networks.network import SMALLEST, Network
from datasets.records import Device, InputError, Measurements, Networks
from datasets.spaces.small_zoo import SmallZoo
from measure.table import write_table
from predictors.base import Predictor
from predictors.commands.answers import predict, show
from predictors.commands.learning import adapt, choose, layerwise
from predictors.networks.layer_sum import LayerSum
from predictors.networks.price import price
from predictors.networks.tabulated import LEAST, Tabulated
from search.netadapt.__main__ import _priced
from search.netadapt.channels import Groups, find_groups
from search.netadapt.grids import Grid, direct_networks, layers_to_measure
from search.netadapt.widths import PricedNetwork

DEVICES = tuple(Device(name, "toy", "server-cpu") for name in ("fast", "slow"))
TRUTH = np.array([0.02, 0.001, 0.6, 1.0, 0.6, 0.8, 0.05])
"""Coefficients of the device `fast`: those by which its whole networks were made up."""


CONV = '[[["input",{"shape":[%d,1,1]}],["conv",{"shape":[%d,1,1],"kernel":1}]],[[0,1,0]]]'


def small(name: str) -> Network:
    return SmallZoo().expand(SmallZoo().parse([name])[0])


GROUPS = find_groups(small("resnet"))


def widths_of(network: Network, groups: Groups = GROUPS) -> np.ndarray:
    first = [groups.of_node.index(group) for group in range(len(groups))]
    return np.array([network.ops[node].attrs["shape"][0] for node in first])


@pytest.fixture(scope="module")
def networks() -> list[Network]:
    """The resnet of small images with 16 widths."""
    return [Network.of(item.ops, item.edges) for item in direct_networks(GROUPS, Grid(), 15, 0)]


def frame_of(keys: list[str], values: np.ndarray) -> pd.DataFrame:
    rows = [
        {"space": "layers", "key": key, "device": device.name, "metric": "latency_ms", "value": value, "repeats": 1}
        for key, row in zip(keys, values, strict=True)
        for device, value in zip(DEVICES, row, strict=True)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def path(networks: list[Network], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the resnet's layers, and of its whole networks but the last six."""
    folder = tmp_path_factory.mktemp("tabulated")
    measured = layers_to_measure([GROUPS], Grid(points=4))
    rng = np.random.default_rng(0)
    share = dict.fromkeys((item.kind for item in measured), 0.0) | {item.kind: rng.uniform(1, 3) for item in measured}
    ms = [0.01 + 1e-5 * share[item.kind] * (item.channels_in + 8) * (item.channels_out + 8) ** 0.9 for item in measured]
    values = np.outer([0.01, *ms], (1, 3))
    frame = frame_of([SMALLEST.key, *(item.network().key for item in measured)], values)
    meta = {"devices": [device.to_dict() for device in DEVICES]}
    write_table(frame, meta, folder / "layers.parquet")
    (terms, _), kept = LayerSum(Tabulated(folder / "layers.parquet")).learn_layers().costs(Networks(networks)), 10
    whole = np.stack([terms[:, 0] @ TRUTH, 3 * terms[:, 0] @ TRUTH], axis=1)
    frame = pd.concat([frame, frame_of([item.key for item in networks[:kept]], whole[:kept])])
    write_table(frame, meta, folder / "table.parquet")
    np.save(folder / "whole.npy", whole)
    return folder / "table.parquet"


@pytest.fixture(scope="module")
def whole(path: Path) -> np.ndarray:
    """True milliseconds [N, D] of all networks."""
    return np.load(path.with_name("whole.npy"))


@pytest.fixture(scope="module")
def saved(path: Path) -> Path:
    layerwise(path.with_name("predictor.pt"), lut=path)
    return path.with_name("predictor.pt")


def loaded(path: Path) -> LayerSum:
    predictor = Predictor.load(path)
    assert isinstance(predictor, LayerSum)
    return predictor


def test_networks_that_a_table_holds_correct_the_sums_of_its_layers(
    path: Path, networks: list[Network], whole: np.ndarray
) -> None:
    raw, fitted = LayerSum(Tabulated(path)).learn_layers(), LayerSum.tabulated(path)
    new, truth = Networks(networks[10:]), whole[10:]
    assert [device.name for device in fitted.devices_] == ["fast", "slow"]
    off, plain = (np.abs(item.predict_all(new) / truth - 1).mean(axis=0) for item in (fitted, raw))
    assert (off < 0.03).all() and (plain > 0.08).all()
    low, high = fitted.belief(new, DEVICES[0]).interval(0.9)
    assert ((low < truth[:, 0]) & (truth[:, 0] < high)).mean() > 0.8
    m = Measurements(Networks(networks), DEVICES, pd.DataFrame(
        {"arch": np.repeat(np.arange(16), 2), "device": [0, 1] * 16, "metric": "latency_ms", "value": whole.ravel()}
    ), "networks")  # fmt: skip
    learnt = LayerSum(Tabulated(path)).fit(m.where(archs=np.arange(10)))
    np.testing.assert_allclose(learnt.predict_all(new), fitted.predict_all(new), rtol=1e-6)


def test_what_netadapt_reads_is_what_is_predicted(path: Path, networks: list[Network]) -> None:
    fitted = LayerSum.tabulated(path)
    for device in DEVICES:
        priced = PricedNetwork(GROUPS, fitted.table(device))
        ms = priced.latencies_ms(np.array([widths_of(item) for item in networks]))
        np.testing.assert_allclose(ms, fitted.predict(Networks(networks), device), rtol=1e-9)


def test_networks_of_other_layers_do_not_count_where_there_are_such_of_the_same(path: Path) -> None:
    kinds = [item.kind for item in GROUPS.layers]
    whole = Tabulated(path).learn().whole(kinds)
    assert whole is not None and len(whole.architectures) == 10
    assert Tabulated(path).learn().whole(kinds[:-1]) is None
    for other in (kinds, kinds[:-1]):
        found = LayerSum.tabulated(path, other).calibrations_[0]
        np.testing.assert_array_equal(found.coefficients, LayerSum.tabulated(path).calibrations_[0].coefficients)


def test_a_layer_that_takes_no_longer_than_a_session_costs_something(path: Path) -> None:
    frame = pd.read_parquet(path)
    key = next(key for key in frame["key"] if key.startswith("["))
    frame.loc[frame["key"] == key, "value"] = 0.005
    write_table(frame, {"devices": []}, file := path.with_name("tiny.parquet"))
    costs = Tabulated(file).learn()
    (terms,) = costs.network_terms(Networks([Network.from_json(key)]))
    assert terms[0, 0, 2:6].sum() == pytest.approx((LEAST - 2) * 0.01)
    predictor = LayerSum.tabulated(file)
    ms = predictor.predict(Networks([Network.from_json(key)]), predictor.devices_[0])
    assert ms >= predictor.calibrations_[0].coefficients[0]


def test_no_layer_of_a_price_takes_less_than_nothing_and_all_take_what_is_predicted(path: Path) -> None:
    predictor = LayerSum.tabulated(path)
    c = predictor.calibrations_[0]
    less = replace(c, coefficients=c.coefficients * [1, 0.01, 1, 1, 1, 1, 0.01])
    predictor = predictor.with_devices(DEVICES[:1], [less])
    (costs,) = predictor.layers.network_terms(Networks([GROUPS.network]))
    priced = price(predictor, GROUPS.network, None)
    assert (costs[:, 0] @ less.coefficients).min() < 0 <= min(piece.ms for piece in priced.pieces)
    assert priced.latency_ms == pytest.approx(predictor.predict(Networks([GROUPS.network]))[0])


def test_a_saved_file_answers_alike_without_its_table(
    saved: Path, path: Path, networks: list[Network], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = read_checkpoint(saved)
    content["predictor"]["init_args"]["layers"]["init_args"]["path"] = "gone.parquet"
    write_checkpoint(content, copy := tmp_path / "copy.pt")
    archs = Networks(networks)
    np.testing.assert_array_equal(loaded(copy).predict_all(archs), LayerSum.tabulated(path).predict_all(archs))
    show(copy)
    assert "class_path: predictors.networks.tabulated.Tabulated" in capsys.readouterr().out
    predict(copy, device="slow", network="small_zoo:resnet")
    output = capsys.readouterr().out
    assert "resnet on slow, batch 1" in output and "90 % interval" in output and "All ops are known" in output


def test_a_table_of_whole_numbers_is_saved_too(path: Path, networks: list[Network], tmp_path: Path) -> None:
    frame = pd.read_parquet(path)
    write_table(frame.assign(value=range(1, len(frame) + 1)), {"devices": []}, tmp_path / "t.parquet")
    (predictor := LayerSum.tabulated(tmp_path / "t.parquet")).save(tmp_path / "p.pt")
    archs = Networks(networks)
    np.testing.assert_array_equal(loaded(tmp_path / "p.pt").predict_all(archs), predictor.predict_all(archs))


def test_layers_that_a_table_does_not_hold_are_named(
    saved: Path, networks: list[Network], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="has no layer 'conv.*' of alexnet on 'fast', nor wider and narrower ones"):
        predict(saved, device="fast", network="small_zoo:alexnet")
    many = Networks([replace(networks[0], batch=8)])
    for ask in (loaded(saved).predict, loaded(saved).belief):
        with pytest.raises(InputError, match="has a batch of 8, and layers on fast were measured with 1"):
            ask(many, DEVICES[0])
    with pytest.raises(InputError, match="Of 2 networks 1 are made of layers that are known"):
        loaded(saved).choose(Networks([networks[0], small("alexnet")]), 2, np.random.default_rng(0))


def test_a_device_that_lacks_a_layer_does_not_keep_others_from_answering(
    path: Path, networks: list[Network], tmp_path: Path
) -> None:
    frame = pd.read_parquet(path)
    kind = GROUPS.layers[-1].kind
    lacks = [item.network().key for item in layers_to_measure([GROUPS], Grid(points=4)) if item.kind == kind]
    frame = frame[~(frame["key"].isin(lacks) & (frame["device"] == "slow"))]
    write_table(frame, {"devices": []}, tmp_path / "t.parquet")
    predictor = LayerSum.tabulated(tmp_path / "t.parquet")
    assert (predictor.predict(Networks(networks), predictor.devices_[0]) > 0).all()
    for ask in (lambda: predictor.predict(Networks(networks), predictor.devices_[1]),
                lambda: predictor.predict_all(Networks(networks))):  # fmt: skip
        with pytest.raises(InputError, match="has no layer 'dense.*on 'slow'"):
            ask()


def test_a_device_without_any_layer_is_left_out(path: Path, networks: list[Network], tmp_path: Path) -> None:
    frame = pd.read_parquet(path)
    there = frame["key"].isin([SMALLEST.key, *(item.key for item in networks)])
    write_table(frame[there | (frame["device"] == "fast")], {"devices": []}, tmp_path / "t.parquet")
    assert [device.name for device in LayerSum.tabulated(tmp_path / "t.parquet").devices_] == ["fast"]
    write_table(frame[there], {"devices": []}, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="has no layers; measure what"):
        LayerSum.tabulated(tmp_path / "t.parquet")


def test_a_new_device_is_adapted_to_by_chosen_networks(
    saved: Path, networks: list[Network], whole: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "networks.txt"
    names = ["small_zoo:resnet", "small_zoo:resnet_even"]
    lines.write_text("\n".join(names))
    choose(saved, 1, lines)
    assert capsys.readouterr().out.split()[0] in names
    csv = tmp_path / "few.csv"
    values = loaded(saved).predict(Networks([small("resnet"), small("resnet_even")]), DEVICES[0])
    rows = [f"{name},{2 * ms}" for name, ms in zip(names, values, strict=True)]
    csv.write_text("\n".join(["network,value_ms", *rows]))
    adapt(saved, str(csv), tmp_path / "new.pt", device="phone")
    new = loaded(tmp_path / "new.pt")
    np.testing.assert_allclose(new.predict(Networks(networks[10:])), 2 * whole[10:, 0], rtol=0.1)
    priced = _priced(GROUPS.network, tmp_path / "new.pt", "", 0.0)
    assert priced.table.device == "phone"
    assert priced.latency_ms(GROUPS.sizes) == pytest.approx(float(new.predict(Networks([GROUPS.network]))[0]))


def test_netadapt_takes_a_table_or_what_was_fitted_to_it(saved: Path, path: Path, tmp_path: Path) -> None:
    by_table, by_file = (_priced(GROUPS.network, lut, "slow", 0.0) for lut in (path, saved))
    assert by_table.latency_ms(GROUPS.sizes) == by_file.latency_ms(GROUPS.sizes)
    assert _priced(GROUPS.network, saved, "slow", 7.0).latency_ms(GROUPS.sizes) == pytest.approx(7)
    with pytest.raises(InputError, match="has 2 devices; name one of them: fast, slow"):
        _priced(GROUPS.network, path, "", 0.0)
    with pytest.raises(InputError, match="phone"):
        _priced(GROUPS.network, path, "phone", 0.0)


def test_a_look_up_table_learns_no_layers(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave the others out"):
        layerwise(tmp_path / "p.pt", lut=path, devices="fast")
    with pytest.raises(InputError, match="There is no file"):
        layerwise(tmp_path / "p.pt", lut=tmp_path / "none.parquet")


def _state(content: Any) -> Any:
    return content["state"]["layers"]


def _keys(change: Callable[[list[str]], Any]) -> Callable[[Any], Any]:
    def edit(content: Any) -> None:
        text = json.dumps(change(json.loads(bytes(_state(content)["keys"])))).encode()
        _state(content)["keys"] = np.frombuffer(text, np.uint8)

    return edit


EDITS: dict[str, Callable[[Any], Any]] = {
    "a time below zero": lambda c: _state(c)["ms"].__setitem__((3, 0), -1.0),
    "a time that is no number": lambda c: _state(c)["ms"].__setitem__((3, 0), np.nan),
    "a row less": lambda c: _state(c).update(ms=_state(c)["ms"][1:]),
    "a device less": lambda c: _state(c)["devices"].pop(),
    "no devices": lambda c: _state(c).update(devices=[]),
    "no session": lambda c: _state(c)["ms"].__setitem__((0, 0), 0.0),
    "no layers": lambda c: _state(c)["ms"].__setitem__((slice(1, None), 0), 0.0),
    "keys that are no text": lambda c: _state(c)["keys"].__setitem__(5, 255),
    "keys that are numbers": lambda c: _state(c).update(keys=_state(c)["ms"]),
    "keys that are a mapping": _keys(dict.fromkeys),
    "a key that is a number": _keys(lambda keys: [*keys[:-1], 3]),
    "a key twice": _keys(lambda keys: [*keys[:-1], keys[-2]]),
    "a key that is no network": _keys(lambda keys: [*keys[:-1], "[[[1]]]"]),
    "no smallest session": _keys(lambda keys: ["two numbers", *keys[1:]]),
    "more channels than there are": _keys(lambda keys: [*keys[:-1], CONV % (8, 20_000_000)]),
    "a coefficient less": lambda c: c["state"]["calibrations"][0].update(coefficients=TRUTH[1:]),
    "another source": lambda c: c["state"]["calibrations"][0].update(source=7),
    "no noise": lambda c: c["predictor"]["init_args"]["layers"]["init_args"].update(noise=0.0),
    "other costs": lambda c: c["predictor"]["init_args"]["layers"].update(
        class_path="predictors.networks.learnt.Learnt", init_args={}
    ),
    "no costs": lambda c: c["predictor"]["init_args"]["layers"].update(class_path="predictors.linear.Linear"),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_a_file_that_was_edited_is_refused_in_a_sentence(what: str, saved: Path, tmp_path: Path) -> None:
    content = read_checkpoint(saved)
    EDITS[what](content)
    write_checkpoint(content, tmp_path / "broken.pt")
    with pytest.raises(InputError) as error:
        Predictor.load(tmp_path / "broken.pt")
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_grids_that_would_fill_the_memory_are_refused(path: Path, tmp_path: Path) -> None:
    """Two thousand layers of one kind, no two with a number of channels in common."""
    keys = [SMALLEST.key, *(CONV % (i, i) for i in range(1, 2001))]
    write_table(frame_of(keys, np.ones((len(keys), 2))), {"devices": []}, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="measure fewer numbers of channels"):
        LayerSum.tabulated(tmp_path / "t.parquet")
