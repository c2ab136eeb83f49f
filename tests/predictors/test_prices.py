"""Prices of networks as they are shown: side by side, curves, JSON, folded blocks, pictures; and what no measurement
supports."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Annotation
from onnx import TensorProto, helper

import datasets.machine
from datasets.cli import _gathered
from datasets.machine import PROCESSORS, machine_name
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.networks.precision import precisions
from datasets.networks.sizes import Sizes
from datasets.records import Device, InputError, Measurements, Networks
from datasets.spaces.zoo import Zoo
from encoders.flat import Totals
from predictors.commands.answers import predict
from predictors.linear import Linear
from predictors.networks import unmeasured
from predictors.networks.layer_sum import LayerSum
from predictors.networks.price import Price, PricedLayer, price, read_network
from predictors.networks.price_figure import draw
from predictors.networks.price_report import alike, details, folded
from predictors.networks.price_request import Shown, batches_of, names_of
from predictors.networks.shipped import load
from predictors.networks.unmeasured import BY_BYTES, EXTRAPOLATED, OTHER_PRECISION, OTHER_RUNTIME, Gap, widening
from studies.perfnetrt import unmeasured as measured_gaps
from tests import conftest
from tests.conftest import ROOT
from tests.datasets.test_onnx_file import save
from tests.doubles.toy_layers import DEVICES
from tests.predictors.test_layer_sum import NETS, knows_layers, network_table


@pytest.fixture(scope="module")
def fitted() -> LayerSum:
    return knows_layers().calibrated(network_table(20, 5))


@pytest.fixture(scope="module")
def saved(fitted: LayerSum, tmp_path_factory: pytest.TempPathFactory) -> Path:
    fitted.save(path := tmp_path_factory.mktemp("prices") / "predictor.pt")
    return path


@pytest.fixture
def open_file(tmp_path: Path) -> Path:
    """A convolution with a free batch, height and width."""
    weight = {"w": np.ones((4, 3, 3, 3), np.float32)}
    return save(tmp_path / "open.onnx", [("Conv", "x w", {})], ["n", 3, "h", "w"], weight)


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    """A convolution of a fixed batch."""
    weight = {"w": np.ones((4, 3, 3, 3), np.float32)}
    return save(tmp_path / "fixed.onnx", [("Conv", "x w", {})], [1, 3, 16, 16], weight)


def out_of(capsys: pytest.CaptureFixture[str], *arguments: Any, **options: Any) -> str:
    capsys.readouterr()
    predict(*arguments, **options)
    return capsys.readouterr().out


def layer(label: str, ms: float = 1.0) -> PricedLayer:
    return PricedLayer("", label, "moved", ms, ms / 10, 2, 3, "memory")


def interval(priced: Price) -> float:
    return float(np.log(priced.high / priced.low))


# Names and blocks


def test_rows_have_the_names_that_nodes_have_in_their_file(fitted: LayerSum, tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "stem/conv"),
        helper.make_node("Relu", ["a"], ["b"], "stem/relu"),
    ]
    nodes += [helper.make_node("Softmax", ["b"], ["y"], axis=1)]
    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    ends = value("x", TensorProto.FLOAT, [1, 3, 8, 8]), value("y", TensorProto.FLOAT, [1, 4, 6, 6])
    graph = helper.make_graph(nodes, "g", [ends[0]], [ends[1]], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    network = read_network(tmp_path / "m.onnx")
    assert [piece.name for piece in price(fitted, network, DEVICES[0]).pieces] == ["stem/conv", "y"]
    again = Network.from_json(network.to_json(), network.space, network.key)
    assert again == network and "stem" not in network.to_json()
    assert [op.name for op in again.ops] == [""] * 4


def test_names_of_files_cannot_steer_a_terminal(fitted: LayerSum) -> None:
    net = NetworkBuilder()
    net.name = "\x1b[2Jclean\nnew line"
    net.pointwise("relu", net.add("input", (4, 8, 8)))
    text = details(price(fitted, net.finish("onnx", "\x1b]0;m.onnx:12"), DEVICES[0]))
    assert "\x1b" not in text and "?[2Jclean?new line" in text


def test_repeated_blocks_are_one_line_with_their_sum() -> None:
    block = [layer("conv 1 -> 2", 2.0), layer("add 2 -> 2", 1.0)]
    lines = folded(
        [layer("stem 3 -> 1"), *(3 * block), layer("dense 2 -> 1"), layer("end 1 -> 1"), layer("end 1 -> 1")]
    )
    assert [line.layer for line in lines] == [
        "stem 3 -> 1",
        "3 x 2 layers: conv ... add",
        "dense 2 -> 1",
        "2 x end 1 -> 1",
    ]
    assert lines[1].ms == 9 and lines[1].flops == 12 and lines[1].bytes == 18 and lines[1].share == pytest.approx(0.9)
    assert [(line.layer, line.ms) for line in alike([*block, *block])] == [
        ("2 x conv 1 -> 2", 4),
        ("2 x add 2 -> 2", 2),
    ]


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 4))
def test_folding_loses_nothing(kinds: list[str], times: int) -> None:
    layers = [layer(kind, 1.0 + i / 8) for i, kind in enumerate(kinds * times)]
    for lines in (folded(layers), alike(layers)):
        assert sum(line.ms for line in lines) == pytest.approx(sum(one.ms for one in layers))
        assert len(lines) <= max(len(layers), 0)
    assert times == 1 or not kinds or len(folded(layers)) <= len(kinds)


def test_layers_are_shown_in_order_or_by_cost(fitted: LayerSum) -> None:
    priced = price(fitted, Zoo().expand(Zoo().parse(["vgg16"])[0]), DEVICES[0])
    kinds = [[row.split()[0] for row in details(priced, order).splitlines()[5:10]] for order in ("order", "cost")]
    assert kinds[0][0].startswith("conv+relu") and kinds[0] != kinds[1]
    ms = [float(row.split(" -> ")[1].split()[2]) for row in details(priced, "cost").splitlines()[5:12]]
    assert ms == sorted(ms, reverse=True)


# Side by side


def test_files_that_cannot_be_priced_do_not_keep_others_from_it(
    saved: Path, fixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "half.onnx").write_bytes(fixed.read_bytes()[:50])
    files = [tmp_path / "half.onnx", fixed, tmp_path / "absent.onnx"]
    with pytest.raises(SystemExit) as ended:
        predict(saved, network="\n".join(map(str, files)))
    shown = capsys.readouterr()
    rows = shown.out.splitlines()
    assert ended.value.code == 2 and len(rows) == 3 and all("fixed.onnx" in row for row in rows[1:])
    assert [row.split()[1] for row in rows[1:]] == ["fast_1", "slow_1"]
    errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and "half.onnx is not an ONNX file" in errors[0] and "There is no file" in errors[1]


def test_words_after_the_flag_are_networks(tmp_path: Path) -> None:
    words = ["predict", "p.pt", "--network", "a.onnx", "b.onnx", "--json", "--device", "x"]
    assert _gathered(words) == ["predict", "p.pt", "--network", "a.onnx\nb.onnx", "--json=true", "--device", "x"]
    assert _gathered(["predict", "--network", "a.onnx", "p.pt", "--json", "false"])[2:] == [
        "a.onnx",
        "p.pt",
        "--json",
        "false",
    ]
    assert names_of("a.onnx\nb.onnx,zoo:vgg16,c.onnx\na.onnx") == ("a.onnx", "b.onnx", "zoo:vgg16", "c.onnx")
    assert names_of(" ,\n") == ()
    comma = tmp_path / "a,b.onnx"
    comma.touch()
    assert names_of(f"{comma}\n" + "x" * 5000) == (str(comma), "x" * 5000)


def test_json_has_the_documented_keys(saved: Path, open_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how: dict[str, Any] = {"sizes": Sizes(size="h=16 w=16,32"), "level": 0.5, "shown": Shown(10, json=True)}
    text = out_of(capsys, saved, network=str(open_file), **how)
    content = json.loads(text)
    assert list(content) == ["format", "metric", "unit", "level", "prices", "notes", "errors"]
    assert (content["format"], content["metric"], content["unit"], content["level"]) == (1, "latency_ms", "ms", 0.5)
    prices = content["prices"]
    assert [(row["device"], row["sizes"].get("w")) for row in prices] == [
        *(("fast_1", width) for width in (16, 32)),
        *(("slow_1", width) for width in (16, 32)),
    ]
    keys = {
        "network",
        "key",
        "device",
        "sizes",
        "batch",
        "latency_ms",
        "low",
        "high",
        "pre_ms",
        "session_ms",
        "post_ms",
    }
    keys |= {
        "total_ms",
        "macs",
        "params",
        "peak_mb",
        "init_ms",
        "session_host",
        "unknown",
        "notes",
        "layers",
        "images_per_s",
    }
    for row in prices:
        assert set(row) == keys | {"images", "batches", "images_ms"}
        assert row["low"] < row["latency_ms"] < row["high"] and row["images_ms"] == pytest.approx(10 * row["total_ms"])
        assert row["latency_ms"] == pytest.approx(row["session_ms"] + sum(one["ms"] for one in row["layers"]))
        assert set(row["layers"][0]) == set(PricedLayer.__dataclass_fields__)


def test_json_of_faulty_networks_is_json_too(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        predict(saved, network="absent.onnx", shown=Shown(json=True))
    content = json.loads(capsys.readouterr().out)
    assert ended.value.code == 2 and content["prices"] == [] and content["errors"][0]["network"] == "absent.onnx"


def test_the_command_line_takes_several_networks_and_bare_json(saved: Path, fixed: Path) -> None:
    arguments = ("--network", fixed, "zoo:lenet5", "none.onnx", "--json", "--device", "slow_1", "--images", 8)
    done = conftest.run("-m", "predictors", "predict", saved, *arguments, "--sort", "price")
    assert done.returncode == 2 and "sort: 'price' is none of 'order', 'cost'." in done.stderr, done.stderr
    done = conftest.run("-m", "predictors", "predict", saved, *arguments, "--sort", "cost")
    assert done.returncode == 2 and "error: There is no file none.onnx" in done.stderr
    assert [row["network"] for row in json.loads(done.stdout)["prices"]] == [str(fixed), "zoo:lenet5"]


def test_several_batches_are_a_curve_with_the_best_marked(
    saved: Path, fitted: LayerSum, open_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how: dict[str, Any] = {"network": str(open_file), "device": "slow_1", "sizes": Sizes(size="h=16 w=16")}
    text = out_of(capsys, saved, batch="1,4,16", shown=Shown(64, json=True), **how)
    rows = json.loads(text)["prices"]
    assert [(row["batch"], row["batches"]) for row in rows] == [(1, 64), (4, 16), (16, 4)]
    for row in rows:  # PerfNetRT's equation 2
        priced = price(fitted, read_network(open_file, row["batch"], how["sizes"]), DEVICES[1])
        assert row["images_ms"] == pytest.approx(64 / row["batch"] * priced.total_ms)
        assert row["images_per_s"] == pytest.approx(1000 * row["batch"] / priced.total_ms)
    best = min(rows, key=lambda row: row["images_ms"])
    assert [row["best"] for row in rows] == [row is best for row in rows]
    table = out_of(capsys, saved, batch="1,4,16", **how).splitlines()
    assert [row.split()[2] for row in table[1:]] == ["1", "4", "16"] and sum("*" in row for row in table) == 1
    (part,) = json.loads(out_of(capsys, saved, batch=16, shown=Shown(20, json=True), **how))["prices"]
    assert part["batches"] == 2, "the last batch is not full, and runs whole"


def test_a_file_of_a_fixed_batch_says_so(saved: Path, fixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="fixes its batch at 1; leave the batch 4 out"):
        predict(saved, network=str(fixed), batch="4,16")
    with pytest.raises(SystemExit):
        predict(saved, network=str(fixed), batch="1,4", device="fast_1")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2 and "fixes its batch at 1; leave the batch 4 out" in shown.err


@pytest.mark.parametrize(
    "text", ["0", "-1", "1,,2", "", "x", "1.5", "1e3", "1" * 9, ",".join(map(str, range(1, 1100)))]
)
def test_batches_are_whole_numbers(text: str) -> None:
    with pytest.raises(InputError, match="--batch"):
        batches_of(text)


def test_a_level_is_heeded_everywhere(saved: Path, open_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = Sizes(size="h=16,32 w=16")
    for how in (
        {"sizes": sizes},
        {"sizes": sizes, "batch": "1,2"},
        {"network": "zoo:lenet5\nzoo:alexnet", "sizes": Sizes()},
    ):
        widths = []
        for level in (0.5, 0.9):
            options = {"network": str(open_file), "level": level, **how}
            assert f"{100 * level:g} % from" in out_of(capsys, saved, **options)
            row = json.loads(out_of(capsys, saved, shown=Shown(json=True), **options))["prices"][0]
            widths.append(np.log(row["high"] / row["low"]))
        assert widths[0] < 0.6 * widths[1]
    assert "99.99999 % from" in out_of(capsys, saved, network=str(open_file), level=0.9999999, sizes=sizes), "not 100 %"


def test_predictors_that_know_no_layers_price_several_networks_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = network_table(30, 1)
    m = Measurements(Networks.of(table.architectures), table.devices, table.table, "networks")
    Linear(encoder=Totals(("macs", "moved_bytes"))).fit(m).save(path := tmp_path / "linear.pt")
    text = out_of(capsys, path, network="zoo:lenet5\nzoo:alexnet", batch="1,4")
    assert len(text.splitlines()) >= 9 and "images/s" in text and "% from" not in text
    content = json.loads(out_of(capsys, path, network="zoo:alexnet", device="fast_1", shown=Shown(json=True)))
    (row,) = content["prices"]
    assert row["low"] is None and "layers" not in row and row["latency_ms"] > 0 and row["macs"] > 1e8
    with pytest.raises(InputError, match="has no intervals; leave --level out"):
        predict(path, network="zoo:alexnet", level=0.5)
    with pytest.raises(InputError, match="is no sum of layers"):
        predict(path, network="zoo:alexnet", device="fast_1", out=tmp_path / "no.png")


# What no measurement supports


def test_intervals_of_measured_kinds_of_networks_stay_as_they_are(fitted: LayerSum) -> None:
    networks = Networks.of(NETS.sample(5, np.random.default_rng(0)))
    costs, parts = fitted.costs(networks)
    ends = [
        one.interval(0.9) for one in (fitted.belief(networks, DEVICES[0]), fitted.believed(DEVICES[0], costs, parts))
    ]
    np.testing.assert_array_equal(*ends)
    assert len(fitted.belief(networks[:0], DEVICES[0]).interval(0.9)[0]) == 0


def test_an_interval_grows_with_the_share_of_unknown_ops(fitted: LayerSum) -> None:
    def network(kind: str, unknown: int) -> Network:
        net = NetworkBuilder()
        x = net.conv(net.add("input", (16, 32, 32)), 16, 3)
        for i in range(6):
            x = net.pointwise(kind if i < unknown else "Neg", x)
        return net.finish("onnx", "m")

    known, *others = (price(fitted, network("mine.Rotary", n), DEVICES[0]) for n in (0, 1, 3, 6))
    widths = [interval(priced) for priced in (known, *others)]
    assert not known.warnings and widths == sorted(widths) and widths[-1] > 1.5 * widths[0]
    assert len({round(priced.latency_ms, 9) for priced in (known, *others)}) == 1
    assert "(6 x mine.Rotary; " in others[-1].warnings[0] and "% of all bytes)" in others[-1].warnings[0]
    (low,), (high,) = fitted.belief(Networks([network("mine.Rotary", 6)]), DEVICES[0]).interval(0.9)
    assert (low, high) == (others[-1].low, others[-1].high)


def test_what_widens_an_interval_adds_up_as_log_normal_times_do() -> None:
    assert widening([]) == 0 and widening([Gap("", (1.0,), 0.7)]) == pytest.approx(0.7**2)
    rng, share = np.random.default_rng(0), 0.3
    times = share * np.exp(0.4 * rng.standard_normal(200_000))
    assert np.log(1 - share + times).std() == pytest.approx(np.sqrt(widening([Gap("", (share,), 0.4)])), rel=0.1)
    one, two = widening([Gap("", (0.4,), 0.5)]), widening([Gap("", (0.2, 0.2), 0.5)])
    assert two < one < widening([Gap("", (0.4,), 0.5), Gap("", (0.1,), 0.5)])


def test_layers_far_from_the_tables_widen_an_interval(fitted: LayerSum) -> None:
    def network(side: int) -> Network:
        net = NetworkBuilder()
        net.conv(net.add("input", (64, side, side)), 64, 11)
        return net.finish("toy", "big")

    near, far = (price(fitted, network(side), DEVICES[0]) for side in (24, 700))
    assert not near.warnings and "take more than 6.5 times the work" in far.warnings[0]
    assert interval(far) > interval(near) + 0.5


def _typed(kind: str) -> Network:
    """A convolution in fp16, one in int8 between quantisers, or one in fp32."""
    net, dtype = NetworkBuilder(), {"fp16": {"dtype": "float16"}}.get(kind, {})
    x = net.add("input", (16, 32, 32), **dtype)
    if kind == "int8":
        x = net.pointwise("DequantizeLinear", net.pointwise("QuantizeLinear", x, dtype="int8"))
    for _ in range(3):
        x = net.add("conv", (16, 32, 32), x, kernel=3, pad=1, **dtype)
    if kind == "narrow weights":
        net.ops[1:] = [replace(op, attrs={**op.attrs, "param_bytes": 16 * 16 * 9}) for op in net.ops[1:]]
    return net.finish("onnx", "m.onnx:1")


@pytest.mark.parametrize("kind, precision", [("fp32", "fp32"), ("fp16", "fp16"), ("narrow weights", "int8")])
def test_the_precision_of_an_op_is_that_of_its_tensors_or_its_weights(kind: str, precision: str) -> None:
    assert precisions(_typed(kind)) == ["", precision, precision, precision]
    assert precisions(_typed("int8"))[1:4] == ["int8"] * 3
    assert set(precisions(Zoo().expand(Zoo().parse(["lenet5"])[0]))) == {"", "fp32"}


@pytest.mark.parametrize("kind", ["fp16", "int8", "narrow weights"])
def test_a_file_of_another_precision_is_not_priced_as_fp32_in_silence(fitted: LayerSum, kind: str) -> None:
    same, other = (price(fitted, _typed(which), DEVICES[0]) for which in ("fp32", kind))
    assert not same.warnings and interval(other) > interval(same) + 0.1
    name = "int8" if kind == "narrow weights" else kind
    assert any(f"% in {name}, and fast_1 in fp32; it is priced as fp32" in sentence for sentence in other.warnings)


def test_a_device_that_converted_measured_networks_is_as_sure_of_files_in_fp32(fitted: LayerSum) -> None:
    device = replace(DEVICES[0], precision="int8")
    measured = fitted.with_devices([device], fitted.calibrations_[:1])
    few = fitted.with_devices([device], [replace(fitted.calibrations_[0], errors=np.empty(0))])
    assert not price(measured, _typed("fp32"), device).warnings
    assert "99 % in fp32, and fast_1 in int8" in price(few, _typed("fp32"), device).warnings[0]
    assert "in fp16, and fast_1 in int8" in price(measured, _typed("fp16"), device).warnings[0]


def test_a_runtime_that_does_not_run_the_file_is_noted(fitted: LayerSum) -> None:
    devices = [replace(DEVICES[0], runtime=runtime) for runtime in ("ort", "litert", "of my own")]
    network = _typed("fp32")
    ort, litert, own = (
        price(fitted.with_devices([device], fitted.calibrations_[:1]), network, device) for device in devices
    )
    assert not ort.warnings and not own.warnings and interval(ort) == interval(own) < interval(litert)
    assert litert.warnings == ("litert does not run .onnx files; priced is the same network, converted.",)


def test_a_predictor_that_was_never_adapted_to_this_machine_says_so(
    saved: Path, fitted: LayerSum, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = f"was never adapted to this machine ({machine_name()})"
    predict(saved, network="zoo:lenet5")
    assert note in capsys.readouterr().err
    assert note in json.loads(out_of(capsys, saved, network="zoo:lenet5", shown=Shown(json=True)))["notes"][0]
    mine = (Device("mine_ort_fp32_1", "toy", "server-cpu"),)
    fitted.adapt(network_table(4, 2, (2,), mine)).save(tmp_path / "adapted.pt")
    own = (Device(f"{machine_name()}_ort_fp32_1", "toy", "server-cpu"),)
    fitted.with_devices(own, fitted.calibrations_[:1]).save(tmp_path / "own.pt")
    for name in ("adapted.pt", "own.pt"):
        predict(tmp_path / name, network="zoo:lenet5")
        assert note not in capsys.readouterr().err


@pytest.mark.parametrize("model, like", [("17", "fast"), ("18", "")])
def test_a_note_says_which_known_machine_has_the_same_processor(
    model: str, like: str, saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own: dict[str, str | float] = {"vendor": "AuthenticAMD", "family": "25", "model": model}
    monkeypatch.setattr(datasets.machine, "machine", lambda: own)
    monkeypatch.setattr(datasets.machine, "PROCESSORS", {"fast": ("AuthenticAMD", "25", "17")})
    predict(saved, network="zoo:lenet5")
    text = capsys.readouterr().err
    assert "was never adapted to this machine" in text and (", which has the processor of fast;" in text) == bool(like)


def test_processors_of_bundled_machines_are_those_of_their_tables() -> None:
    found = set()
    for path in sorted((ROOT / "datasets" / "bundled").glob("*.parquet")):
        meta = json.loads((pyarrow.parquet.read_schema(path).metadata or {}).get(b"gnomon", b"{}"))
        processors = {tuple(host.get(name) for name in ("vendor", "family", "model")) for host in meta.get("hosts", [])}
        names = {device["name"].partition("_")[0] for device in meta.get("devices", [])}
        found |= {(name, processor) for name in names for processor in processors if None not in processor}
    assert found == set(PROCESSORS.items())


def test_the_page_on_prices_lists_the_devices_of_the_pricer() -> None:
    text = (ROOT / "docs" / "prices.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| .*family (\d+), model (\d+).* \| `(\w+)` \| (\w+) \| (\d) \|$", text, re.M)
    devices = [(d.name, *PROCESSORS[d.name.partition("_")[0]][1:], d.runtime, d.precision, str(d.threads))
               for d in load().devices_]  # fmt: skip
    assert sorted(listed) == sorted(devices)


@pytest.mark.parametrize(
    "part, constant", [("by_bytes", BY_BYTES), ("precision", OTHER_PRECISION), ("runtime", OTHER_RUNTIME)]
)
def test_deviations_are_those_of_the_bundled_tables(part: str, constant: float) -> None:
    numbers = getattr(measured_gaps, part)()
    assert measured_gaps.root_mean_square(numbers) == pytest.approx(constant, abs=0.05)


def test_errors_far_from_the_tables_are_of_the_size_that_is_assumed() -> None:
    def learner() -> Linear:
        return Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes")))

    found = measured_gaps.root_mean_square(measured_gaps.far(learner))
    assert 0.5 * EXTRAPOLATED < found < 3 * EXTRAPOLATED
    assert unmeasured.FAR > 6.12, "VGG16's first dense layer, which sums of layers are calibrated by"


# Pictures


def test_a_picture_is_drawn_beside_any_form(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, shown in (("text.png", Shown()), ("json.png", Shown(json=True)), ("images.png", Shown(images=5))):
        assert out_of(capsys, saved, network="zoo:lenet5", device="fast_1", out=tmp_path / name, shown=shown)
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("layers", [1, 20, 100, 500])
def test_labels_of_a_picture_do_not_collide(fitted: LayerSum, layers: int) -> None:
    net, rng = NetworkBuilder(), np.random.default_rng(0)
    x = net.add("input", (3, 32, 32))
    for _ in range(layers):
        x = net.conv(x, int(rng.integers(8, 64)), int(rng.choice([1, 3, 5])))
    figure = draw(price(fitted, net.finish("toy", 30 * "long-name-" + ".onnx"), DEVICES[0]))
    figure.draw_without_rendering()
    left, right = figure.axes
    texts = [text for axis in (left, right) for text in axis.texts if text.get_text().strip()]
    labels = [text.get_window_extent() for text in left.texts if isinstance(text, Annotation)]
    boxes = [text.get_window_extent() for text in texts]
    titles = [figure._suptitle.get_window_extent(), *(legend.get_window_extent() for legend in figure.legends)]  # type: ignore[attr-defined]
    boxes += [axis.get_tightbbox() for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis)] + titles
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :]), texts[i : i + 1]
    panel = left.get_window_extent()
    assert 1 <= len(labels) <= 3
    assert all(panel.x0 <= box.x0 and box.x1 <= panel.x1 and box.y1 <= panel.y1 for box in labels)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in titles)
