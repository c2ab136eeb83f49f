"""`Networks`: a collection of networks of any kinds, with the interface of `Architectures`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.architectures import Architecture, Architectures, InputError, Space
from datasets.networks.analysis import TOTALS, totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network, of_key

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AnyNetwork(Space):
    """The space of all networks, which cannot be listed. Its text form is `networks`, its keys are JSON forms."""

    def __str__(self) -> str:
        return "networks"

    def parse(self, keys: Sequence[str]) -> Any:
        return Networks([of_key(key) for key in keys])

    def format(self, archs: Any) -> list[str]:
        return archs.keys

    def canonical(self, archs: Any) -> list[str]:
        """JSON forms, which are equal for networks with equal ops and edges and do not depend on keys."""
        return [network.to_json() for network in archs]

    def connected(self, archs: Any) -> np.ndarray:
        return np.ones(len(archs), bool)

    def graph(self, archs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Networks of any kind have no cell; raises `InputError`."""
        raise InputError(
            "Networks of any kind have no graph of a cell; choose an encoder that reads totals (encoders.flat.Totals), "
            "as configs/predictors/totals_trees.yaml has it."
        )

    def expand(self, arch: Any) -> Network:
        """The network itself."""
        return arch

    @property
    def num_choices(self) -> tuple[int, ...]:  # type: ignore[override]
        raise _no_decisions()

    def totals(self, archs: Any) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame([totals(network) for network in archs], columns=list(TOTALS))

    def architecture(self, decisions: np.ndarray) -> Architecture:
        raise InputError("Networks of any kind have no decisions to search among; name a search space.")

    def all(self) -> Any:
        raise InputError("Networks of any kind cannot be listed; name a search space, or the networks.")

    def sample(self, n: int, rng: np.random.Generator) -> Any:
        """Small random networks for tests: chains of convolutions and a dense layer."""
        return Networks(_chain(rng) for _ in range(n))


class OfNetworks:
    """Values of networks, each computed once as long as the network exists. Copies are empty."""

    def __init__(self) -> None:
        self._values = dict[int, Any]()  # by identity

    def __reduce__(self) -> Any:
        return OfNetworks, ()

    def get(self, networks: Iterable[Network], compute: Callable[[list[Network]], Iterable[Any]]) -> list[Any]:
        """Values in the order of the networks; `compute` gives those of new ones."""
        networks = list(networks)
        new = list({id(network): network for network in networks if id(network) not in self._values}.values())
        for network, value in zip(new, compute(new) if new else (), strict=True):
            self._values[id(network)] = value
            weakref.finalize(network, self._values.pop, id(network), None)
        return [self._values[id(network)] for network in networks]


def _no_decisions() -> InputError:
    return InputError(
        "Networks of any kind have no decisions; choose an encoder that reads totals (encoders.flat.Totals), or a "
        "predictor of networks."
    )


def _chain(rng: np.random.Generator) -> Network:
    net = NetworkBuilder()
    side = int(rng.choice([16, 24, 32]))
    x = net.add("input", (3, side, side))
    for _ in range(rng.integers(1, 5)):
        x = net.pointwise("relu", net.conv(x, 8 * int(rng.integers(1, 9)), int(rng.choice([1, 3, 5])), bias=1))
    x = net.add("global_avg_pool", net.shape(x)[:1], x)
    net.add("dense", (10,), x)
    return Network.of(net.ops, net.edges)


class Networks(Architectures):
    """A collection of networks of any kinds; `Architectures` is one of points of a single space.

    Attributes:
        networks: in order.
    """

    space = AnyNetwork()

    def __init__(self, networks: Iterable[Network]) -> None:
        self.networks = tuple(networks)

    @staticmethod
    def of(archs: Architectures) -> Networks:
        """The networks of architectures; `Networks` are returned unchanged."""
        return archs if isinstance(archs, Networks) else Networks(archs.space.expand(arch) for arch in archs)

    @property
    def decisions(self) -> np.ndarray:  # type: ignore[override]
        raise _no_decisions()

    def positions(self, archs: Architectures) -> np.ndarray:
        """Indices in this collection of networks, or of the networks of architectures, with equal space and key
        [len(archs)]; -1 for those that are missing."""
        places = {(network.space, network.key): i for i, network in enumerate(self.networks)}
        return np.array([places.get((arch.space, arch.key), -1) for arch in Networks.of(archs)], dtype=int)

    def __len__(self) -> int:
        return len(self.networks)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self.networks[int(index)]
        return Networks(self.networks[i] for i in np.arange(len(self))[index])

    def __iter__(self) -> Iterator[Any]:
        return iter(self.networks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Networks) and self.networks == other.networks

    __hash__ = None

    def __repr__(self) -> str:
        return f"<{len(self)} networks>"

    @property
    def keys(self) -> list[str]:
        """Keys of the networks."""
        return [network.key for network in self.networks]
