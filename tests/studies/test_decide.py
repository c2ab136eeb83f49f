"""The study of decisions: recorded runs, checks that are drawn from them, and live ones that go on."""

import json
from pathlib import Path

import numpy as np
import pytest

import studies.decide.language
import studies.decide.live
from datasets.blocks.decoder import Decoder
from gnomon.check import Checked
from gnomon.paired import Block
from gnomon.tokens import Run, Tokens
from studies.decide.journals import FILE, NETWORKS, read, write
from studies.decide.language import language
from studies.decide.live import live
from studies.decide.replays import replays


def test_recorded_runs_are_small_and_of_both_sides() -> None:
    assert FILE.stat().st_size < 2**20
    found = read()
    assert list(found) == list(NETWORKS)
    for turns in found.values():
        assert len(turns) >= 6 and all(turn[0].renewed and turn[0].clocks.shape[1] == 4 for turn in turns)
        assert all((block.clocks > 0).all() and block.seconds > 0 for turn in turns for block in turn)


def test_recorded_runs_can_be_written_and_read(tmp_path: Path) -> None:
    blocks = [Block(np.full((n, 4), 1.5), 0.5, n == 2) for n in (2, 1, 3)]
    write({"a": [blocks, blocks[:1]]}, tmp_path / "journals.npz")
    found = read(tmp_path / "journals.npz")
    assert [[len(block.clocks) for block in turn] for turn in found["a"]] == [[2, 1, 3], [2]]
    assert [block.renewed for block in found["a"][0]] == [True, False, False]


def test_replays_of_equal_networks_have_no_wrong_verdict_and_slow_downs_are_found() -> None:
    equal, slower = (replays(8, factor, half=0) for factor in (1.0, 1.2))
    assert [row["network"] for row in equal] == list(NETWORKS)
    assert all(row["wrong"] == 0 and row["seconds_95"] <= 30 for row in equal)
    assert all(row["SLOWER"] == 1 for row in slower)


def test_live_checks_go_on_where_they_were_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()

    def against(network: str, other: str, *arguments: object) -> Checked:
        calls.append(network)
        verdict = "SAME" if network == other else "SLOWER"
        return Checked(
            verdict, network, other, "d", 1, 1, 1, 0.9, 1.1, 0.99, 0.02, None, None, 9, 9, 9, 9, 0, "cpu", (), {}
        )  # type: ignore[arg-type]

    monkeypatch.setattr(studies.decide.live, "against", against)
    monkeypatch.setattr(studies.decide.live, "write_chain", lambda folder, *sizes: folder / f"{sizes}.onnx")
    rows = live(tmp_path)
    assert [sum(row["what"] == what for row in rows) for what in ("equal", "slower")] == [20, 10] and len(calls) == 30
    assert all(row["wrong"] == 0 for row in rows if row["what"] == "equal")
    assert all(row["found"] == 1 for row in rows if row["what"] == "slower")
    (tmp_path / "live.json").write_text(json.dumps(rows[:25]))
    assert live(tmp_path) == rows and len(calls) == 35


def test_decoders_are_measured_as_they_are_priced_and_go_on_where_they_were_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies.decide.language, "MODELS", ("small",))
    monkeypatch.setattr(studies.decide.language, "DECODERS", {"small": Decoder(1, 32, 2, 2, 64, 50)})
    priced = [
        Run("prompt", 8, 2.0, 1.0, 3.0, 4000, 10**6, 0.1, 0.0),
        Run("step", 16, 1.0, 0.5, 1.5, 1000, 10**5, 0.2, 1.0),
    ]
    monkeypatch.setattr(
        studies.decide.language, "tokens", lambda name, device: Tokens(name, device, 0.9, tuple(priced), ())
    )
    rows = language(tmp_path)
    assert [(row["model"], row["what"]) for row in rows] == [
        ("small", "prompt"), ("small", "step"), ("all", "prompt"), ("all", "step")]  # fmt: skip
    for row, whole in zip(rows[:2], rows[2:], strict=True):
        assert row["measured_ms"] > 0 and whole["runs"] == 1
        assert whole["error"] == pytest.approx(abs(row["predicted_ms"] / row["measured_ms"] - 1))
        assert whole["inside"] == float(row["low"] <= row["measured_ms"] <= row["high"])
    monkeypatch.setattr(studies.decide.language, "_measured", lambda *arguments: pytest.fail("measured again"))
    assert language(tmp_path) == rows
