"""`python -m gnomon tokens`: decoders that run, their sizes from texts and files, times, and what is refused."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from datasets.blocks.decoder import DECODERS, Decoder, read_decoder
from datasets.cli import main
from datasets.networks.analysis import totals
from datasets.records import InputError
from gnomon.commands.tokens import tokens as command
from gnomon.tokens import tokens
from tests.doubles.network_files import onnx_file

SMALL = Decoder(2, 64, 4, 2, 96, 100)
CONFIG = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "intermediate_size": 96, "vocab_size": 100, "rms_norm_eps": 1e-5}  # fmt: skip


def run(*words: object) -> int:
    """Exit status of a command line, run in this process."""
    try:
        main([command], prog="python -m gnomon", arguments=[*map(str, words)], positional=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def scores(decoder: Decoder, path: Path, ids: list[int], cache: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs of onnxruntime for tokens behind cached ones."""
    graph = decoder.graph(len(ids), cache[0].shape[2] if cache else 0)
    session = onnxruntime.InferenceSession(graph.save(path))
    names = [port.name for port in session.get_inputs()]
    return session.run(None, dict(zip(names, [np.array([ids]), *cache], strict=True)))


def test_a_step_behind_a_cache_gives_the_scores_of_the_whole_prompt(tmp_path: Path) -> None:
    whole, *_ = scores(SMALL, tmp_path / "whole.onnx", [5, 17, 2, 99, 40], [])
    _, *cache = scores(SMALL, tmp_path / "first.onnx", [5, 17, 2, 99], [])
    step, *longer = scores(SMALL, tmp_path / "step.onnx", [40], cache)
    assert whole.shape == step.shape == (1, 1, 100)
    np.testing.assert_allclose(step, whole, rtol=1e-3, atol=1e-4)
    assert [each.shape for each in longer] == [(1, 2, 5, 16)] * 4


def test_a_decoder_with_learnt_positions_runs(tmp_path: Path) -> None:
    decoder = Decoder(1, 32, 2, 2, 64, 50, style="gpt2")
    out, *cache = scores(decoder, tmp_path / "a.onnx", [1, 2, 3], [])
    step, *_ = scores(decoder, tmp_path / "b.onnx", [4], cache)
    assert out.shape == step.shape == (1, 1, 50) and np.isfinite([out, step]).all()


def test_networks_have_the_counts_of_their_sizes() -> None:
    d, tokens_ = DECODERS["llama_15m"], 16
    block = d.width * (2 * d.heads + 2 * d.kv_heads) * d.size + 3 * d.width * d.feed_forward
    found = totals(d.network(tokens_))
    assert found["params"] == d.layers * (block + 2 * d.width) + d.width + 2 * d.vocabulary * d.width
    attention = 2 * d.layers * d.heads * d.size * tokens_**2
    assert found["macs"] == tokens_ * d.layers * block + attention + d.vocabulary * d.width
    step = totals(d.network(1, 100))["macs"]
    assert step == d.layers * (block + 2 * d.heads * d.size * 101) + d.vocabulary * d.width


def test_sizes_are_read_from_a_name_a_text_and_a_config(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    text = "layers=2,width=64,heads=4,kv_heads=2,feed_forward=96,vocabulary=100"
    assert read_decoder(str(path)) == read_decoder(text) == SMALL
    path.write_text(json.dumps({"n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": None, "vocab_size": 100}))
    assert read_decoder(str(path)) == Decoder(2, 64, 4, 4, 256, 100, style="gpt2")
    assert read_decoder("gpt2").style == "gpt2"


@pytest.mark.parametrize(
    "text, fault",
    [
        ("smolm", "is no decoder"),
        ("layers=2", "The width of the decoder is missing"),
        ("layers=2,width=64,heads=4,kv_heads=3,feed_forward=96,vocabulary=100", "cannot share 3 heads"),
        ("layers=0,width=64,heads=4,feed_forward=96,vocabulary=100", "a whole number from 1"),
        ("layers=two,width=64,heads=4,feed_forward=96,vocabulary=100", "a whole number from 1"),
        ("layers=2,width=65,heads=4,feed_forward=96,vocabulary=100", "not divisible by 4 heads"),
        ("layers=2,width=64,heads=4,feed_forward=96,vocabulary=100,style=bert", "llama or gpt2"),
        ("missing.json", "config.json"),
    ],
)
def test_faulty_sizes_are_refused_in_a_sentence(text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        read_decoder(text)


def test_a_damaged_config_is_refused(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"hidden_size": "wide"}'):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError):
            read_decoder(str(tmp_path / "config.json"))


def test_longer_prompts_and_caches_take_longer() -> None:
    found = tokens(DECODERS["llama_15m"], "genoa_ort_fp32_1", (16, 256), (16, 1024))
    assert [(each.what, each.tokens) for each in found.runs] == [
        ("prompt", 16), ("prompt", 256), ("step", 16), ("step", 1024)]  # fmt: skip
    short, long, first, last = found.runs
    assert short.ms < long.ms and first.ms < last.ms < short.ms
    assert all(each.low < each.ms < each.high for each in found.runs)
    assert long.per_second == pytest.approx(256e3 / long.ms) and last.per_second == pytest.approx(1e3 / last.ms)
    assert first.memory > long.memory
    assert found.to_frame()["tokens"].tolist() == [16, 256, 16, 1024]


def decoder_file(path: Path, past: str = "past_sequence_length") -> Path:
    """A file with open numbers of tokens: queries of new tokens, keys of cached and of new ones."""
    nodes = [helper.make_node("Concat", ["cache", "x"], ["keys"], axis=1),
             helper.make_node("Transpose", ["keys"], ["turned"], perm=[0, 2, 1]),
             helper.make_node("MatMul", ["x", "turned"], ["scores"]),
             helper.make_node("MatMul", ["scores", "keys"], ["y"])]  # fmt: skip
    new, old = (1, "sequence_length", 64), (1, past, 64)
    return onnx_file(path, nodes, {"x": (TensorProto.FLOAT, new), "cache": (TensorProto.FLOAT, old)},
                     {"y": (TensorProto.FLOAT, new)})  # fmt: skip


def test_a_file_is_read_behind_its_cache(tmp_path: Path) -> None:
    path = str(decoder_file(tmp_path / "a.onnx"))
    found = tokens(path, prompts=(64,), caches=(1, 1000))
    assert [each.macs for each in found.runs] == [2 * 64 * 65 * 64, 2 * 2 * 64, 2 * 1001 * 64]
    assert "Prompts of this file are read behind a cache of one token." in found.notes
    other = str(decoder_file(tmp_path / "b.onnx", "kept"))
    with pytest.raises(InputError, match="reads no cache; give the name of its own by --past"):
        tokens(other)
    assert tokens(other, prompts=(), caches=(8,), past="kept").runs[0].macs == 2 * 9 * 64


def test_the_command_prints_tables_or_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    assert run(path, "--prompt", "16", "--cache", "32") == 0
    out = capsys.readouterr().out
    assert "first token ms" in out and "tokens per second" in out
    assert run(path, "--prompt", "", "--cache", "32", "--json", "true") == 0
    record = json.loads(capsys.readouterr().out)
    assert [each["what"] for each in record["runs"]] == ["step"]


@pytest.mark.parametrize(
    "words, fault",
    [
        (("gpt2", "--prompt", "0"), "--prompt is at most 100 whole numbers"),
        (("gpt2", "--prompt", "", "--cache", ""), "are both empty"),
        (("gpt2", "--level", "2"), "must lie between 0 and 1"),
        (("missing.onnx",), "missing.onnx"),
        (("gpt2", "--device", "nowhere"), "nowhere"),
    ],
)
def test_faulty_input_is_refused_in_a_sentence(
    words: tuple[str, ...], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) != 0
    assert fault in capsys.readouterr().err
