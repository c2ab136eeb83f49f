"""Descent on losses: each is computed after the step before it, and other parameters than the optimizer's are
frozen."""

from collections.abc import Iterator

import pytest
import torch

from predictors.descent import descend, one_cycle


def test_a_loss_is_computed_after_the_step_before_it_and_the_rest_is_frozen() -> None:
    learnt, frozen = torch.nn.Parameter(torch.tensor(4.0)), torch.nn.Parameter(torch.tensor(3.0))
    seen: list[float] = []

    def losses() -> Iterator[torch.Tensor]:
        for _ in range(3):
            seen.append(learnt.item())
            yield learnt * frozen

    descend(torch.optim.SGD([learnt], lr=0.1), losses())
    assert seen == pytest.approx([4.0, 3.7, 3.4]) and learnt.item() == pytest.approx(3.1)
    assert frozen.item() == 3 and frozen.grad is None


@pytest.mark.parametrize("steps", [2, 10, 20, 200])
def test_one_cycle_warms_up_for_a_tenth_and_ends_near_zero(steps: int) -> None:
    weight, rates = torch.nn.Parameter(torch.tensor(1.0)), []
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = one_cycle(optimizer, 0.5, steps)

    def losses() -> Iterator[torch.Tensor]:
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            yield weight**2

    descend(optimizer, losses(), schedule)
    assert rates[-1] < 0.02 * max(rates) and max(rates) <= 0.5
    assert rates.index(max(rates)) <= 0.15 * steps
