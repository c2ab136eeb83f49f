"""Paired runs of equal networks beside other work, recorded: `python -m studies.decide.journals --seconds 30`.

journals.npz holds what `gnomon.paired.blocks` measured of six networks against themselves on onnxruntime, in turns of
seconds each over most of an hour, on a core that four or more other processes used. So every recorded difference of the
two sides is noise.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.files.writing import whole_file
from gnomon.paired import Block, Side, blocks
from measure.backends import parse_backend
from measure.network_files import name_network, read_subject

FILE = Path(__file__).with_name("journals.npz")
_CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
NETWORKS = {
    "cell1": f"nasbench201(cells=1):{_CELL}",
    "cell5": f"nasbench201:{_CELL}",
    "mobilenet_v2": "zoo:mobilenet_v2",
    "squeezenet": "zoo:squeezenet",
    "resnet18": "zoo:resnet18",
    "resnet50": "zoo:resnet50",
}
"""Networks of 0.5 to 80 ms on one busy core of an AMD EPYC (Zen 4)."""
SHARE = {"cell1": 0.25, "cell5": 0.5, "mobilenet_v2": 0.67, "squeezenet": 0.67}
"""Shares of the seconds of a turn that suffice for short networks, whose blocks are short too."""


def record(seconds: float = 60, passes: int = 8, out: Path = FILE) -> None:
    """Record blocks of all networks; minutes to an hour.

    Args:
        seconds: of a turn of the longest networks.
        passes: turns of each network.
        out: the file to write.
    """
    backend, found = parse_backend("ort"), dict[str, list[list[Block]]]()
    with tempfile.TemporaryDirectory() as folder:
        sides = {}
        for name, key in NETWORKS.items():
            (own := Path(folder) / name).mkdir()
            sides[name] = Side(backend, backend.built(read_subject(name_network(key), 1), own))
        for turn in range(passes):
            for name, side in sides.items():
                end, measured = time.monotonic() + seconds * SHARE.get(name, 1), list[Block]()
                for block in blocks([side, side], backend.timing, seed=turn):
                    measured.append(block)
                    if time.monotonic() > end:
                        break
                found.setdefault(name, []).append(measured)
                print(turn, name, len(measured), flush=True)
            write(found, out)


def write(found: dict[str, list[list[Block]]], path: Path) -> None:
    """Write turns of blocks by network."""
    arrays = {}
    for name, turns in found.items():
        for turn, measured in enumerate(turns):
            arrays[f"{name}/{turn}/clocks"] = np.concatenate([block.clocks for block in measured]).astype(np.float32)
            arrays[f"{name}/{turn}/pairs"] = np.array([len(block.clocks) for block in measured], np.int16)
            arrays[f"{name}/{turn}/seconds"] = np.array([block.seconds for block in measured], np.float32)
            arrays[f"{name}/{turn}/renewed"] = np.array([block.renewed for block in measured])
    with whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read(path: Path = FILE) -> dict[str, list[list[Block]]]:
    """Turns of blocks by network."""
    found: dict[str, list[list[Block]]] = {}
    with np.load(path) as arrays:
        for key in arrays:
            name, turn, field = key.split("/")
            if field == "clocks":
                parts = [arrays[f"{name}/{turn}/{other}"] for other in ("pairs", "seconds", "renewed")]
                found.setdefault(name, []).append(list(_blocks(arrays[key], *parts)))
    return found


def _blocks(clocks: np.ndarray, pairs: np.ndarray, seconds: np.ndarray, renewed: np.ndarray) -> Iterator[Block]:
    parts = np.split(clocks.astype(float), np.cumsum(pairs)[:-1])
    for part, took, new in zip(parts, seconds, renewed, strict=True):
        yield Block(part, float(took), bool(new))


if __name__ == "__main__":
    main(record, prog="python -m studies.decide.journals")
