"""`ByNetwork`: values computed once for each network."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from datasets.networks.network import Network

Value = TypeVar("Value")


class ByNetwork(Generic[Value]):
    """Values of networks, kept as long as the networks exist: folds of a study encode the same ones again and again."""

    def __init__(self) -> None:
        self._values: dict[int, Value] = {}

    def of(self, networks: Sequence[Network], compute: Callable[[list[Network]], Iterable[Value]]) -> list[Value]:
        """The values of networks; those that are not known yet are computed, of all such networks at once."""
        new = list({id(network): network for network in networks if id(network) not in self._values}.values())
        for network, value in zip(new, compute(new) if new else (), strict=True):
            self._values[id(network)] = value
            weakref.finalize(network, self._values.pop, id(network), None)
        return [self._values[id(network)] for network in networks]

    def __deepcopy__(self, memo: Any) -> ByNetwork[Value]:
        """Nothing: a copy would keep values of networks that are gone."""
        return ByNetwork()
