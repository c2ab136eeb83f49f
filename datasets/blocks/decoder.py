"""Decoders of language models as graphs of ONNX's operators, written for a number of new tokens and one of cached ones.

A prompt is a run of all its tokens without a cache; each further token is a run of one token that reads the keys and
values of all earlier ones. Both compute the scores of the last token alone, and give back the keys and values of all.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from datasets.blocks.attention_nodes import attend
from datasets.blocks.operation_graph import OperationGraph, Tensor
from datasets.files.reading import existing, listed, shortened
from datasets.networks.network import Network
from datasets.records import InputError

Style = Literal["llama", "gpt2"]
MOST = 2**20
"""Largest size of a decoder, and largest number of tokens."""
_MOST_BYTES = 2**20  # of a config.json


@dataclass(frozen=True)
class Decoder:
    """Sizes of a decoder.

    Attributes:
        layers: number of blocks of attention and feed-forward layers.
        width: numbers per token.
        heads: heads of queries.
        kv_heads: heads of keys and values, a divisor of `heads`.
        feed_forward: width of the feed-forward layers.
        vocabulary: number of tokens.
        head_size: numbers per head; 0: width / heads.
        style: llama: RMS norms, rotary positions and gated SiLU, without biases (Touvron et al., LLaMA: Open and
            efficient foundation language models, 2023); gpt2: layer norms, learnt positions and GELU, with biases
            (Radford et al., Language models are unsupervised multitask learners, 2019).

    Raises:
        InputError: a size is none, or heads cannot be shared.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    head_size: int = 0
    style: Style = "llama"

    def __post_init__(self) -> None:
        for field in fields(self)[:6]:
            if type(value := getattr(self, field.name)) is not int or not 1 <= value <= MOST:
                raise InputError(f"The {field.name} of a decoder is a whole number from 1 to {MOST:,}, not {value}.")
        if self.style not in get_args(Style):
            raise InputError(f"The style of a decoder is llama or gpt2, not {shortened(str(self.style), 60)}.")
        if type(self.head_size) is not int or not 0 <= self.head_size <= MOST:
            raise InputError(f"The head_size of a decoder is a whole number up to {MOST:,}, not {self.head_size}.")
        if self.heads % self.kv_heads:
            raise InputError(f"{self.heads} heads cannot share {self.kv_heads} heads of keys and values equally.")
        if not self.head_size and self.width % self.heads:
            raise InputError(f"A width of {self.width} is not divisible by {self.heads} heads; give a head_size.")
        if self.style == "llama" and self.size % 2:
            raise InputError(f"Rotary positions need heads of an even size, not {self.size}.")

    @property
    def size(self) -> int:
        """Numbers per head."""
        return self.head_size or self.width // self.heads

    def graph(self, rows: int, past: int = 0) -> OperationGraph:
        """The graph of a run.

        Args:
            rows: number of new tokens; the input `ids` (1, rows) are theirs.
            past: number of cached tokens, whose keys and values (1, kv_heads, past, size) are further inputs.

        Raises:
            InputError: a number is out of range.
        """
        if not 1 <= rows <= MOST or not 0 <= past <= MOST:
            raise InputError(f"A run has 1 to {MOST:,} new tokens and at most as many cached, not {rows} and {past}.")
        if past and rows > 1:
            raise InputError("Several tokens at once are read without a cache; give one of them, or no cache.")
        graph, cache = OperationGraph(), list[Tensor]()
        ids = graph.input(1, rows, dtype="int64", name="ids")
        old = [[graph.input(1, self.kv_heads, past, self.size) for _ in range(2 if past else 0)]
               for _ in range(self.layers)]  # fmt: skip
        table = graph.weight(self.vocabulary, self.width, deviation=1.0)
        x = graph.add("Gather", table, ids, shape=(1, rows, self.width), reads=4 * rows * self.width)
        if self.style == "gpt2":
            x = graph.add("Add", x, graph.weight(1, rows, self.width, deviation=1.0))
        for own in old:
            x = self._attention(graph, x, own, cache)
            x = self._feed_forward(graph, x)
        if rows > 1:
            ends = (graph.constant([value], "int64") for value in (rows - 1, rows, 1))
            x = graph.add("Slice", x, *ends, shape=(1, 1, self.width))
        scores = graph.matmul(self._norm(graph, x), graph.weight(self.width, self.vocabulary))
        graph.outputs = [scores, *cache]
        return graph

    def network(self, rows: int, past: int = 0) -> Network:
        """The network of a run, read from its file; `graph` describes arguments and errors."""
        from datasets.networks.onnx_file import read_onnx

        with tempfile.TemporaryDirectory() as folder:
            file = self.graph(rows, past).save(Path(folder) / "decoder.onnx", numbers=False)
            return replace(read_onnx(file).network, key=f"decoder:{rows}+{past}")

    def _attention(self, graph: OperationGraph, x: Tensor, old: list[Tensor], cache: list[Tensor]) -> Tensor:
        """Add a block of attention; its keys and values, those of earlier tokens included, go to `cache`."""
        rows, y = x.shape[1], self._norm(graph, x)
        q, k, v = (self._heads(graph, y, heads) for heads in (self.heads, self.kv_heads, self.kv_heads))
        if self.style == "llama":
            past = old[0].shape[2] if old else 0
            angles = [graph.constant(_angles(f, past, rows, self.size), shape=(1, rows, self.size // 2))
                      for f in (np.cos, np.sin)]  # fmt: skip
            q, k = (graph.add("RotaryEmbedding", heads, *angles) for heads in (q, k))
        y = attend(graph, q, k, v, None, *old, is_causal=int(rows > 1))
        cache += graph.nodes[-1].outputs[1:] if old else [k, v]
        y = graph.reshape(graph.transpose(y, 0, 2, 1, 3), 1, rows, self.heads * self.size)
        return graph.add("Add", x, self._linear(graph, y, self.width))

    def _heads(self, graph: OperationGraph, x: Tensor, heads: int) -> Tensor:
        y = graph.reshape(self._linear(graph, x, heads * self.size), 1, x.shape[1], heads, self.size)
        return graph.transpose(y, 0, 2, 1, 3)

    def _feed_forward(self, graph: OperationGraph, x: Tensor) -> Tensor:
        y = self._norm(graph, x)
        if self.style == "llama":
            gate = self._linear(graph, y, self.feed_forward)
            gate = graph.gate(gate, graph.add("Sigmoid", gate))
            y = graph.add("Mul", gate, self._linear(graph, y, self.feed_forward))
        else:
            y = graph.add("Gelu", self._linear(graph, y, self.feed_forward), approximate="tanh")
        return graph.add("Add", x, self._linear(graph, y, self.width))

    def _linear(self, graph: OperationGraph, x: Tensor, columns: int) -> Tensor:
        y = graph.matmul(x, graph.weight(x.shape[-1], columns))
        return y if self.style == "llama" else graph.add("Add", y, graph.weight(columns, deviation=0.1))

    def _norm(self, graph: OperationGraph, x: Tensor) -> Tensor:
        scale = graph.weight(self.width, mean=1.0, deviation=0.1)
        if self.style == "llama":
            return graph.add("RMSNormalization", x, scale, axis=-1, epsilon=1e-5)
        return graph.add("LayerNormalization", x, scale, graph.weight(self.width, deviation=0.1), axis=-1, epsilon=1e-5)


def _angles(function: Any, past: int, rows: int, size: int) -> Any:
    """Function that gives cosines or sines (1, rows, size / 2) of rotary positions behind `past` tokens (Su et al.,
    RoFormer: Enhanced transformer with rotary position embedding, 2021)."""
    return lambda: function(np.outer(np.arange(past, past + rows), 1e4 ** (-np.arange(0, size, 2) / size)))[None]


DECODERS = {
    "llama_15m": Decoder(6, 288, 6, 6, 768, 32000),
    "llama_42m": Decoder(8, 512, 8, 8, 1376, 32000),
    "llama_110m": Decoder(12, 768, 12, 12, 2048, 32000),
    "smollm_135m": Decoder(30, 576, 9, 3, 1536, 49152),
    "smollm_360m": Decoder(32, 960, 15, 5, 2560, 49152),
    "qwen2_0.5b": Decoder(24, 896, 14, 2, 4864, 151936),
    "tinyllama_1.1b": Decoder(22, 2048, 32, 4, 5632, 32000),
    "pythia_70m": Decoder(6, 512, 8, 8, 2048, 50304, style="gpt2"),
    "gpt2_4": Decoder(4, 512, 8, 8, 2048, 50257, style="gpt2"),
    "gpt2_6": Decoder(6, 768, 12, 12, 3072, 50257, style="gpt2"),
    "gpt2": Decoder(12, 768, 12, 12, 3072, 50257, style="gpt2"),
    "opt_125m": Decoder(12, 768, 12, 12, 3072, 50272, style="gpt2"),
}
"""Sizes of public language models."""

_CONFIG = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "feed_forward": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocabulary": ("vocab_size",),
    "head_size": ("head_dim",),
}  # fmt: skip
"""Fields by their names in config.json of transformers."""


def read_decoder(text: str) -> Decoder:
    """The sizes that a text names.

    Args:
        text: one of `DECODERS`, the path of a config.json of Hugging Face's transformers, or fields as
            `layers=8,width=512,heads=8,kv_heads=8,feed_forward=1376,vocabulary=32000`.

    Raises:
        InputError: there is no such decoder or file, or a size is missing or malformed.
    """
    if text in DECODERS:
        return DECODERS[text]
    if text.endswith(".json"):
        return _read_config(Path(text))
    entries = [entry.partition("=") for entry in text.split(",")] if "=" in text else []
    values: dict[str, Any] = {name.strip(): value.strip() for name, _, value in entries}
    known = [field.name for field in fields(Decoder)]
    if not values or not set(values) <= set(known):
        raise InputError(
            f"'{shortened(text, 60)}' is no decoder; name one of {listed(list(DECODERS))}, a config.json, or its "
            f"{', '.join(known)} as layers=8,width=512,heads=8,feed_forward=1376,vocabulary=32000."
        )
    return _decoder(
        {name: int(value) if re.fullmatch("[0-9]{1,9}", value) else value for name, value in values.items()}
    )


def _read_config(path: Path) -> Decoder:
    path = existing(path, "name the config.json of a language model")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        config = json.loads(path.read_bytes())
        found = {name: next((config[key] for key in keys if config.get(key)), None) for name, keys in _CONFIG.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no config.json of a language model ({shortened(error, 60)}).") from error
    if found["feed_forward"] is None and isinstance(found["width"], int):
        found["feed_forward"] = 4 * found["width"]  # of GPT-2, whose files leave it open
    kept = {name: value for name, value in found.items() if value is not None}
    return _decoder({**kept, "style": "llama" if config.get("rms_norm_eps") else "gpt2"})


def _decoder(values: dict[str, Any]) -> Decoder:
    """A decoder of given fields, with a head of keys and values for each of queries unless they are given."""
    if "kv_heads" not in values and "heads" in values:
        values["kv_heads"] = values["heads"]
    required = [field.name for field in fields(Decoder)[:6]]
    if missing := [name for name in required if name not in values]:
        raise InputError(f"The {missing[0]} of the decoder is missing; give {', '.join(required)}.")
    return Decoder(**values)
