"""Sixty networks of torchvision, timm and transformers with random weights; `python -m studies.files.zoo NAME` prints
one's counts by every reader as JSON, and with `--run` how long it takes on every runtime."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from measure.timing import clock

if TYPE_CHECKING:
    import torch

TORCHVISION = """
alexnet vgg11 resnet18 resnet50 wide_resnet50_2 resnext50_32x4d squeezenet1_1 densenet121 googlenet inception_v3
mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mnasnet1_0 shufflenet_v2_x1_0 efficientnet_b0 regnet_y_400mf
convnext_tiny vit_b_16 swin_t"""
TIMM = """
resnet34 resnet26d resnetv2_50 seresnet50 ecaresnet26t res2net50_26w_4s dla34 darknet53 cspresnet50 hrnet_w18_small
efficientnet_lite0 mobilenetv3_small_075 mobilenetv4_conv_small tinynet_a mixnet_s ghostnet_100 fbnetc_100 regnetx_004
rexnet_100 repvgg_a0 nfnet_l0 convnextv2_atto deit_tiny_patch16_224 beit_base_patch16_224 mixer_s16_224 poolformer_s12
edgenext_xx_small fastvit_t8 mobilevit_xxs levit_128s"""
TRANSFORMERS = """
bert distilbert roberta electra vit t5_encoder gpt2 gpt2_cache llama llama_cache"""
NETWORKS = [
    *(f"torchvision:{name}" for name in TORCHVISION.split()),
    *(f"timm:{name}" for name in TIMM.split()),
    *(f"transformers:{name}" for name in TRANSFORMERS.split()),
]
TOKENS = 64


def declare_operators() -> None:
    """Declare the operators that torchvision needs when it is imported; its own file of them does not load beside every
    build of torch."""
    import torch
    from torch import library as operators

    for op in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, op):
            operators.define(f"torchvision::{op}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")


def made(name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A network as it is at inference, and an example of its inputs."""
    import torch

    library, _, model = name.partition(":")
    torch.manual_seed(0)
    declare_operators()
    if library == "torchvision":
        import torchvision

        plain = {"aux_logits": False, "init_weights": False} if model in ("googlenet", "inception_v3") else {}
        side = 299 if model == "inception_v3" else 224
        return getattr(torchvision.models, model)(weights=None, **plain).eval(), (torch.zeros(1, 3, side, side),)
    if library == "timm":
        import timm

        network = timm.create_model(model, pretrained=False).eval()
        return network, (torch.zeros(1, *network.default_cfg["input_size"]),)
    return transformer(model)


def transformer(name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """One of two layers; those with a cache read as many tokens before as `TOKENS`."""
    import torch
    import transformers as t

    small = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 1024}
    gpt = {"n_embd": 256, "n_layer": 2, "n_head": 4}
    llama = {**small, "num_key_value_heads": 2, "vocab_size": 32000}
    builders: dict[str, Callable[[], Any]] = {
        "bert": lambda: t.BertModel(t.BertConfig(**small)),
        "distilbert": lambda: t.DistilBertModel(t.DistilBertConfig(dim=256, n_layers=2, n_heads=4, hidden_dim=1024)),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**small)),
        "electra": lambda: t.ElectraModel(t.ElectraConfig(**small)),
        "vit": lambda: t.ViTModel(t.ViTConfig(**small)),
        "t5_encoder": lambda: t.T5EncoderModel(t.T5Config(d_model=256, num_layers=2, num_heads=4, d_kv=64, d_ff=1024)),
        "gpt2": lambda: t.GPT2Model(t.GPT2Config(**gpt)),
        "llama": lambda: t.LlamaModel(t.LlamaConfig(**llama)),
    }
    kind, cached = name.removesuffix("_cache"), name.endswith("_cache")
    model = builders[kind]().eval()
    model.config.use_cache, model.config._attn_implementation = cached, "eager"

    class Plain(torch.nn.Module):
        """Tensors in, tensors out."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if not past:
                return (self.model(x).last_hidden_state,)
            cache = t.DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
            return (self.model(x, past_key_values=cache, use_cache=True).last_hidden_state,)

    if kind == "vit":
        return Plain().eval(), (torch.zeros(1, 3, 224, 224),)
    if not cached:
        return Plain().eval(), (torch.zeros(1, TOKENS, dtype=torch.long),)
    heads = 2 if kind == "llama" else 4
    past = [torch.zeros(1, heads, TOKENS, 64) for _ in range(4)]
    return Plain().eval(), (torch.zeros(1, 1, dtype=torch.long), *past)


def counts(name: str) -> dict[str, Any]:
    """MACs and parameters by torch.export, by both ONNX exporters, and MACs by torch's counter of operations."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from datasets.networks.analysis import totals
    from datasets.networks.onnx_file import read_onnx
    from datasets.networks.torch_module import read_module

    module, x = made(name)
    found: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:

        def exported(dynamo: bool) -> Any:
            path = Path(folder) / f"{dynamo}.onnx"
            torch.onnx.export(module, x, path, dynamo=dynamo, verbose=False)
            return read_onnx(path).network

        readers = {"export": lambda: read_module(module, x), "legacy": lambda: exported(False)}
        readers["dynamo"] = lambda: exported(True)
        for reader, read in readers.items():
            try:
                total = totals(read())
                found |= {f"macs_{reader}": total["macs"], f"params_{reader}": total["params"]}
            except Exception as error:  # an exporter, or a refusal: both are the finding
                reasons[reader] = f"{type(error).__name__}: {error}"[:300]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*x)
    found["macs_counter"] = counter.get_total_flops() // 2
    macs = [found[key] for key in ("macs_export", "macs_legacy", "macs_dynamo") if key in found]
    refused = any(reason.startswith("InputError") for reason in reasons.values())
    equal = not refused and len(macs) >= 2 and max(macs) <= 1.001 * min(macs)
    ratio = macs[0] / found["macs_counter"] if macs and found["macs_counter"] else float("nan")
    return {"read": float(bool(macs)), "equal": float(equal), "of_counter": ratio, **found, "reasons": reasons}


RUN_ON = ("ort", "openvino", "eager")


def run(name: str) -> dict[str, Any]:
    """Median milliseconds of a network by runtime, in `ms`, and why others could not run it or computed something else,
    in `reasons`."""
    import torch

    from datasets.networks.onnx_file import read_onnx
    from datasets.networks.torch_module import write_onnx
    from measure.backends import parse_backend

    module, x = made(name)
    found: dict[str, Any] = {"ms": {}, "reasons": {}, "notes": []}
    with tempfile.TemporaryDirectory() as folder:
        onnx, pt2 = Path(folder) / "network.onnx", Path(folder) / "network.pt2"
        write_onnx(module, x, onnx)
        torch.export.save(torch.export.export(module, x), pt2)
        model = replace(read_onnx(onnx), others=(pt2,))
        for runtime in RUN_ON:
            backend = parse_backend(runtime)
            try:
                loaded = backend.loaded(partial(backend.built, model))
            except Exception as error:  # of the runtime: a finding
                found["reasons"][runtime] = f"{type(error).__name__}: {error}"[:300]
            else:
                found["ms"][runtime] = float(np.median([clock(loaded.session.run)[0] for _ in range(5)]))
                found["notes"] += loaded.notes
    return found


if __name__ == "__main__":
    print(json.dumps((run if "--run" in sys.argv else counts)(sys.argv[1])))
