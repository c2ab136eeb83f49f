"""Predictions of relaxed architectures by any predictor, so that optimizers follow its gradients on any space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from datasets.records import Architectures, Cost, Space

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Relaxed:
    """A cost of one device as a `Relaxable`: its multilinear extension (Owen, "Multilinear Extensions of Games", 1972),
    to first order around the likeliest architecture.

    The logarithm of the cost of relaxed decisions p is that of the likeliest architecture a, plus the sum over all
    decisions d and choices c of p[d, c] times the change of the logarithm where d becomes c in a. Where all is decided
    it is the cost itself, and its gradient is that of the expected logarithm under independent random decisions. So the
    cost needs no gradient of its own, only its values for a and for all architectures that differ from it in one
    decision; they are kept.

    Attributes:
        cost: of architectures, above zero.
        space: of the architectures.
    """

    cost: Cost
    space: Space
    known: dict[bytes, float] = field(init=False, repr=False, default_factory=dict)  # logarithms, by decisions

    def predict_relaxed(self, p: Tensor, device: Tensor) -> Tensor:
        """Costs [...] of relaxed architectures [..., F]: per decision the probabilities of its choices; the device is
        ignored."""
        import torch

        sizes = self.space.num_choices
        flat = p.reshape(-1, p.shape[-1])
        likeliest = torch.stack([block.argmax(dim=1) for block in flat.detach().split(sizes, dim=1)], dim=1).numpy()
        different, rows = np.unique(likeliest, axis=0, return_inverse=True)
        logs, slopes = (torch.from_numpy(part).to(p.dtype)[rows.ravel()] for part in self._around(different))
        return torch.exp(logs + (flat * slopes).sum(dim=1)).reshape(p.shape[:-1])

    def _around(self, likeliest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms [n] of the costs of architectures with decisions [n, decisions], and the changes [n, F] by each
        choice of one decision, 0 where that is no architecture of the space."""
        sizes = self.space.num_choices
        changed = np.repeat(likeliest[:, None], sum(sizes), axis=1)  # [n, F, decisions]
        places = np.repeat(np.arange(len(sizes)), sizes)
        changed[:, np.arange(sum(sizes)), places] = np.concatenate([np.arange(size) for size in sizes])
        flat = changed.reshape(-1, len(sizes))
        valid = self.space.valid(flat)
        flat[~valid] = np.repeat(likeliest, sum(sizes), axis=0)[~valid]
        logs = self._logs(likeliest)
        return logs, self._logs(flat).reshape(len(logs), -1) - logs[:, None]

    def _logs(self, decisions: np.ndarray) -> np.ndarray:
        """Logarithms [n] of the costs of architectures."""
        rows = np.ascontiguousarray(decisions, np.int64)
        keys = [row.tobytes() for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self.known}
        if new:
            costs = np.asarray(self.cost(Architectures(self.space, np.stack(list(new.values())))), float)
            self.known |= dict(zip(new, np.log(costs).tolist(), strict=True))
        return np.array([self.known[key] for key in keys])
