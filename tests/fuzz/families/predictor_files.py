"""`predictor.pt`, `predictor.onnx` and what prices networks: damaged bytes, edited trees and graphs."""

import contextlib
import io
import json
import os
import pickle
from pathlib import Path
from random import Random
from typing import Any

from datasets.files.digest import digest
from predictors.onnx_check import with_digest
from tests.fuzz import inputs
from tests.fuzz.family import Command, Family, Files, one_file
from tests.fuzz.mutations import change_bytes, change_tree
from tests.fuzz.onnx_edits import change_graph


def change_checkpoint(content: bytes, rng: Random) -> bytes:
    """A checkpoint with an edited tree, odd tensors, a pickle that would run something; or damaged bytes. Most edited
    ones have the right digest, as whoever means harm would write them."""
    import torch

    if rng.random() < 0.2:
        return change_bytes(content, rng)
    tree = torch.load(io.BytesIO(content), weights_only=True)
    if rng.random() < 0.05:
        return pickle.dumps(rng.choice((tree.get("predictor"), _Loud(), [1], None)))
    part = rng.choice([name for name in ("state", "layers", "") if not name or name in tree])
    tree = (
        {**tree, part: change_tree(tree[part], rng, change_tensor)} if part else change_tree(tree, rng, change_tensor)
    )
    if isinstance(tree, dict) and rng.random() < 0.8:
        tree.pop("digest", None)
        with contextlib.suppress(TypeError, ValueError):  # of what no such file holds
            tree["digest"] = digest(tree)
    saved = io.BytesIO()
    torch.save(tree if rng.random() < 0.97 else {"predictor": _Loud(), "state": tree}, saved)
    return saved.getvalue()


class _Loud:
    """What runs something when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("true",)


def change_tensor(value: Any, rng: Random) -> Any:
    """A tensor of another shape, type or content."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    changes = (
        lambda: value[:0] if value.dim() else value.reshape(1),
        lambda: value[: max(1, len(value) // 2)].clone() if value.dim() else value,
        lambda: value.reshape(-1),
        lambda: value[None],
        lambda: value.T.contiguous() if value.dim() == 2 else value,
        lambda: torch.full_like(value, rng.choice((0, 1, 100))),
        lambda: value.double() * float("nan"),
        lambda: value.double() * 1e30,
        lambda: -value if value.dtype != torch.bool else value,
        lambda: value.to(
            rng.choice((torch.int64, torch.float16, torch.bool, torch.complex64, torch.uint8, torch.bfloat16))
        ),
        lambda: torch.zeros(1).expand(2**34),
        lambda: torch.zeros(()),
        lambda: value.to_sparse(),
        lambda: torch.empty(value.shape, device="meta"),
        lambda: torch.cat([value, value]) if value.dim() else value,
    )
    return rng.choice(changes)()


def _predictors(folder: Path) -> list[Files]:
    paths = [*inputs.predictors(folder).values(), inputs.adapted(folder)]
    inputs.table(folder)
    return [{"p.pt": path.read_bytes()} for path in paths]


def _ask(case: Path, beside: Path, rng: Random) -> Command:
    file, key = str(case / "p.pt"), inputs.keys()[0]
    questions: list[Command] = [
        ["predict", file, "--device", rng.choice((inputs.DEVICE, "toy_2")), "--arch", key],
        ["predict", file, "--device", "toy_2", "--arch", key, "--level", "0.9"],
        ["show", file],
        ["score", file, "scores.parquet", "--limit", "20"],
        ["choose", file, "--n", "3"],
        ["adapt", file, "--measurements", str(beside / "table.parquet"), "--device", inputs.DEVICE, "--out", "new.pt"],
    ]
    weights = (4, 2, 2, 1, 1, 2)
    if rng.random() < 0.08:
        return ["predictors", "export", file, "p.onnx"]
    return ["predictors", *rng.choices(questions, weights)[0]]


def change_exported(content: bytes, rng: Random) -> bytes:
    """An exported predictor with an edited graph, with edited metadata, or damaged; most edited ones have the right
    digest."""
    import onnx

    kind = rng.random()
    if kind < 0.2:
        return change_bytes(content, rng)
    model = onnx.load_from_string(content)
    place = next(place for place, entry in enumerate(model.metadata_props) if entry.key == "gnomon")
    if kind < 0.65:
        model = onnx.load_from_string(change_graph(content, rng))
    if kind > 0.55:
        entry = model.metadata_props[place]
        entry.value = json.dumps(change_tree(json.loads(entry.value), rng), ensure_ascii=True)
    if rng.random() < 0.2:
        return model.SerializeToString()
    for place in reversed(range(len(model.metadata_props))):
        if model.metadata_props[place].key == "gnomon_digest":
            del model.metadata_props[place]
    return with_digest(model.SerializeToString())


def _exported(folder: Path) -> list[Files]:
    return [
        {"p.onnx": inputs.exported(folder, name).read_bytes()} for name in ("linear", "trees", "gcn", "conditioned")
    ]


def _ask_exported(case: Path, beside: Path, rng: Random) -> Command:
    file = str(case / "p.onnx")
    questions: list[Command] = [
        ["predict", file, "--device", inputs.DEVICE, "--arch", inputs.keys()[0]],
        ["show", file],
        ["score", file, "scores.parquet", "--limit", "20"],
    ]
    return ["predictors", *rng.choices(questions, (5, 2, 1))[0]]


def _layerwise(folder: Path) -> list[Files]:
    inputs.table(folder)
    for name, content in inputs.network_files(folder).items():
        (folder / name).write_bytes(content)
    return [{"p.pt": inputs.layerwise(folder).read_bytes()}]


def _tabulated(folder: Path) -> list[Files]:
    _layerwise(folder)
    return [{"p.pt": inputs.tabulated(folder).read_bytes()}]


def _price(case: Path, beside: Path, rng: Random) -> Command:
    file = str(case / "p.pt")
    questions: list[Command] = [
        ["predict", file, "--network", str(beside / "ours.onnx"), "--device", inputs.DEVICE, "--out", "x.png"],
        ["choose", file, "--n", "3", "--space", "convnet(image=32,classes=10,megamacs=60)"],
        ["adapt", file, "--measurements", str(beside / "table.parquet"), "--device", inputs.DEVICE, "--out", "new.pt",
         "--space", str(inputs.SPACE)],
        ["show", file],
    ]  # fmt: skip
    return ["predictors", *rng.choices(questions, (6, 0.3, 1, 1))[0]]


FAMILIES = (
    Family("predictor.pt", _predictors, one_file(change_checkpoint), _ask),
    Family("predictor.onnx", _exported, one_file(change_exported), _ask_exported),
    Family("layerwise predictor", _layerwise, one_file(change_checkpoint), _price, share=0.5),
    Family("look-up predictor", _tabulated, one_file(change_checkpoint), _price, share=0.5),
)
