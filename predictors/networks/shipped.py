"""The pricer that comes with Gnomon: a `LayerSum` of the bundled tables, which prices networks without training.

`make pricer` writes it. Its layers are `CompactTrees`, so that it needs neither torch nor XGBoost.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from predictors.networks.layer_sum import LayerSum

PRICER = Path(__file__).with_name("pricer.pt")


def load() -> LayerSum:
    """Read the pricer; raises `InputError` where its file was damaged or removed."""
    from predictors.base import Predictor
    from predictors.networks.layer_sum import LayerSum

    found = Predictor.load(PRICER)
    assert isinstance(found, LayerSum)
    return found


def with_pricer(words: list[str]) -> list[str]:
    """Words of a command line, where those of `predict --network` without a predictor's file get the pricer's.

    Args:
        words: each flag has one value, behind it or after an equals sign.
    """
    if words[:1] != ["predict"] or not any(word.partition("=")[0] == "--network" for word in words):
        return words
    pairs = ((before.startswith("--") and "=" not in before, word) for before, word in pairwise(words))
    given = [word for after_flag, word in pairs if not after_flag and not word.startswith("--")]
    return words if given else ["predict", str(PRICER), *words[1:]]
