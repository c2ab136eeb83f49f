"""What the contract tests ask of whoever adds a class: what is missing is named, and nothing is left out silently."""

from pathlib import Path

import numpy as np
import pytest

from datasets.records import Space
from datasets.spaces.convolution import Convolution
from datasets.spaces.nasbench201 import NasBench201
from encoders.base import VectorEncoder
from tests.conftest import implementations
from tests.contracts.test_encoders import suits

SPACE = """
from dataclasses import dataclass
from datasets.records import Space

@dataclass(frozen=True)
class Half(Space):
    num_choices = (2, 2)
    kinds = ("input", "output")
    def parse(self, keys): ...
    def format(self, archs): ...
    def canonical(self, archs): ...
    def connected(self, archs): ...
    def expand(self, arch): ...
    def totals(self, archs): ...
    def architecture(self, decisions): ...
"""


def test_a_class_that_lacks_methods_is_named_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in (("halves", SPACE), ("wholes", SPACE + "    def __str__(self): return 'half'\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "half.py").write_text(code)
    with pytest.raises(TypeError, match=r"halves\.half\.Half lacks __str__"):
        implementations("halves", Space)
    (half,) = implementations("wholes", Space)
    with pytest.raises(NotImplementedError, match="Half names kinds of nodes, so it needs the method graph"):
        half().graph(half().sample(1, np.random.default_rng(0)))


def test_an_encoder_that_reads_what_a_space_lacks_is_told_to_refuse_it() -> None:
    class Values(VectorEncoder):
        def num_features(self, space):
            return len(space.features)

        def __call__(self, archs):
            return np.stack(list(archs.space.values(archs).values()), axis=1).astype(np.float32)

    assert suits(Values(), Convolution())
    with pytest.raises(pytest.fail.Exception, match=r"Values\.num_features has to raise an InputError for NasBench201"):
        suits(Values(), NasBench201())
