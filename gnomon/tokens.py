"""Time to first token and tokens per second of a language model: `python -m gnomon tokens`.

In Python: `tokens("smollm_135m").to_frame()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets.blocks.decoder import Decoder, read_decoder
from datasets.files.reading import existing
from datasets.networks.network import Network
from datasets.networks.sizes import Sizes
from datasets.records import InputError
from predictors.networks.pieces import pieces
from predictors.networks.price import Price, price, read_noted

if TYPE_CHECKING:
    import pandas as pd

    from predictors.networks.layer_sum import LayerSum

PROMPTS, CACHES = (16, 64, 128, 256, 512), (16, 128, 256, 512, 1024)
"""Numbers of tokens of prompts and in the cache by default."""
PAST = "past_sequence_length"
"""Name that exporters give the number of cached tokens."""


@dataclass(frozen=True)
class Run:
    """A run of a language model.

    Attributes:
        what: prompt: all tokens of a prompt at once; step: one token.
        tokens: in the prompt, or in the cache of a step.
        ms, low, high: predicted time with its interval; of a prompt, it is the time to the first token.
        per_second: tokens of the prompt, or new tokens, per second.
        macs: multiply-accumulates.
        weights_mb: bytes of the weights that it reads, in MB (10^6 bytes).
        memory: share of the time of pieces that moving bytes bounds.
    """

    what: Literal["prompt", "step"]
    tokens: int
    ms: float
    low: float
    high: float
    per_second: float
    macs: int
    weights_mb: float
    memory: float


@dataclass(frozen=True)
class Tokens:
    """Predicted times of a language model.

    Attributes:
        model: its name.
        device: name of the device.
        level: probability of intervals.
        runs: prompts, then steps, in the order of their tokens.
        notes: sentences on what no measurement supports, of the longest prompt and the longest cache.
    """

    model: str
    device: str
    level: float
    runs: tuple[Run, ...]
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """The result as plain values, as `--json` prints them."""
        return {"format": 1, **asdict(self)}

    def to_frame(self) -> pd.DataFrame:
        """One row per run."""
        import pandas as pd

        return pd.DataFrame([asdict(run) for run in self.runs])


def tokens(
    model: str | Decoder,
    device: str = "",
    prompts: Sequence[int] = PROMPTS,
    caches: Sequence[int] = CACHES,
    predictor: LayerSum | None = None,
    level: float = 0.9,
    past: str = PAST,
) -> Tokens:
    """Predict the time to the first token of prompts, and of each further token, of one sequence.

    Args:
        model: its sizes, a text that `read_decoder` takes, or an ONNX file that leaves the number of new tokens open
            and, where it reads a cache, the number of cached ones.
        device: one of the predictor's; by default its first.
        prompts: numbers of tokens of prompts.
        caches: numbers of cached tokens.
        predictor: a sum of layers; by default the pricer that comes with Gnomon.
        level: probability of intervals.
        past: the file's name of the number of cached tokens.

    Raises:
        InputError: there is no such model, or it cannot be read in these sizes or priced.
    """
    from datasets.records import find_device
    from predictors.networks.shipped import load

    (network, notes), gaps = _networks(model, past), dict[str, tuple[str, ...]]()
    predictor = predictor or load()
    on = find_device(predictor.devices_, device) if device else predictor.devices_[0]
    runs = list[Run]()
    points: list[tuple[Literal["prompt", "step"], int]] = [("prompt", number) for number in sorted(set(prompts))]
    points += [("step", number) for number in sorted(set(caches))]
    for what, number in points:
        found = network(number, 0) if what == "prompt" else network(1, number)
        priced = price(predictor, found, on, level)
        runs.append(_run(what, number, priced, found))
        gaps[what] = priced.warnings  # of the longest run
    name = model if isinstance(model, str) else "decoder"
    return Tokens(name, on.name, level, tuple(runs), tuple(dict.fromkeys([*notes, *chain(*gaps.values())])))


def _run(what: Literal["prompt", "step"], number: int, priced: Price, network: Network) -> Run:
    read = sum(piece.weights for piece in pieces(network)) / 1e6
    ms, moving = (sum(p.ms for p in priced.pieces if p.bound in bounds) for bounds in (("compute", "memory"), "memory"))
    per_second = 1e3 * (number if what == "prompt" else 1) / priced.latency_ms
    own = priced.latency_ms, priced.low, priced.high, per_second, priced.macs
    return Run(what, number, *own, read, moving / ms if ms else 0.0)


def _networks(model: str | Decoder, past: str) -> tuple[Callable[[int, int], Network], list[str]]:
    """A function that gives the network of a run of new tokens behind cached ones, and a sentence on it."""
    if isinstance(model, Decoder):
        return model.network, []
    if not model.endswith(".onnx"):
        return read_decoder(model).network, []
    cached = past in _open_sizes(existing(Path(model), "name the ONNX file of a language model"))

    def network(rows: int, number: int) -> Network:
        if number and not cached:
            raise InputError(
                f"{model} leaves no size '{past}' open, so that it reads no cache; give the name of its own by --past, "
                "or --cache '' for prompts alone."
            )
        return read_noted(model, None, Sizes(size=f"sequence={rows}" + f" {past}={number or 1}" * cached))[0]

    return network, ["Prompts of this file are read behind a cache of one token."] if cached else []


def _open_sizes(path: Path) -> set[str]:
    """Names in an ONNX file of the sizes of its inputs that it leaves open."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        inputs = onnx.load(path, load_external_data=False).graph.input
    except DecodeError as error:
        raise InputError(f"{path} is no ONNX file.") from error
    sides = (side.dim_param for value in inputs for side in value.type.tensor_type.shape.dim)
    return {name for side in sides for name in re.findall(r"\w+", side)}


def report(found: Tokens) -> str:
    """The result as two tables, of prompts and of steps."""
    from predictors.metrics import plain
    from predictors.networks.price_report import table

    heads = {
        "prompt": ("prompt", "first token ms", "tokens per second read"),
        "step": ("cache", "ms per token", "tokens per second"),
    }
    parts = list[str]()
    for what, (number, ms, per_second) in heads.items():
        rows = [
            {number: str(run.tokens), ms: plain(run.ms), f"{100 * found.level:.10g} % from": plain(run.low),
             "to": plain(run.high), per_second: plain(run.per_second), "weights MB": plain(run.weights_mb),
             "bound by memory": f"{100 * run.memory:.0f} %"}
            for run in found.runs if run.what == what
        ]  # fmt: skip
        parts += [table(rows)] if rows else []
    return "\n".join(parts)
