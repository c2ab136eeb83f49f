"""`python -m gnomon curves`: points, breaks, a picture, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from datasets.cli import main
from gnomon.commands.curves import curves
from gnomon.curves import Point, _causes, _steps, curve, own_caches_mb, without_repeats
from tests.doubles.network_files import onnx_file


def run(*words: object) -> int:
    """Exit status of a command line, run in this process."""
    try:
        main([curves], prog="python -m gnomon", arguments=[*map(str, words)], positional=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def point(value: int, ms: float, overhead: float = 0, memory: float = 0, largest: float = 1) -> Point:
    return Point(value, ms, ms / 2, 2 * ms, ms, overhead, memory, largest)


def test_a_curve_over_the_batch_has_a_point_per_batch() -> None:
    found = curve("zoo:lenet5", "batch", "milan_ort_fp32_1", (8, 1, 64))
    assert [each.value for each in found.points] == [1, 8, 64] and found.device == "milan_ort_fp32_1"
    assert found.points[0].ms < found.points[1].ms < found.points[2].ms
    assert all(each.low < each.ms < each.high and each.per_sample_ms == each.ms / each.value for each in found.points)
    assert found.points[0].overhead > found.points[2].overhead
    assert found.to_frame()["value"].tolist() == [1, 8, 64]


def test_a_curve_over_the_sequence_needs_a_file_that_leaves_it_open(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    shape = (1, "sequence", 256)
    path = onnx_file(tmp_path / "a.onnx", [node], {"x": (TensorProto.FLOAT, shape)}, {"y": (TensorProto.FLOAT, shape)},
                     w=np.eye(256, dtype=np.float32))  # fmt: skip
    found = curve(str(path), "sequence", values=(16, 512))
    assert found.points[1].ms > 2 * found.points[0].ms


def test_breaks_have_causes() -> None:
    points = [point(1, 1, overhead=0.9), point(2, 1.2, overhead=0.4), point(4, 3, memory=0.6, largest=5), point(8, 6)]
    found = {(each.cause, each.value) for each in (*_causes(points, [2.0]), *_steps(points, [1, 2, 4, 8]))}
    assert found == {("overhead", 2), ("memory", 4), ("cache", 4), ("compute", 8)}
    assert [each.value for each in _steps([point(1, 1), point(2, 4)], [1, 2])] == [2]


def test_caches_are_read_as_linux_reports_them(tmp_path: Path) -> None:
    for name, level, kind, size in (("index0", 1, "Data", "32K"), ("index2", 2, "Unified", "512K"),
                                    ("index3", 3, "Unified", "32768K"), ("index4", 3, "Unified", "lots")):  # fmt: skip
        (folder := tmp_path / name).mkdir()
        for field, value in (("level", level), ("type", kind), ("size", size)):
            (folder / field).write_text(f"{value}\n")
    (tmp_path / "index5").mkdir()
    assert own_caches_mb(tmp_path) == [0.524288, 33.554432] and own_caches_mb(tmp_path / "none") == []


def test_the_command_prints_a_table_or_json_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("zoo:lenet5", "--values", "1,4", "--caches-mb", "0.01", "--out", tmp_path / "a.png") == 0
    assert capsys.readouterr().out.splitlines()[0].split()[:2] == ["batch", "ms"]
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert run("zoo:lenet5", "--values", "1,4", "--json") == 0
    assert [each["value"] for each in json.loads(capsys.readouterr().out)["points"]] == [1, 4]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--values", "1,x"], "--values are at most 1,000 whole numbers"),
        (["--values", "0"], "--values are at most 1,000 whole numbers"),
        (["--caches-mb", "big"], "--caches-mb are sizes in MB"),
        (["--device", "nosuch"], "There is no device 'nosuch'"),
        (["--over", "sequence"], "zoo:lenet5"),
        (["--out", "a.txt"], "a.txt"),
        (["--level", "0"], "--level 0.0 must lie between 0 and 1"),
    ],
)
def test_faulty_input_ends_with_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert run("zoo:lenet5", *words) == 2
    assert sentence in (printed := capsys.readouterr().err) and printed.count("\n") == 1, printed


def test_a_note_on_a_share_is_given_once_with_the_largest_share() -> None:
    notes = ["Beware.", "21 % is of large layers.", "Beware.", "41 % is of large layers.", "5 % is of others."]
    assert without_repeats(notes) == ("Beware.", "up to 41 % is of large layers.", "5 % is of others.")
