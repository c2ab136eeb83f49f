"""Times of a network's pieces by a graph network, for `predict --network`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datasets.networks.network import Network
from datasets.networks.parts import entries
from datasets.records import Device, Networks
from encoders.pieces import KINDS, groups
from predictors.graph_net import GraphNet
from predictors.networks.pieces import pieces
from predictors.networks.price import PricedLayer
from predictors.new_devices.base import FewShot


@dataclass(frozen=True)
class PieceTimes:
    """Milliseconds of a network's pieces, which sum to the prediction with the session's.

    Attributes:
        layers: pieces in the network's order; their `bound` is empty.
        session_ms: of a run that computes nothing.
    """

    layers: tuple[PricedLayer, ...]
    session_ms: float


def piece_times(predictor: Any, network: Network, device: Device | None, total_ms: float) -> PieceTimes | None:
    """Divide a prediction among the pieces of a network.

    Args:
        predictor: a `GraphNet`, or one for new devices on its predictions; after it was adapted, pieces have their mean
            shares on the source devices.
        network: all ops have a `shape`.
        device: one of the predictor's; None if it has only one.
        total_ms: the prediction in ms.

    Returns:
        None where the predictor knows no pieces.
    """
    source = predictor.source if isinstance(predictor, FewShot) else predictor
    if not isinstance(source, GraphNet):
        return None
    archs = Networks([network])
    (ms,) = source.piece_ms(archs)
    shares = ms / ms.sum(axis=0)
    adapted = isinstance(predictor, FewShot) and predictor.line_ is not None
    share = shares.mean(axis=1) if adapted else shares[:, predictor.column(device)]
    kinds = source.encoder(archs).nodes[:, -len(KINDS) :].argmax(axis=1)
    nodes = {group[0] for group in groups(network)}
    found = [piece for group, piece in zip(entries(network), pieces(network), strict=True) if group[0] in nodes]
    layers = tuple(
        PricedLayer(piece.name, piece.label, KINDS[kind], float(part * total_ms), float(part), 2 * piece.macs,
                    piece.moved, "")
        for piece, kind, part in zip(found, kinds, share[:-1], strict=True)
    )  # fmt: skip
    return PieceTimes(layers, float(share[-1] * total_ms))
