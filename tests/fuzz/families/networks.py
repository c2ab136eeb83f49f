"""Network files of others: ONNX, Keras, TensorFlow Lite, ncnn."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from datasets.packages import absent
from tests.doubles.ncnn_files import IMAGES, TOKENS
from tests.doubles.network_files import texts
from tests.fuzz import inputs
from tests.fuzz.family import Command, Family, Files, any_of, one_file
from tests.fuzz.mutations import change_bytes, change_tree
from tests.fuzz.onnx_edits import change_network

HERE = Path(__file__).parent


def _onnx(folder: Path) -> list[Files]:
    inputs.layerwise(folder)
    return [{"m.onnx": content} for content in inputs.network_files(folder).values()]


def _read(name: str) -> Callable[[Path, Path, Random], Command]:
    def attack(case: Path, beside: Path, rng: Random) -> Command:
        file, batch = str(case / name), rng.choice(([], [], ["--batch", "3"]))
        if rng.random() < 0.75:
            return ["datasets", "show", file, *batch]
        price = ["predictors", "predict", str(beside / "layerwise.pt"), "--network", file, "--device", inputs.DEVICE]
        shown = rng.choice((["--out", "x.png"], ["--json"], ["--images", "5", "--sort", "cost"], ["--level", "0.5"]))
        return [*price, *shown, *(rng.choice((batch, ["--batch", "1,2"])) if "--out" not in shown else batch)]

    return attack


def _keras(folder: Path) -> list[Files]:
    inputs.layerwise(folder)
    return [{"m.keras": path.read_bytes()} for path in sorted(HERE.glob("*.keras"))]


def change_keras(content: bytes, rng: Random) -> bytes:
    """An archive with an edited configuration, damaged weights, or members that are missing, twice there or bombs."""
    kind = rng.random()
    if kind < 0.25:
        return change_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    i = rng.randrange(len(members))
    name, data = members[i]
    if kind < 0.7:
        i = [name for name, _ in members].index("config.json")
        members[i] = "config.json", json.dumps(change_tree(json.loads(members[i][1]), rng)).encode()
    elif kind < 0.8:
        members[i] = name, change_bytes(data, rng)
    elif kind < 0.85:
        del members[i]
    elif kind < 0.9:
        members[i] = rng.choice(("../x", "/x", "", "x" * 300, "config.json/")), data
    elif kind < 0.95:
        members[i] = name, rng.choice((bytes(2**27), b"[" * 10**5, b"", b"{}", b"null"))
    else:
        members.append((name, rng.choice((data, b""))))
    saved = io.BytesIO()
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name or "x"), data)
    return saved.getvalue()


def _tflite(folder: Path) -> list[Files]:
    from datasets.networks.builder import NetworkBuilder
    from measure.backends import parse_backend
    from measure.base import with_weights

    net = NetworkBuilder()
    x = net.pointwise("relu", net.conv(net.add("input", (3, 8, 8)), 4, 3, bias=1))
    network = net.finish("", "small", net.add("dense", (4,), net.pool("avg_pool", x, 2, 2)))
    (folder / "tflite").mkdir(exist_ok=True)
    path = parse_backend("litert").for_network(network).artefact(with_weights(network), folder / "tflite")
    return [{"m.tflite": path.read_bytes()}]


def _tflite_shown(folder: Path) -> list[Files]:
    from tests.doubles.tflite import looping

    inputs.layerwise(folder)
    return [*_tflite(folder), {"m.tflite": looping()}]


def change_words(content: bytes, rng: Random) -> bytes:
    """Aligned numbers of four bytes, as distances, lengths and sizes are, that are extreme or slightly off."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = 4 * rng.randrange(max(len(changed) // 4, 1))
        (old,) = struct.unpack_from("<i", changed, place)
        new = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), -place, old + 4, old - 4, 2 * old, rng.randrange(300)))
        struct.pack_into("<I", changed, place, new % 2**32)
    return bytes(changed)


def _ncnn(folder: Path) -> list[Files]:
    inputs.layerwise(folder)
    return [{"m.param": IMAGES.encode()}, {"m.param": TOKENS.encode()}]


def change_param(content: bytes, rng: Random) -> bytes:
    """A text whose words are changed, left out, repeated or added."""
    lines = [line.split() for line in content.decode().splitlines()]
    for _ in range(rng.choice((1, 1, 2, 5))):
        line = rng.choice(lines)
        place, value = rng.randrange(len(line) + 1), rng.choice(_VALUES)
        if rng.random() < 0.6 and place < len(line):
            line[place] = f"{line[place].partition('=')[0]}={value}" if "=" in line[place] else value
        elif rng.random() < 0.3 and len(line) > 1:
            line.pop()
        else:
            line.append(f"{rng.choice((*range(20), -23300, -23303, -23309))}={value}")
    return "\n".join(map(" ".join, lines)).encode()


_VALUES = ("0", "-1", "1", "2", "-233", "-234", "2147483647", "99999999999", "1e30", "nan", "x", "1.5", "2,3", "",
           "Split", "Gemm", "Crop", "Concat", "Slice", "SDPA")  # fmt: skip


def _delegates(case: Path, beside: Path, rng: Random) -> Command:
    return ["measure", "delegates", "--file", str(case / "m.tflite")]


def _samples(folder: Path) -> list[Files]:
    texts(folder / "texts.onnx")
    saved = io.BytesIO()
    np.savez(saved, ids=np.ones((1, 6), np.int64), mask=np.ones((1, 6), np.int64))
    return [{"sample.npz": saved.getvalue()}]


def _run_with(case: Path, beside: Path, rng: Random) -> Command:
    return ["measure", "timeline", "--arch", str(beside / "texts.onnx"), "--inputs", str(case / "sample.npz")]


FAMILIES = (
    Family("own inputs", _samples, one_file(change_bytes), _run_with, share=0.2),
    Family("onnx network", _onnx, one_file(change_network), _read("m.onnx"), share=1.5),
    Family("keras network", _keras, one_file(change_keras), _read("m.keras"), share=0.5),
    Family("ncnn network", _ncnn, one_file(any_of(change_param, change_bytes)), _read("m.param"), share=0.3),
)
if not absent(["ai_edge_litert"]):
    FAMILIES += (
        Family("tflite network", _tflite, one_file(change_bytes), _delegates, share=0.5),
        Family(
            "tflite file", _tflite_shown, one_file(any_of(change_bytes, change_words)), _read("m.tflite"), share=0.5
        ),
    )
