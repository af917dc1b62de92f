import math

import pytest
import torch

from adwright.creative.faces.losses import (
    discriminator_loss,
    generator_loss,
    lazy_adam,
    path_lengths,
    r1_penalty,
    usual_gamma,
)


def test_logistic_losses() -> None:
    made, real = torch.tensor([0.5, -2.0]), torch.tensor([1.0, 3.0])
    literal = sum(math.log(1 + math.exp(-s)) for s in made.tolist()) / 2
    assert float(generator_loss(made)) == pytest.approx(literal)
    literal = sum(math.log(1 + math.exp(s)) for s in made.tolist()) / 2
    literal += sum(math.log(1 + math.exp(-s)) for s in real.tolist()) / 2
    assert float(discriminator_loss(made, real)) == pytest.approx(literal)


def test_r1_is_the_squared_slope_at_real_pictures() -> None:
    torch.manual_seed(0)
    real = torch.randn(3, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, 4, dtype=torch.float64)

    def score(x: torch.Tensor) -> torch.Tensor:
        return (torch.sin(x) * weight).sum((1, 2, 3))

    found = r1_penalty(score(real), real, 0.3)
    literal = ((torch.cos(real) * weight) ** 2).sum() / 3 * 0.3 / 2
    torch.testing.assert_close(found, literal)
    assert found.requires_grad


def test_path_lengths_by_differences() -> None:
    torch.manual_seed(0)
    rows, wide, numbers = 3, 4, 2 * 5 * 5
    maps = torch.randn(rows * wide, numbers, dtype=torch.float64)
    plus = torch.randn(2, rows, wide, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(2, 2, 5, 5, dtype=torch.float64)

    def pictures(w: torch.Tensor) -> torch.Tensor:
        return torch.tanh(w.reshape(2, -1) @ maps).view(2, 2, 5, 5)

    found = path_lengths(pictures(plus), plus, direction)
    eps, literal = 1e-6, []
    for at in range(2):
        jacobian = torch.zeros(rows, wide, dtype=torch.float64)
        for row in range(rows):
            for number in range(wide):
                step = torch.zeros_like(plus)
                step[at, row, number] = eps
                up, down = pictures(plus + step), pictures(plus - step)
                slope = ((up - down)[at] / (2 * eps)).detach()
                jacobian[row, number] = (slope * direction[at] / math.sqrt(25)).sum()
        literal.append(math.sqrt(float((jacobian**2).sum(1).mean())))
    torch.testing.assert_close(found, torch.tensor(literal, dtype=torch.float64), rtol=1e-5, atol=0)


def test_gamma_follows_size_and_batch() -> None:
    assert usual_gamma(64, 32) == pytest.approx(0.0256)
    assert usual_gamma(32, 32) == pytest.approx(0.0064)


def test_lazy_rates() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    group = lazy_adam([weight], 0.0025, 16).param_groups[0]
    assert group["lr"] == pytest.approx(0.0025 * 16 / 17)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (16 / 17)))
    assert lazy_adam([weight], 0.0025, 0).param_groups[0]["lr"] == 0.0025
