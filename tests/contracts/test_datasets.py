"""Contract of `Dataset`, on every configured one whose files are here, and what loaders refuse."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from datasets.base import Dataset
from datasets.measured import Measured
from datasets.opening import open_dataset
from datasets.public import help as help_data
from datasets.public.help import HelpFBNet, HelpNasBench201, HelpOFA
from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from tests.conftest import ROOT, run

TABLES = [*(ROOT / "configs" / "datasets").glob("*.yaml"), *(ROOT / "datasets" / "bundled").glob("*.parquet")]


@pytest.mark.parametrize("path", sorted(TABLES), ids=lambda path: path.name)
def test_measurements_are_whole(path: Path) -> None:
    data = open_dataset(path)
    try:
        m = data.measurements()
    except InputError as error:
        if "datasets fetch" not in str(error):
            raise
        pytest.skip(str(error))
    assert len(set(m.architectures.keys)) == len(m.architectures)
    assert len({device.name for device in m.devices}) == len(m.devices)
    assert not m.table.duplicated(["arch", "device", "metric"]).any()
    assert len(m.table), "nothing was measured"
    for metric in m.table["metric"].unique():
        values = m.matrix(metric)
        d = int(np.isfinite(values).any(axis=0).argmax())  # in tables of several kinds not all devices have a metric
        known = np.flatnonzero(np.isfinite(values[:, d]))[[0, -1]]
        device = m.devices[d] if m.devices else None
        np.testing.assert_array_equal(data.on(device, metric)(m.architectures[known]), values[known, d])


def test_a_table_does_not_answer_for_what_was_not_measured() -> None:
    data = Measured()
    m = data.measurements()
    other = NasBench201().all()
    known = set(m.architectures.keys)
    unknown = other[[i for i, key in enumerate(other.keys) if key not in known][:1]]
    with pytest.raises(InputError, match="has no latency_ms of"):
        data.on(m.devices[0])(unknown)


# HELP: files of its format, and real ones where they are


@pytest.fixture
def tiny_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HELP's files as they write them, with latencies that are the row numbers; rows in an order of their own."""
    folder = tmp_path / "help" / "data" / "nasbench201"
    (folder / "latency").mkdir(parents=True)
    order = np.random.default_rng(0).permutation(15_625)
    keys = NasBench201().all()[order].keys
    torch.save({key: row for row, key in enumerate(keys)}, folder / "str_arch2idx.pt")
    torch.save([float(row + 1) for row in range(15_625)], folder / "latency" / "gold_6226.pt")
    monkeypatch.setenv("GNOMON_DATA", str(tmp_path))
    return folder


def test_help_rows_follow_its_own_index(tiny_help: Path) -> None:
    m = HelpNasBench201().measurements()
    index = torch.load(tiny_help / "str_arch2idx.pt")
    assert [d.name for d in m.devices] == ["gold_6226"]
    values = m.matrix("latency_ms")[:, 0]
    for position in (0, 77, 15_624):
        assert values[position] == index[m.architectures.keys[position]] + 1


def test_help_devices_have_families_and_batches() -> None:
    assert help_data.device("1080ti_32").batch == 32
    assert help_data.device("gold_6226").batch == 1
    assert help_data.device("titan_rtx_256").family == help_data.device("2080ti_1").family
    for files in help_data._SHA256.values():
        assert {help_data.device(name).name for name in files if "titan_xp" not in name} <= set(files)


def test_help_absent_or_unknown_is_one_sentence(tiny_help: Path) -> None:
    with pytest.raises(InputError, match=r"python -m datasets fetch help"):
        HelpNasBench201(("fpga",)).measurements()
    with pytest.raises(InputError, match="HELP has no device 'gold'; it has"):
        HelpNasBench201(("gold",)).measurements()


def test_a_truncated_file_is_one_sentence(tiny_help: Path) -> None:
    path = tiny_help / "latency" / "gold_6226.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"gold_6226.pt is damaged"):
        HelpNasBench201().measurements()


def test_a_hostile_pickle_is_refused_and_does_nothing(tiny_help: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (Path.write_text, (tiny_help / "owned", "x"))

    path = tiny_help / "latency" / "gold_6226.pt"
    for write in (lambda: torch.save([Hostile()], path), lambda: path.write_bytes(pickle.dumps(Hostile()))):
        write()
        with pytest.raises(InputError, match="pickle that holds more than plain numbers; it was not loaded"):
            HelpNasBench201().measurements()
        assert not (tiny_help / "owned").exists()


def test_the_wrong_number_of_values_is_one_sentence(tiny_help: Path) -> None:
    torch.save([1.0] * 100, tiny_help / "latency" / "gold_6226.pt")
    with pytest.raises(InputError, match="has 100 values, not 15625"):
        HelpNasBench201().measurements()


def test_real_help_values(public_data: Path) -> None:
    """Statistics that the upstream files are known to have."""
    if not (public_data / "help" / "data" / "nasbench201" / "str_arch2idx.pt").is_file():
        pytest.skip("HELP's files are not here; `python -m datasets fetch help` downloads them")
    m = HelpNasBench201(("gold_6226", "raspi4")).measurements()
    values = m.matrix("latency_ms")
    assert values[0, 1] == 10.481976820010459
    assert m.architectures.keys[0].startswith("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|")
    np.testing.assert_allclose([values[:, 0].min(), np.median(values[:, 0])], [2.665, 9.611], atol=5e-4)
    connected = m.architectures.space.connected(m.architectures)
    np.testing.assert_allclose([np.median(values[~connected, 1]), values[connected, 1].min()], [0.137, 2.53], atol=5e-3)


# HELP's FBNet and OFA


@pytest.fixture
def tiny_chains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HELP's other files as they write them (numpy integers under numpy 1's names), three architectures each."""
    rng = np.random.default_rng(0)
    nets = [{"ks": rng.choice([3, 5, 7], 20).tolist(), "e": rng.choice([3, 4, 6], 20).tolist(),
             "d": rng.choice([2, 3, 4], 5).tolist(), "r": np.int64(132 + 4 * i)} for i in range(3)]  # fmt: skip
    for folder, file, content, names in (
        ("fbnet", "arch.pt", rng.integers(0, 9, (3, 22)).tolist(), ("fpga", "titanxp_64")),
        ("ofa", "ofa_archs.pt", {"dataset": "imagenet", "num_classes": 1000, "arch": nets}, ("titan_xp_1",)),
    ):
        where = tmp_path / "help" / "data" / folder
        (where / "latency").mkdir(parents=True)
        torch.save(content, where / file, pickle_module=OldNames)
        for name in names:
            torch.save([1.0, 2.0, 3.0], where / "latency" / f"{name}.pt")
    monkeypatch.setenv("GNOMON_DATA", str(tmp_path))
    return tmp_path / "help" / "data"


class OldNames:
    """A pickle module that writes numpy's scalars under the name that numpy 1 gave them."""

    class Pickler(pickle._Pickler):  # the one in Python: its `save_global` can be replaced
        def save_global(self, obj, name=None):
            if getattr(obj, "__module__", "") == "numpy._core.multiarray":
                self.write(pickle.GLOBAL + b"numpy.core.multiarray\nscalar\n")
                self.memoize(obj)
            else:
                super().save_global(obj, name)

        dispatch = pickle._Pickler.dispatch | {type(np.int64().__reduce__()[0]): save_global}


def test_help_s_chains(tiny_chains: Path) -> None:
    m = HelpFBNet().measurements()
    assert [d.name for d in m.devices] == ["fpga", "titanxp_64"] and m.devices[1].batch == 64
    assert str(m.architectures.space) == "fbnet(image=32,classes=100,head=1984,reduction=8)"
    assert m.architectures.decisions.tolist() == torch.load(tiny_chains / "fbnet" / "arch.pt")
    assert b"numpy.core.multiarray" in (tiny_chains / "ofa" / "ofa_archs.pt").read_bytes()
    m = HelpOFA().measurements()
    assert [d.name for d in m.devices] == ["titanxp_1"] and m.devices[0].family == "nvidia-pascal"
    assert m.matrix("latency_ms")[:, 0].tolist() == [1, 2, 3]
    nets = torch.load(tiny_chains / "ofa" / "ofa_archs.pt", weights_only=False)["arch"]
    for key, net in zip(m.architectures.keys, nets, strict=True):
        resolution, *stages = key.split("|")
        blocks = ",".join(stages).replace(";", ",").split(",")
        assert blocks == [f"k{k}e{e}" for k, e in zip(net["ks"], net["e"], strict=True)]
        assert resolution == f"r{net['r']}" and [len(s.split(";")[0].split(",")) for s in stages] == net["d"]


@pytest.mark.parametrize("data", [HelpFBNet(), HelpOFA()], ids=lambda d: type(d).__name__)
def test_faulty_chains_are_one_sentence(data: Dataset, tiny_chains: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (Path.write_text, (tiny_chains / "owned", "x"))

    fbnet = isinstance(data, HelpFBNet)
    path = tiny_chains / ("fbnet/arch.pt" if fbnet else "ofa/ofa_archs.pt")
    for rows, sentence in (
        ([Hostile()], "more than plain numbers; it was not loaded"),
        ([np.int64], "more than plain numbers; it was not loaded"),
        ([[1, 2], [3]] if fbnet else [{"ks": [3]}], "does not hold the architectures it should: fetch it again"),
        ([[1, 2], [3, 4]] if fbnet else None, "takes 22 decisions|does not hold the architectures"),
        ([[300] * 22] if fbnet else [{"ks": [4], "e": [], "d": [], "r": 128}], "does not hold the architectures"),
    ):
        torch.save(rows if fbnet else {"arch": rows}, path)
        with pytest.raises(InputError, match=sentence):
            data.measurements()
        assert not (tiny_chains / "owned").exists()


def test_real_chains(public_data: Path) -> None:
    """Statistics that the upstream files are known to have; no architecture stands twice in either."""
    if not (public_data / "help" / "data" / "ofa").is_dir():
        pytest.skip("HELP's files are not here; `python -m datasets fetch help` downloads them")
    for data, devices, low, median, high in (
        (HelpFBNet(("gold_6226", "fpga")), 23, (33.25, 9.383), (104.5, 23.77), (244.4, 41.72)),
        (HelpOFA(("titanxp_64", "2080ti_1")), 9, (15.31, 7.414), (45.57, 11.61), (107.6, 27.78)),
    ):
        m = data.measurements()
        values = m.matrix("latency_ms")
        np.testing.assert_allclose([values.min(0), np.median(values, 0), values.max(0)], [low, median, high], rtol=5e-4)
        assert len(set(m.architectures.space.canonical(m.architectures))) == len(m.architectures) == 5000
        assert len(type(data)().measurements().devices) == devices


def test_real_chains_agree_with_the_expanded_networks(public_data: Path) -> None:
    """The tables and our counts were made independently: they rank alike where compute or launches are the cost."""
    if not (public_data / "help" / "data" / "ofa").is_dir():
        pytest.skip("HELP's files are not here; `python -m datasets fetch help` downloads them")
    for data, total, at_least in ((HelpFBNet(("fpga",)), "macs", 0.97), (HelpFBNet(("titan_rtx_1",)), "kernels", 0.98),
                                  (HelpOFA(("titan_rtx_32",)), "macs", 0.99)):  # fmt: skip
        m = data.measurements()
        totals = m.architectures.space.totals(m.architectures)[total]
        assert totals.corr(pd.Series(m.matrix("latency_ms")[:, 0]), method="spearman") > at_least


# Tables of our own


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    data = pd.DataFrame({"space": "nasbench201", "key": NasBench201().all()[:3].keys, "device": "toy",
                         "metric": "latency_ms", "value": [1.0, 2.0, 3.0]})  # fmt: skip
    return write(data, tmp_path / "toy.parquet")


def write(data: pd.DataFrame, path: Path, devices: tuple[str, ...] = ("toy",)) -> Path:
    meta = {"devices": [{"name": name, "family": "f", "kind": "gpu"} for name in devices]}
    table = pa.Table.from_pandas(data, preserve_index=False).replace_schema_metadata({b"gnomon": json.dumps(meta)})
    pq.write_table(table, path)
    return path


def test_a_measured_table(table_file: Path) -> None:
    m = Measured(table_file).measurements()
    assert m.matrix("latency_ms").tolist() == [[1], [2], [3]] and m.name == "toy"


@pytest.mark.parametrize("column", ["space", "key", "device", "metric", "value"])
def test_a_missing_column_is_named(table_file: Path, column: str) -> None:
    write(pq.read_table(table_file).to_pandas().drop(columns=column), table_file)
    with pytest.raises(InputError, match=f"has no column '{column}'"):
        Measured(table_file).measurements()


@pytest.mark.parametrize("bad", [np.nan, -2.0])
def test_nan_and_negative_labels_are_refused(table_file: Path, bad: float) -> None:
    write(pq.read_table(table_file).to_pandas().assign(value=[1.0, bad, 3.0]), table_file)
    with pytest.raises(InputError, match="1 of 3 values are missing, infinite, zero or negative"):
        Measured(table_file).measurements()


def test_unknown_devices_ops_and_spaces_are_named(table_file: Path) -> None:
    data = pq.read_table(table_file).to_pandas()
    for change, sentence in (
        ({"device": ["toy", "toy", "tyo"]}, "rows of device 'tyo' but describes only toy"),
        ({"key": [*data["key"][:2], data["key"][2].replace("none", "noen")]}, "'noen' in .* is not an op"),
        ({"space": ["nasbench201", "nasbench201", "nasbench202"]}, "There is no space 'nasbench202'"),
    ):
        write(data.assign(**change), table_file)
        with pytest.raises(InputError, match=sentence):
            Measured(table_file).measurements()


def test_a_damaged_or_foreign_table_is_one_sentence(table_file: Path, tmp_path: Path) -> None:
    content = table_file.read_bytes()
    table_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is damaged or no such table"):
        Measured(table_file).measurements()
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(InputError, match="has no column 'space'; it has x"):
        Measured(tmp_path / "foreign.parquet").measurements()
    with pytest.raises(InputError, match="There is no file nowhere.parquet"):
        Measured(Path("nowhere.parquet")).measurements()


def test_commands_list_and_describe() -> None:
    listed = run("-m", "datasets", "list")
    assert "bundled   nasbench201.parquet" in listed.stdout and "HayeonLee/HELP" in listed.stdout, listed.stderr
    told = run("-m", "datasets", "describe", "bundled")
    assert "Spearman between devices" in told.stdout and "worst cv %" in told.stdout, told.stderr
    typo = run("-m", "datasets", "describe", "bundld")
    assert typo.returncode == 2 and "is neither a file that describes a Dataset nor bundled" in typo.stderr
