"""A user's file of measurements: repeats, units, plausibility, damaged files; intervals after few samples."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import predictors.__main__ as commands
from datasets.measured import Measured
from datasets.records import Device, InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from predictors.base import Predictor
from predictors.linear import Linear
from predictors.new_devices import evidence
from predictors.new_devices.conditioned import Conditioned
from predictors.new_devices.few_measurements import read_measurements
from predictors.new_devices.few_shot import CONFLICT
from predictors.new_devices.proxies import AdaProxy, NearestDevice, OwnLine, SourceRidge
from tests.conftest import ROOT, made_up, run

SOURCES = ("toy_0", "toy_1", "toy_3")


@pytest.fixture(scope="module")
def toys() -> Measurements:
    return made_up(NasBench201().sample(300, np.random.default_rng(3)), 4)


@pytest.fixture(scope="module")
def fitted(toys: Measurements) -> Conditioned:
    return Conditioned().fit(toys.where(devices=SOURCES, archs=np.arange(150)))


def _new(toys: Measurements, rows: np.ndarray, values: np.ndarray) -> Measurements:
    table = pd.DataFrame({"arch": range(len(rows)), "device": 0, "metric": "latency_ms", "value": values})
    return Measurements(toys.architectures[rows], [toys.device("toy_2")], table, "new")


def _truth(toys: Measurements) -> np.ndarray:
    return toys.where(devices=["toy_2"]).matrix("latency_ms")[:, 0]


# Repeats


@pytest.mark.parametrize(
    "predictor",
    [Conditioned(), NearestDevice(), SourceRidge(source=Linear()), AdaProxy(), OwnLine()],
    ids=lambda p: type(p).__name__,
)  # fmt: skip
def test_rows_that_are_written_twice_change_nothing(predictor: Predictor, toys: Measurements) -> None:
    """Intervals of Conditioned held 19 % when each of 20 rows stood in the file twice."""
    source, truth = predictor.fit(toys.where(devices=SOURCES, archs=np.arange(60))), _truth(toys)
    once, twice = np.arange(20), np.concatenate([np.arange(20), np.arange(20)])
    single, double = (source.adapt(_new(toys, rows, truth[rows])) for rows in (once, twice))  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        double.predict_all(toys.architectures), single.predict_all(toys.architectures), rtol=1e-6
    )
    if isinstance(predictor, Conditioned):
        ends = [adapted.belief(toys.architectures, toys.device("toy_2")).interval(0.9) for adapted in (single, double)]
        np.testing.assert_allclose(*ends, rtol=1e-6)


@pytest.mark.parametrize("repeats", [1, 8])
def test_repeats_that_differ_count_as_one_measurement(repeats: int, fitted: Conditioned, toys: Measurements) -> None:
    """Intervals hold what is measured as the samples were: once, or the median of eight."""
    rows, others, truth, inside = np.arange(30), np.arange(30, 300), _truth(toys), []
    for seed in range(6):
        noisy = truth * np.exp(0.2 * np.random.default_rng(seed).standard_normal((2, repeats, 300)))
        adapted = fitted.adapt(_new(toys, np.tile(rows, repeats), noisy[0][:, rows].ravel()))
        low, high = adapted.belief(toys.architectures[others], toys.device("toy_2")).interval(0.9)
        new = np.median(noisy[1], axis=0)[others]
        inside.append(((low <= new) & (new <= high)).mean())
    assert 0.83 < np.mean(inside) < 0.97


def test_what_was_measured_more_often_counts_for_more(fitted: Conditioned, toys: Measurements) -> None:
    """Ten architectures nine times each, beside thirty that were measured once and badly."""
    truth, rows, errors = _truth(toys), np.concatenate([np.repeat(np.arange(10), 9), np.arange(10, 40)]), []
    for seed in range(6):
        values = truth[rows] * np.exp(0.3 * np.random.default_rng(seed).standard_normal(len(rows)))
        medians = pd.Series(values).groupby(rows).median().to_numpy()
        for samples in (_new(toys, np.arange(40), medians), _new(toys, rows, values)):  # without repeats, and with them
            errors.append(
                np.abs(fitted.adapt(samples).predict_all(toys.architectures[40:])[:, 0] / truth[40:] - 1).mean()
            )
    assert np.mean(errors[1::2]) < np.mean(errors[::2])


def test_repeats_that_contradict_each_other_are_one_sentence(fitted: Conditioned, toys: Measurements) -> None:
    truth = _truth(toys)
    rows = np.array([0, 1, 2, 3, 0])
    with pytest.raises(InputError, match=r"rows of .+ that contradict each other \(.+, .+\), far more than"):
        fitted.adapt(_new(toys, rows, truth[rows] * [1, 1, 1, 1, 30]))
    noisy = truth[rows] * [1, 1, 1, 1, 1.9]  # less than twice is no contradiction
    assert fitted.adapt(_new(toys, rows, noisy)).metadata_["adapted"]["samples"] == 4
    assert CONFLICT > 1


def test_a_matrix_holds_the_median_of_repeats_whatever_their_order(toys: Measurements) -> None:
    """The last row won."""
    rows = np.array([5, 6, 5, 5])
    for values in ([1.0, 7.0, 9.0, 2.0], [9.0, 7.0, 2.0, 1.0]):
        m = _new(toys, rows, np.array(values)).distinct()
        assert m.architectures == toys.architectures[np.array([5, 6])]
        assert m.matrix("latency_ms").ravel().tolist() == [2, 7]


def test_a_device_whose_batch_contradicts_its_rows_is_refused(toys: Measurements) -> None:
    table = _new(toys, np.arange(3), np.ones(3)).table
    device = replace(toys.devices[0], batch=4)
    Measurements(toys.architectures[:3], [device], table.assign(batch=[4, 4, np.nan]), "fine")
    with pytest.raises(InputError, match="1 rows of toy_0 have batch 8.* described with batch 4"):
        Measurements(toys.architectures[:3], [device], table.assign(batch=[4, 8, 4]), "odd")


# How sure, with few samples


@pytest.fixture(scope="module")
def families() -> list[tuple[Conditioned, Measurements]]:
    """Predictors of the bundled table, each with a family of runtimes left out, and measurements of a device of it."""
    m = Measured(ROOT / "datasets/bundled/nasbench201.parquet").measurements()
    left = {device.family: device for device in m.devices}
    known = {family: [d.name for d in m.devices if d.family != family] for family in left}
    rows = np.arange(0, 1020, 3)
    return [
        (Conditioned().fit(m.where(devices=known[family], archs=rows)), m.where(devices=[device.name]))
        for family, device in left.items()
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_intervals_hold_with_few_samples_on_families_that_are_left_out(
    n: int, families: list[tuple[Conditioned, Measurements]]
) -> None:
    """They held 68, 73, 72 and 80 % before the device's deviation was learnt from source devices too."""
    inside = []
    for source, m in families:
        y = m.matrix("latency_ms")[:, 0]
        for draw in range(4):
            order = np.random.default_rng([draw, n]).permutation(np.flatnonzero(~np.isnan(y)))
            others = order[n:300]
            adapted = source.adapt(m.where(archs=order[:n]))
            low, high = adapted.belief(m.architectures[others], m.devices[0]).interval(0.9)
            inside.append(((low <= y[others]) & (y[others] <= high)).mean())
    assert 0.85 < np.mean(inside) < 0.97


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_equal_values_get_intervals_that_hold_what_was_rounded(fitted: Conditioned, toys: Measurements, n: int) -> None:
    """A device of about 3 ms whose clock shows whole milliseconds."""
    truth = np.random.default_rng(0).uniform(2.5, 3.5, 300)
    adapted = fitted.adapt(_new(toys, np.arange(n), np.round(truth[:n])))
    low, high = adapted.belief(toys.architectures, toys.device("toy_2")).interval(0.9)
    assert ((low <= truth) & (truth <= high)).mean() > 0.85 and (high < 12).all()


def test_one_sample_ranks_as_the_sources_do_and_scales_with_the_unit(fitted: Conditioned, toys: Measurements) -> None:
    """A line of one sample was flat, and its interval the same number of milliseconds for any device."""
    truth, device = _truth(toys), toys.device("toy_2")
    adapted, large = (fitted.adapt(_new(toys, np.arange(1), k * truth[:1])) for k in (1, 1000))
    assert pd.Series(adapted.predict(toys.architectures, device)).corr(pd.Series(truth), method="spearman") > 0.8
    ends = [x.belief(toys.architectures, device).interval(0.9) for x in (adapted, large)]
    np.testing.assert_allclose(ends[1], 1000 * np.array(ends[0]), rtol=1e-4)


def test_thousands_of_rows_take_a_moment_and_say_what_all_rows_say(
    toys: Measurements, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 rows took over 150 s."""
    archs = NasBench201().sample(3000, np.random.default_rng(1))
    m = made_up(archs, 3, seed=5)
    source = Conditioned().fit(m.where(devices=["toy_0", "toy_1"], archs=np.arange(300)))
    start = time.process_time()
    source.adapt(m.where(devices=["toy_2"]))
    assert time.process_time() - start < 10  # 0.2 s on an idle machine
    some = m.where(devices=["toy_2"], archs=np.arange(150))
    quick = source.adapt(some)
    reduce, sizes = evidence.reduced, []

    def counted(samples: np.ndarray, t: np.ndarray, weight: np.ndarray) -> tuple:
        sizes.append(len(reduce(samples, t, weight)[0]))
        return samples * np.sqrt(weight)[:, None], np.sqrt(weight), t * np.sqrt(weight), (0, 0.0)

    monkeypatch.setattr(evidence, "reduced", counted)
    slow = source.adapt(some)
    assert sizes and max(sizes) < 100
    for ours, theirs in zip(*(one.belief(archs, m.devices[2]).interval(0.9) for one in (quick, slow)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3)


# Units


def _csv(toys: Measurements, header: str, values: np.ndarray, extra: str = "") -> str:
    lines = [f'"{key}",{value!r}{extra}' for key, value in zip(toys.architectures.keys, values.tolist(), strict=False)]
    return "\n".join([header, *lines]) + "\n"


@pytest.mark.parametrize(
    "header, factor, unit",
    [("key,value", 1, ""), ("key,value_us", 1e3, ""), ("key,value [us]", 1e3, ""), ("key,value (µs)", 1e3, ""),
     ("key,latency_s", 1e-3, ""), ("key,latency [seconds]", 1e-3, ""), ("key,ms", 1, ""), ("key,latency_ms", 1, ""),
     ("key,value", 1e3, "us"), ("key,value", 1e-3, "s"), ("key,value", 1, "ms"), ("Key;Value_ns", 1e6, ""),
     ("key,time_ms", 1, ""), ("key,value (milliseconds)", 1, "")],
)  # fmt: skip
def test_a_unit_in_the_header_or_flag_is_converted(
    header: str, factor: float, unit: str, fitted: Conditioned, toys: Measurements, tmp_path: Path
) -> None:
    truth = _truth(toys)[:20]
    text = _csv(toys, header, factor * truth)
    (tmp_path / "few.csv").write_text(text.replace('",', '";') if ";" in header else text)
    m = read_measurements(tmp_path / "few.csv", "", fitted, unit)
    np.testing.assert_allclose(m.matrix("latency_ms")[:, 0], truth)


@pytest.mark.parametrize("header", ["key,fps,batch", "key,throughput,batch", "key,value [images/s],batch"])
def test_images_per_second_become_milliseconds_of_a_batch(
    header: str, fitted: Conditioned, toys: Measurements, tmp_path: Path
) -> None:
    truth = _truth(toys)[:20]
    (tmp_path / "few.csv").write_text(_csv(toys, header, 1000 * 8 / truth, ",8"))
    m = read_measurements(tmp_path / "few.csv", "mine", fitted)
    np.testing.assert_allclose(m.matrix("latency_ms")[:, 0], truth)
    assert m.devices[0].batch == 8 and m.devices[0].name == "mine"


@pytest.mark.parametrize(
    "change, sentence",
    [(lambda ms: 1000 * ms, "--unit us, or --unit ms if they are right"), (lambda ms: ms / 1000, "--unit s, or"),
     (lambda ms: 1e6 * ms, "--unit ns"), (lambda ms: 300 / ms, "images per second.*--unit fps")],
)  # fmt: skip
def test_values_unlike_every_known_device_are_asked_about(
    change, sentence: str, fitted: Conditioned, toys: Measurements, tmp_path: Path
) -> None:
    values = change(_truth(toys)[:20])
    (tmp_path / "few.csv").write_text(_csv(toys, "key,value", values))
    with pytest.raises(InputError, match=sentence):
        read_measurements(tmp_path / "few.csv", "", fitted)
    m = read_measurements(tmp_path / "few.csv", "", fitted, "ms")  # a stated unit is accepted
    np.testing.assert_allclose(m.matrix("latency_ms")[:, 0], values)


def test_a_unit_is_not_converted_twice(fitted: Conditioned, toys: Measurements, tmp_path: Path) -> None:
    """Several files are read in milliseconds, whatever units their headers state: a flag would divide once more."""
    for name in ("a", "b"):
        rows = {"key": toys.architectures.keys[:10], "value_us": 1000 * _truth(toys)[:10], "device": name}
        pd.DataFrame(rows | {"space": str(toys.architectures.space)}).to_csv(tmp_path / f"{name}.csv")
    both = f"{tmp_path / 'a.csv'},{tmp_path / 'b.csv'}"
    assert read_measurements(both, "a", fitted).table["value"].tolist() == pytest.approx(_truth(toys)[:10])
    with pytest.raises(InputError, match="plausible values in ms, as tables do; leave --unit us out"):
        read_measurements(both, "a", fitted, "us")


def test_a_unit_that_contradicts_is_one_sentence(fitted: Conditioned, toys: Measurements, tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    for header, unit, sentence in (
        ("key,value_us", "ms", "says that its values are in us, --unit says ms"),
        ("key,value [parsec]", "", "names the unit 'parsec'; latency_ms is read in ns, us, ms, s, fps"),
        ("key,value", "mJ", "--unit names the unit 'mJ'"),
        ("key,value_ms,value_us", "", "several columns of values"),
    ):
        file.write_text(_csv(toys, header, _truth(toys)[:5], ",1" if header.count(",") > 1 else ""))
        with pytest.raises(InputError, match=sentence):
            read_measurements(file, "", fitted, unit)
    file.write_text(_csv(toys, "key,value_ms,unit", _truth(toys)[:5], ",us"))
    with pytest.raises(InputError, match="header of .* says ms, its column unit says us"):
        read_measurements(file, "", fitted)


# Reading

KEY = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"key,value\n", "has a header only"),
        (b"key,value\n,2.5\n", "line 2 has no key"),
        (b"key,number\nx,1\n", "needs the columns key and value; it has key, number"),
        (b"key,key,value\nx,x,1\n", "has the column key 2 times"),
        (b"key,value,value\nx,1,1\n", "several columns of values"),
        (f"key,value\n{KEY}\n".encode(), "line 2 has 1 fields; its header has 2"),
        (f"key,value\n{KEY},fast\n".encode(), "line 2: 'fast' is no number"),
        (f"key,value\n{KEY},nan\n".encode(), "nan is no measured value"),
        (f"key,value\n{KEY},inf\n".encode(), "inf is no measured value"),
        (f"key,value\n{KEY},-3\n".encode(), "-3 is no measured value"),
        (f"key,value\n{KEY},0\n".encode(), "0 is no measured value"),
        (f"key,value\n{KEY},1e308\n".encode(), "1e308 is no measured value"),
        (f"key,value\n{'x' * 10000},1\n".encode(), r"xxx\.\.\. \(10,000 characters\), which is no architecture"),
        (b"key,value\n\xff\xfe,1\n", "is not text in UTF-8"),
        (b"key,value\nx\x00,1\n", "no line of a .csv|no architecture|is not"),
        (f"key,value,device\n{KEY},1,a\n{KEY},1,b\n".encode(), "Name a device with --device; .* has a, b"),
        (f"key,value,metric\n{KEY},1,energy_mj\n".encode(), "no row of latency_ms"),
        (f"key,value,batch\n{KEY},1,0\n".encode(), "batch '0'"),
        (f"key,value,batch\n{KEY},1,1\n{KEY},1,2\n".encode(), "several values of batch"),
        (b"key," + b"c," * 5000 + b"value\nnonsense" + b"," * 5000 + b",1\n", "nonsense"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_one_sentence(content: bytes, sentence: str, fitted: Conditioned, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        fitted.adapt(read_measurements(tmp_path / "few.csv", "", fitted))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("encoding, separator", [("utf-8-sig", ","), ("utf-16", ";"), ("utf-8", "\t")])
def test_spreadsheets_ways_of_writing_are_read(
    encoding: str, separator: str, fitted: Conditioned, toys: Measurements, tmp_path: Path
) -> None:
    truth = _truth(toys)[:5]
    lines = [
        f"{key}{separator}{value!r}{separator}note"
        for key, value in zip(toys.architectures.keys, truth.tolist(), strict=False)
    ]
    text = "\r\n".join([f"KEY{separator} Value {separator}Remark", *lines, separator * 2, ""])
    (tmp_path / "few.csv").write_bytes((text.replace(".", ",") if separator == ";" else text).encode(encoding))
    np.testing.assert_allclose(read_measurements(tmp_path / "few.csv", "", fitted).matrix("latency_ms")[:, 0], truth)


def test_a_column_of_devices_gives_one_of_them(fitted: Conditioned, toys: Measurements, tmp_path: Path) -> None:
    truth, file = _truth(toys)[:6], tmp_path / "few.csv"
    lines = [
        f"{k},{v!r},{'ab'[i % 2]}"
        for i, (k, v) in enumerate(zip(toys.architectures.keys, truth.tolist(), strict=False))
    ]
    file.write_text("\n".join(["key,value,device", *lines]))
    m = read_measurements(file, "b", fitted)
    assert m.devices[0].name == "b"
    np.testing.assert_allclose(m.matrix("latency_ms")[:, 0], truth[1::2])
    with pytest.raises(InputError, match="There is no device 'c' in .*; it has a, b"):
        read_measurements(file, "c", fitted)


def test_a_table_of_another_metric_or_of_no_device_is_one_sentence(fitted: Conditioned) -> None:
    accuracy = ROOT / "datasets/bundled/accuracy.parquet"
    with pytest.raises(InputError, match="has no latency_ms, .*; it has accuracy_"):
        read_measurements(accuracy, "", fitted)
    of_accuracy = replace(fitted, metric="accuracy_digits", source=Linear(metric="accuracy_digits"))
    of_accuracy.space_, of_accuracy.devices_ = fitted.space_, ()
    with pytest.raises(InputError, match="of no device"):
        read_measurements(accuracy, "", of_accuracy)


# Commands


def test_commands_refuse_empty_files_and_odd_numbers_in_a_sentence(
    fitted: Conditioned, toys: Measurements, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, mine, archs = tmp_path / "source.pt", tmp_path / "mine.pt", tmp_path / "archs.txt"
    fitted.save(source)
    fitted.adapt(_new(toys, np.arange(10), _truth(toys)[:10])).save(mine)
    archs.write_text(" \n")
    for call, sentence in (
        (lambda: commands.choose(source, archs=archs), "is empty"),
        (lambda: commands.choose(source, archs=tmp_path / "none"), "There is no file"),
        (lambda: commands.choose(source, n=0), "--n 0 architectures cannot be chosen"),
        (lambda: commands.choose(source, n=-1), "--n -1 architectures cannot be chosen"),
        (lambda: commands.choose(source, n=1_000_000), "--n 1000000 architectures cannot be chosen"),
        (lambda: commands.predict(mine, archs=archs), "is empty"),
        (lambda: commands.predict(mine, arch="x" * 10_000), "10,000 characters"),
        (lambda: commands.predict(mine, arch=KEY, level=0.0), "--level 0.0 must lie between"),
        (lambda: commands.predict(mine, arch=KEY, level=float("nan")), "--level nan must lie between"),
        (lambda: commands.predict(mine, arch=KEY, level=1), "--level 1 must lie between"),
        (lambda: commands.predict(mine, network=archs, batch=0), "A batch has 1 to 999,999 images, .* not '0'"),
    ):
        with pytest.raises(InputError, match=sentence) as caught:
            call()
        assert len(str(caught.value)) < 400
    archs.write_bytes((KEY + "\n").encode("utf-16"))
    commands.predict(mine, archs=archs, level=0.9)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 1 and out[0].count("ms (") == 1 and " to " in out[0]
    done = run("-m", "predictors", "predict", mine, "--arch", KEY, "--level", "2")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_adapt_says_how_many_architectures_it_learnt_from(
    fitted: Conditioned, toys: Measurements, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fitted.save(tmp_path / "source.pt")
    text = _csv(toys, "key,value_us", 1000 * _truth(toys)[:20])
    (tmp_path / "few.csv").write_text(text + text.partition("\n")[2])
    commands.adapt(tmp_path / "source.pt", tmp_path / "few.csv", tmp_path / "mine.pt", device="mine")
    assert "answers for mine; 40 measurements of 20 architectures, learnt in " in capsys.readouterr().out


def test_predictions_that_rest_on_nothing_measured_say_so(
    fitted: Conditioned, toys: Measurements, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    twin = Device("twin", "new", "server-cpu", features=toys.device("toy_0").features)
    fitted.adapt(None, twin).save(tmp_path / "twin.pt")
    commands.predict(tmp_path / "twin.pt", arch=toys.architectures[0].key)
    output = capsys.readouterr()
    assert "warning: nothing was measured on twin" in output.err and output.out.endswith("ms\n")
    fitted.adapt(_new(toys, np.arange(10), _truth(toys)[:10])).save(tmp_path / "mine.pt")
    commands.predict(tmp_path / "mine.pt", arch=toys.architectures[0].key)
    assert capsys.readouterr().err == ""
