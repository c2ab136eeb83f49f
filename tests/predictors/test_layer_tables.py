"""Public layer timings: tiny files in both upstream formats, what the loaders refuse, what the real files hold."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.base import Dataset
from datasets.public.dl_energy import KINDS, DlEnergy
from datasets.public.frames import read_frame
from datasets.public.justus import SOURCE, Justus
from datasets.public.neusight import NeuSight
from datasets.records import InputError, Measurements
from datasets.spaces.tf_convolution import TfConvolution
from datasets.spaces.tf_dense import TfDense
from measure.backends.ort import OnnxRuntime
from studies.perfnetrt.report import write_report

# Pickles as Python 2 and pandas 0.23 write them, opcode by opcode: the installed pandas writes others.


def plain(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, what: str) -> bytes:
    return f"c{module}\n{what}\n".encode()


def call(function: bytes, *arguments: bytes, state: bytes = b"") -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR" + (state + b"b" if state else b"")


def text(content: bytes) -> bytes:
    return b"T" + len(content).to_bytes(4, "little") + content


def dtype(code: str) -> bytes:
    state = (3, "|" if code in ("O8", "b1") else "<", None, None, None, -1, -1, 0)
    return call(name("numpy", "dtype"), plain(code), plain(0), plain(1), state=plain(state))


def array(values: np.ndarray | list[str]) -> bytes:
    texts = isinstance(values, list)
    shape = (len(values),) if texts else values.shape
    code = "O8" if texts else values.dtype.str[1:]
    content = plain(values) if texts else text(values.tobytes())
    empty = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), plain((0,)), plain("b"))
    return empty + b"(" + plain(1) + plain(shape) + dtype(code) + plain(False) + content + b"tb"


def mapping(**items: bytes) -> bytes:
    return b"}(" + b"".join(plain(key) + value for key, value in items.items()) + b"u"


def frame(columns: dict[str, np.ndarray], first: bytes = b"") -> bytes:
    """The pickle of a DataFrame, one block for each kind of number."""
    by_kind: dict[str, list[str]] = {}
    for column, values in columns.items():
        by_kind.setdefault(values.dtype.str, []).append(column)
    names = list(columns)
    blocks = b""
    for several in by_kind.values():
        places = np.array([names.index(column) for column in several])
        contiguous = (np.diff(places) == 1).all()
        ends = [plain(int(places[0])), plain(int(places[-1]) + 1), plain(1)]
        where = call(name("__builtin__", "slice"), *ends) if contiguous else array(places)
        blocks += mapping(mgr_locs=where, values=array(np.stack([columns[column] for column in several])))
    new = name("pandas.core.indexes.base", "_new_Index")
    data = mapping(data=array(names), name=plain(None))
    axis = call(new, name("pandas.core.indexes.base", "Index"), data)
    rows = plain({"start": 0, "stop": len(next(iter(columns.values()))), "step": 1, "name": None})
    axes = b"](" + axis + call(new, name("pandas.core.indexes.range", "RangeIndex"), rows) + b"e"
    newest = b"}" + plain("0.14.1") + mapping(axes=axes, blocks=b"](" + blocks + b"e") + b"s"
    manager = name("pandas.core.internals", "BlockManager") + b")\x81("
    manager += axes + plain([]) + plain([]) + newest + b"tb"
    whole = name("pandas.core.frame", "DataFrame") + b")\x81" + mapping(_data=manager, _typ=plain("dataframe")) + b"b"
    return b"\x80\x02" + first + whole + b"."


def convolutions(n: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    small = {"activation_fct": 4, "padding": 2}
    columns = {key: rng.integers(0, high, n) for key, high in small.items()}
    columns |= {key: rng.integers(1, 5, n).astype(np.int32) for key in ("batchsize", "kernelsize", "strides")}
    columns |= {key: rng.integers(5, 99, n) for key in ("channels_in", "channels_out", "matsize")}
    columns["use_bias"] = rng.integers(0, 2, n).astype(bool)
    columns["timeUsed_median"] = np.arange(1.0, n + 1)
    return columns | {"optimizer": np.array([0, 1, 5] * n)[:n].astype(np.int32)}


FIRST = next(file for file in SOURCE.files if "1080ti" in file and "convolution" in file)
FIRST_DENSE = next(file for file in SOURCE.files if "K40" in file and "dense" in file)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GNOMON_DATA", str(tmp_path))
    return tmp_path


def put(content: bytes, file: str = FIRST) -> Path:
    path = SOURCE.path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_justus_layers_and_times(folder: Path) -> None:
    columns = convolutions()
    put(frame(columns))
    m = Justus().measurements()
    assert [d.name for d in m.devices] == ["1080ti"] and m.devices[0].features["l2_mb"] == 2.75
    forward = columns["optimizer"] == 0
    table = m.architectures.space.table(m.architectures).assign(ms=m.matrix("latency_ms")[:, 0]).sort_values("ms")
    for ours, theirs in (("batch_size", "batchsize"), ("channel_input", "channels_in"), ("matrix_size", "matsize"),
                         ("bias", "use_bias"), ("activate_function", "activation_fct"), ("padding", "padding"),
                         ("ms", "timeUsed_median")):  # fmt: skip
        np.testing.assert_array_equal(table[ours], columns[theirs][forward])
    assert Justus(optimizer="adam").measurements().table["value"].sort_values().tolist() == [3.0, 6.0]
    put(frame({"activation_fct": np.arange(4), "batchsize": np.full(4, 8), "dim_input": np.full(4, 4095),
               "dim_output": np.array([1, 2, 3, 3]), "optimizer": np.zeros(4, np.int32),
               "timeUsed_median": np.ones(4)}), FIRST_DENSE)  # fmt: skip
    dense = Justus("dense").measurements()
    assert dense.architectures.keys[-1] == "batch=8,in=4095,out=3,act=sigmoid" and dense.devices[0].name == "k40"


def test_a_layer_drawn_twice_has_the_median_time(folder: Path) -> None:
    once = convolutions(1)
    put(frame({key: np.repeat(values, 3) for key, values in once.items()} | {"timeUsed_median": np.array([1.0, 9, 2])}))
    m = Justus().measurements()
    assert m.matrix("latency_ms").tolist() == [[2.0]]


def test_a_hostile_pickle_is_refused_and_runs_nothing(folder: Path) -> None:
    trace = folder / "trace"
    hostile = [
        call(name("os", "system"), plain(f"touch {trace}")),
        call(name("__builtin__", "eval"), plain(f"open({str(trace)!r}, 'w')")),
        call(name("pandas", "read_pickle"), plain(str(trace))),
        name("pandas.core.frame", "exec"),
        call(name("numpy", "load"), plain(str(trace))),
    ]
    for content in hostile:
        for whole in (b"\x80\x02" + content + b".", frame(convolutions(), first=content + b"0")):
            put(whole)
            with pytest.raises(InputError, match="asks to call .*, which a table does not need: not loaded"):
                Justus().measurements()
    assert not trace.exists()


def test_damaged_and_foreign_files_are_one_sentence(folder: Path) -> None:
    whole = frame(convolutions())
    for content in (b"", whole[: len(whole) // 2], plain([1, 2]) + b".", b"hello", whole.replace(b"0.14.1", b"0.15.1")):
        put(content)
        with pytest.raises(InputError, match="is damaged or no table that pandas pickled"):
            Justus().measurements()
    columns = convolutions()
    for changed, sentence in (
        ({k: v for k, v in columns.items() if k != "matsize"}, "has no column matsize"),
        (columns | {"matsize": columns["matsize"] + 5000}, "out of range"),
        (columns | {"timeUsed_median": np.full(6, np.nan)}, "missing, infinite"),
    ):
        put(frame(changed))
        with pytest.raises(InputError, match=sentence):
            Justus().measurements()
    with pytest.raises(InputError, match="have no device '2080ti'; they have 1080ti, k40"):
        Justus(devices=("2080ti",)).measurements()
    with pytest.raises(InputError, match="datasets fetch ml-performance-prediction"):
        Justus(devices=("v100",)).measurements()


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_file_with_any_byte_changed_is_read_or_refused(data: st.DataObject, tmp_path_factory) -> None:
    whole = bytearray(frame(convolutions(2)))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNOMON_DATA", str(tmp_path_factory.getbasetemp()))
        put(bytes(whole))
        try:
            columns = read_frame(SOURCE, FIRST)
        except InputError:
            return
        assert all(isinstance(column, np.ndarray) for column in columns.values())


def neusight_file(folder: Path, **changes: object) -> Path:
    path = folder / "neusight/scripts/asplos/data/dataset/train/collect/conv/p2.1.0/Tesla T4.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"OPName": "conv", "Latency": [1.5, 2.5], "Device": "Tesla T4", "B": [3, 64], "Input_Channel": [2041, 3],
               "Output_Channel": 7, "Kernel_Szie": 3, "Input_Size": [5, 252], "Stride": 1, "Padding": 1}  # fmt: skip
    pd.DataFrame(columns | changes).to_csv(path, index=False)
    return path


def test_neusight_layers_and_times(folder: Path) -> None:
    path = neusight_file(folder)
    m = NeuSight().measurements()
    assert m.architectures.keys[0] == "batch=3,size=5,kernel=3,in=2041,out=7,stride=1,pad=same,act=none,bias=0"
    assert m.matrix("latency_ms").ravel().tolist() == [1.5, 2.5] and m.devices[0].features["memory_gbs"] == 320
    for changes, sentence in (
        ({"Stride": 2}, "kernels that are not 3 x 3 with stride and padding 1"),
        ({"Input_Size": "large"}, "is damaged or another table"),
        ({"B": 65}, "is not a convolution layer"),
        ({"Latency": 0}, "missing, infinite, zero or negative"),
    ):
        neusight_file(folder, **changes)
        with pytest.raises(InputError, match=sentence):
            NeuSight().measurements()
    path.write_text("Latency\n1\n")
    with pytest.raises(InputError, match="is damaged or another table"):
        NeuSight().measurements()
    with pytest.raises(InputError, match="NeuSight has no device 'a100'; it has p100, p4"):
        NeuSight(("a100",)).measurements()


def energy_file(folder: Path, kind: str, **changes: object) -> Path:
    path = folder / f"dl-energy-estimator/estimator/data/{kind}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"batch_size": [3, 4], "image_size": 9, "kernel_size": 4, "in_channels": 5, "out_channels": 7,
               "stride": 2, "padding": 1, "input_size": 6, "output_size": 8, "duration": [30.0, 40.0],
               "forward_passes": [10, 20.5], "cpu_energy": [1e-9, 2e-9], "cpu_power": 0}  # fmt: skip
    pd.DataFrame(columns | changes).to_csv(path, index=False)
    return path


def test_energies_of_layers_are_millijoules_of_a_batch(folder: Path) -> None:
    for kind in KINDS:
        energy_file(folder, kind)
    m = DlEnergy().measurements()
    assert len(m.architectures) == 2 * len(KINDS) and [d.name for d in m.devices] == ["gold_5120"]
    assert {network.batch for network in m.architectures} == {3, 4}
    np.testing.assert_allclose(m.matrix("energy_mj")[:2, 0], [3.6, 7.2])
    np.testing.assert_allclose(m.matrix("latency_ms")[:2, 0], [3000, 1951.22], rtol=1e-5)
    per_image = m.architectures.space.totals(m.architectures)
    assert per_image["macs"][0] in (4 * 4 * 7 * 5 * 16, 3 * 4 * 4 * 7 * 5 * 16)
    assert DlEnergy(("tanh",)).measurements().architectures[0].ops[1].kind == "tanh"


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"kernel_size": 40}, "has layers whose window does not fit in their input"),
        ({"padding": -1}, "has sizes that no layer has"),
        ({"in_channels": "many"}, "is damaged or another table"),
        ({"forward_passes": 0}, "missing, infinite, zero or negative"),
    ],
)
def test_a_damaged_table_of_energies_is_refused(changes: dict, sentence: str, folder: Path) -> None:
    energy_file(folder, "conv2d", **changes)
    with pytest.raises(InputError, match=sentence):
        DlEnergy().measurements()
    with pytest.raises(InputError, match="has no kind 'gelu'; it has conv2d, linear"):
        DlEnergy(("gelu",)).measurements()


@pytest.mark.parametrize("space", [TfConvolution(2, 5), TfDense(2, 5)], ids=str)
def test_layers_with_any_activation_run(space: TfConvolution | TfDense) -> None:
    archs = space.sample(16, np.random.default_rng(3))
    assert {key.split("act=")[1].split(",")[0] for key in archs.keys} == {"none", "relu", "tanh", "sigmoid"}
    for arch, batch in zip(archs, space.table(archs)["batch_size"], strict=True):
        assert OnnxRuntime().session(space.expand(arch)).fetch()[0].shape[0] == batch


# Real files, where they are


def real(data: Dataset) -> Measurements:
    try:
        return data.measurements()
    except InputError as error:
        if "datasets fetch" not in str(error):
            raise
        pytest.skip(str(error))


def test_justus_holds_what_was_measured() -> None:
    m = real(Justus())
    counts = (~np.isnan(m.matrix("latency_ms"))).sum(0)
    known = dict(zip([d.name for d in m.devices], counts.tolist(), strict=True))
    assert known == {"1080ti": 12_347, "k40": 12_459, "p100": 12_589, "v100": 25_017, "k80": 12_537}
    assert len(real(Justus("dense")).table) == 62_242


def test_neusight_holds_what_was_measured() -> None:
    m = real(NeuSight())
    y = m.matrix("latency_ms")
    assert (~np.isnan(y)).all(axis=1).sum() == 4_939
    np.testing.assert_allclose(np.nanmedian(y, axis=0), [1.55, 2.71, 2.24, 0.97], atol=5e-3)


# The study


def test_the_study_s_report_has_a_section_a_part_and_draws_both_figures(tmp_path: Path) -> None:
    scores = {"mae": 0.1, "mape": 0.2, "rmse": 0.3, "r2": None, "chosen": 1.0, "set": "test", "predictor": "trees"}
    rows = [
        scores | {"part": part, "layer": "dense", "phase": "exe_ms", "device": "host_ort_fp32_1", "labels": labels}
        for part in ("layers", "training", "curves", "public")
        for labels in (200, 400)
    ]
    gpu = {"part": "gpus", "table": "neusight", "nearest": "v100", "mape": 0.4}
    rows += [gpu | {"gpu": name, "predictor": kind} for name in ("p4", "t4") for kind in ("conditioned", "roofline")]
    written = [Path(row["file"]) for row in write_report(rows, tmp_path / "layers.html")]
    assert [path.name for path in written] == ["layers.html", "learning_curves.png", "gpus_that_were_left_out.png"]
    assert all(path.stat().st_size > 10_000 for path in written)
    page = written[0].read_text()
    assert page.count("<h2>") == 6 and "dense, exe_ms (Tables IV and V)" in page
    assert [Path(row["file"]).name for row in write_report(rows[:2], tmp_path / "layers.html")] == ["layers.html"]
