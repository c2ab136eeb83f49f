"""Public networks with random weights: of torchvision, timm and transformers, by name.

`torch:studies.tables.public:NAME` is a network's name on command lines. NAME is one of `FAMILIES`, alone or with
another size: `resnet18__batch4`, `resnet18__side160`, `bert_small__sequence16`. Needs these packages in the
environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from datasets.records import InputError
from studies.files import zoo

if TYPE_CHECKING:
    import torch

TORCHVISION = {
    "alexnet": "alexnet",
    "vgg": "vgg11 vgg16_bn",
    "resnet": "resnet18 resnet34 resnet50 resnet101 wide_resnet50_2 resnext50_32x4d",
    "squeezenet": "squeezenet1_0 squeezenet1_1",
    "densenet": "densenet121 densenet169",
    "inception": "googlenet inception_v3",
    "mobilenet": "mobilenet_v2 mobilenet_v3_small mobilenet_v3_large",
    "mnasnet": "mnasnet0_5 mnasnet1_0",
    "shufflenet": "shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5",
    "efficientnet": "efficientnet_b0 efficientnet_b1 efficientnet_v2_s",
    "regnet": "regnet_y_400mf regnet_x_400mf regnet_x_800mf regnet_y_1_6gf",
    "convnext": "convnext_tiny",
    "vit": "vit_b_16 vit_b_32",
    "swin": "swin_t",
    "maxvit": "maxvit_t",
}
TIMM = {
    "resnet": "resnet26d resnetv2_50 seresnet50 ecaresnet26t skresnet18 resnest14d gernet_s",
    "res2net": "res2net50_26w_4s",
    "dla": "dla34",
    "darknet": "darknet53 cspresnet50 cspdarknet53",
    "hrnet": "hrnet_w18_small",
    "efficientnet": "efficientnet_lite0 efficientnet_es tf_efficientnetv2_b0 tinynet_a tinynet_c",
    "mobilenet": "mobilenetv3_small_075 mobilenetv4_conv_small mobilenetv4_conv_medium mobilenetv4_hybrid_medium",
    "mnasnet": "fbnetc_100 spnasnet_100 semnasnet_075 hardcorenas_a",
    "mixnet": "mixnet_s mixnet_m",
    "ghostnet": "ghostnet_100 ghostnetv2_100",
    "lcnet": "lcnet_050 lcnet_100",
    "regnet": "regnetx_004 regnety_008",
    "rexnet": "rexnet_100 rexnet_130",
    "repvgg": "repvgg_a0 mobileone_s0 mobileone_s1",
    "repvit": "repvit_m0_9 repvit_m1",
    "nfnet": "nfnet_l0",
    "dpn": "dpn68",
    "vovnet": "ese_vovnet19b_dw selecsls42b",
    "hgnet": "hgnet_tiny hgnetv2_b0",
    "starnet": "starnet_s1 starnet_s2",
    "convnext": "convnextv2_atto convnext_atto convnext_femto convnext_pico inception_next_atto",
    "vit": "vit_tiny_patch16_224 vit_small_patch32_224 deit_tiny_patch16_224 deit_small_patch16_224 "
           "eva02_tiny_patch14_224",
    "cait": "cait_xxs24_224",
    "xcit": "xcit_nano_12_p16_224",
    "pit": "pit_ti_224 pit_xs_224",
    "twins": "twins_svt_small twins_pcpvt_small",
    "swin": "swin_tiny_patch4_window7_224 swinv2_tiny_window8_256",
    "mlp": "mixer_s32_224 mixer_s16_224 resmlp_12_224 gmlp_s16_224",
    "poolformer": "poolformer_s12 poolformerv2_s12",
    "edgenext": "edgenext_xx_small edgenext_x_small",
    "fastvit": "fastvit_t8 fastvit_t12",
    "mobilevit": "mobilevit_xxs mobilevit_xs mobilevitv2_050 mobilevitv2_100",
    "levit": "levit_128s levit_192",
    "efficientformer": "efficientformer_l1 efficientformerv2_s0 efficientformerv2_s1",
    "efficientvit": "efficientvit_b0 efficientvit_b1 efficientvit_m0 efficientvit_m2",
    "coat": "coat_lite_tiny coatnet_nano_rw_224",
    "visformer": "visformer_tiny convit_tiny",
    "pvt": "pvt_v2_b0 pvt_v2_b1",
    "tinyvit": "tiny_vit_5m_224",
    "focalnet": "focalnet_tiny_srf",
    "davit": "davit_tiny mvitv2_tiny",
}  # fmt: skip


class Transformer(NamedTuple):
    """A transformer of given sizes: class of its configuration and of its model, and what it reads."""

    family: str
    config: str
    model: str
    sizes: dict[str, Any]
    reads: str = "tokens"


def _bert(layers: int, width: int, config: str = "BertConfig", model: str = "BertModel", **more: Any) -> Transformer:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": width // 64,
             "intermediate_size": 4 * width}  # fmt: skip
    return Transformer("bert", config, model, {**sizes, **more})


def _llama(layers: int, width: int, heads: int, groups: int, wide: int, reads: str = "tokens") -> Transformer:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
             "num_key_value_heads": groups, "intermediate_size": wide, "vocab_size": 32000}  # fmt: skip
    return Transformer("llama", "LlamaConfig", "LlamaModel", sizes, reads)


def _gpt2(layers: int, width: int, reads: str = "tokens") -> Transformer:
    sizes = {"n_embd": width, "n_layer": layers, "n_head": width // 64}
    return Transformer("gpt2", "GPT2Config", "GPT2Model", sizes, reads)


def _t5(layers: int, width: int) -> Transformer:
    sizes = {"d_model": width, "num_layers": layers, "num_heads": width // 64, "d_kv": 64, "d_ff": 4 * width}
    return Transformer("t5", "T5Config", "T5EncoderModel", sizes)


def _opt(layers: int, width: int) -> Transformer:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": width // 64,
             "ffn_dim": 4 * width, "word_embed_proj_dim": width}  # fmt: skip
    return Transformer("opt", "OPTConfig", "OPTModel", sizes)


TRANSFORMERS = {
    "bert_tiny": _bert(2, 128),
    "bert_mini": _bert(4, 256),
    "bert_small": _bert(4, 512),
    "bert_medium": _bert(8, 512),
    "bert_base": _bert(12, 768),
    "minilm_6": _bert(6, 384, num_attention_heads=12),
    "minilm_12": _bert(12, 384, num_attention_heads=12),
    "electra_small": _bert(12, 256, "ElectraConfig", "ElectraModel", embedding_size=128),
    "albert_base": _bert(12, 768, "AlbertConfig", "AlbertModel", embedding_size=128),
    "roberta_6": _bert(6, 768, "RobertaConfig", "RobertaModel"),
    "distilbert_base": Transformer("bert", "DistilBertConfig", "DistilBertModel",
                                   {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072}),
    "mobilebert": Transformer("mobilebert", "MobileBertConfig", "MobileBertModel", {"num_hidden_layers": 12}),
    "t5_small": _t5(6, 512),
    "t5_mini": _t5(4, 384),
    "gpt2_6": _gpt2(6, 768),
    "gpt2_4": _gpt2(4, 512),
    "gpt2_6_step": _gpt2(6, 768, "cache"),
    "opt_125m": _opt(12, 768),
    "pythia_70m": Transformer("gpt_neox", "GPTNeoXConfig", "GPTNeoXModel",
                              {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8,
                               "intermediate_size": 2048}),
    "llama_15m": _llama(6, 288, 6, 6, 768),
    "llama_42m": _llama(8, 512, 8, 8, 1376),
    "llama_42m_step": _llama(8, 512, 8, 8, 1376, "cache"),
    "smollm_135m": _llama(30, 576, 9, 3, 1536),
    "smollm_135m_step": _llama(30, 576, 9, 3, 1536, "cache"),
    "whisper_tiny": Transformer("whisper", "WhisperConfig", "WhisperModel",
                                {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6,
                                 "encoder_ffn_dim": 1536, "decoder_layers": 1}, "sound"),
}  # fmt: skip
"""Encoders and decoders of public sizes; those called `_step` compute one token with as many in the cache as others
read."""

FAMILIES: dict[str, str] = {
    **{name: family for family, names in TORCHVISION.items() for name in names.split()},
    **{name: family for family, names in TIMM.items() for name in names.split()},
    **{name: network.family for name, network in TRANSFORMERS.items()},
}
"""Family of each network by its name."""

VARIED = (
    "resnet50 bert_small mobilenet_v2 gpt2_4 convnext_atto efficientnet_b0 t5_mini shufflenet_v2_x1_0 llama_15m "
    "densenet121 minilm_6 regnet_y_400mf squeezenet1_1 ghostnet_100 repvgg_a0 hardcorenas_a rexnet_100 bert_mini "
    "resnet18 mobilenet_v3_large"
)
"""Networks that are measured in other sizes, too."""

BATCHES, SIDES, SEQUENCES = (4, 16), (128, 192, 288, 384), (16, 64, 256, 512)
TOKENS = 128
"""Tokens that a transformer reads, or has in its cache, unless its name says otherwise."""


def variants(name: str) -> dict[str, int]:
    """Names of a network in other sizes, with the batch of each."""
    what, sizes = ("sequence", SEQUENCES) if name in TRANSFORMERS else ("side", SIDES)
    return {f"{name}__batch{b}": b for b in BATCHES} | {f"{name}__{what}{size}": 1 for size in sizes}


def __getattr__(name: str) -> Callable[[], torch.nn.Module]:
    if name.partition("__")[0] not in FAMILIES:
        raise AttributeError(name)
    return partial(made, name)


def made(name: str) -> torch.nn.Module:
    """A network as it is at inference, with random weights and an `example_input_array`.

    Raises:
        InputError: the name's size is none of this kind of network.
    """
    import torch

    public, _, size = name.partition("__")
    other = "sequence" if public in TRANSFORMERS else "side"
    found = re.fullmatch(rf"(batch|{other})([1-9]\d*)", size or "batch1")
    if found is None:
        raise InputError(f"{name} has no size that {public} has; write {public}__batch4 or {public}__{other}64.")
    what, value = found.groups()
    batch = int(value) if what == "batch" else 1
    torch.manual_seed(0)
    if public in TRANSFORMERS:
        return _transformer(public, batch, int(value) if what == "sequence" else TOKENS)
    library = "torchvision" if public in " ".join(TORCHVISION.values()).split() else "timm"
    module, (image,) = zoo.made(f"{library}:{public}")
    side = int(value) if what == "side" else image.shape[-1]
    _settle(module, torch.randn(4, 3, side, side))
    module.example_input_array = torch.zeros(batch, 3, side, side)
    return module


def _settle(module: torch.nn.Module, x: torch.Tensor) -> None:
    """Give batch norms the statistics of their inputs, and weights that start at zero a size: without, tensors of deep
    networks vanish, and the int8 of an output can be compared with nothing."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.abs().max() < 1e-3 and not name.endswith("bias"):
                p.copy_(torch.ones(p.shape) if p.ndim == 1 else 0.1 * torch.randn(p.shape, generator=generator))
        norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all runs
            norm.train()
        if norms:
            module(x)
    module.eval()


def _transformer(name: str, batch: int, tokens: int) -> torch.nn.Module:
    """One that takes tensors and gives a tensor."""
    import torch
    import transformers

    kind = TRANSFORMERS[name]
    config = getattr(transformers, kind.config)(**kind.sizes)
    config._attn_implementation, config.use_cache = "eager", kind.reads == "cache"
    model = getattr(transformers, kind.model)(config).eval()

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.get_encoder() if kind.reads == "sound" else model

        def forward(self, x: torch.Tensor, *past: torch.Tensor) -> torch.Tensor:
            if not past:
                return self.model(x).last_hidden_state
            cache = transformers.DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
            return self.model(x, past_key_values=cache, use_cache=True).last_hidden_state

    plain = Plain().eval()
    ids = torch.zeros(batch, 1 if kind.reads == "cache" else tokens, dtype=torch.long)
    example: Any = ids
    if kind.reads == "sound":
        example = torch.zeros(batch, 80, 3000)
    if kind.reads == "cache":
        heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
        width = config.hidden_size // config.num_attention_heads
        example = (ids, *(torch.zeros(batch, heads, tokens, width) for _ in range(2 * config.num_hidden_layers)))
    plain.example_input_array = example
    return plain
