"""The precision that each op of a network computes in: fp32, fp16, bf16, fp64 or int8."""

from __future__ import annotations

from datasets.networks.network import Network
from datasets.networks.ops import param_bytes, params

_BY_TYPE = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64",
            **dict.fromkeys(("int8", "uint8", "int4", "uint4"), "int8")}  # fmt: skip
_QUANTISED = ("QLinear", "Integer", "Quantize", "QGemm", "QAttention")
"""Parts of the names of ops whose inputs or outputs are quantised."""


def precisions(network: Network) -> list[str]:
    """The precision of each op: of the tensors that it reads and writes, or of its weights if these are narrower; ''
    for inputs and for ops on other whole numbers. What reads dequantised numbers is int8, since runtimes fuse the
    two."""
    found = []
    for op, sources in zip(network.ops, network.sources(), strict=True):
        before = [network.ops[source] for source in sources]
        types = {_BY_TYPE.get(each.attrs.get("dtype", "float32"), "") for each in (op, *before[:1])} - {""}
        held = params(op, network.shape(sources[0])) if before else 0
        bits = 8 * param_bytes(op, network.shape(sources[0])) / held if held else 32  # a bias may have 32
        quantised = any(part in op.kind for part in _QUANTISED) or bits < 12
        if not before:
            found.append("")
        elif quantised or any(each.kind == "DequantizeLinear" for each in before):
            found.append("int8")
        elif len(types) == 2 and "fp32" in types and op.kind != "Cast":
            found.append(min(types - {"fp32"}))
        else:
            own = _BY_TYPE.get(op.attrs.get("dtype", "float32"), "")
            found.append("fp16" if own == "fp32" and bits < 24 else own)
    return found
