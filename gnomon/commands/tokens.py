"""The command `tokens`."""

from __future__ import annotations

import re
from pathlib import Path


def tokens(
    model: str,
    device: str = "",
    prompt: str = "16,64,128,256,512",
    cache: str = "16,128,256,512,1024",
    predictor: Path | None = None,
    level: float = 0.9,
    past: str = "past_sequence_length",
    json: bool = False,
) -> None:
    """Predict the time to first token and the tokens per second of a language model, over prompt and cache length.

    Args:
        model: a decoder by its name (smollm_135m), a config.json of Hugging Face's transformers, its sizes as
            layers=8,width=512,heads=8,kv_heads=8,feed_forward=1376,vocabulary=32000, or an ONNX file that leaves the
            numbers of new and of cached tokens open.
        device: one of the predictor's devices; by default its first.
        prompt: numbers of tokens of prompts; '' for none.
        cache: numbers of tokens in the cache; '' for none.
        predictor: a predictor.pt of a sum of layers instead of the pricer that comes with Gnomon.
        level: probability of the intervals.
        past: name, in an ONNX file, of the number of cached tokens.
        json: whether to print JSON.
    """
    from datasets.blocks.decoder import read_decoder
    from datasets.files.reading import existing
    from datasets.records import InputError

    if not 0 < level < 1:
        raise InputError(f"--level {level} must lie between 0 and 1, as 0.9 does.")
    prompts, caches = _numbers("prompt", prompt), _numbers("cache", cache)
    if not prompts and not caches:
        raise InputError("--prompt and --cache are both empty; give one of them numbers of tokens, as 16,128.")
    if model.endswith(".onnx"):
        existing(Path(model), "name the ONNX file of a language model")
    else:
        read_decoder(model)
    from gnomon.commands.flags import own_predictor, print_found
    from gnomon.tokens import report
    from gnomon.tokens import tokens as predicted
    from predictors.networks.layer_sum import LayerSum

    own = own_predictor(predictor)
    if own is not None and not isinstance(own, LayerSum):
        raise InputError(f"{predictor} is no sum of layers; name one, or omit --predictor.")
    found = predicted(model, device, prompts, caches, own, level, past)
    print_found(found, report, json)


def _numbers(flag: str, text: str) -> list[int]:
    """Numbers of tokens that a flag gives, separated by commas."""
    from datasets.files.reading import shortened
    from datasets.records import InputError

    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if not all(re.fullmatch("[0-9]{1,7}", word) and int(word) for word in words) or len(words) > 100:
        raise InputError(f"--{flag} is at most 100 whole numbers from 1 on, as 16,128, not '{shortened(text, 60)}'.")
    return [int(word) for word in words]
