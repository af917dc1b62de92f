"""Dice against the paper's equation, and its moving moments."""

from __future__ import annotations

import torch

from adwright.models.ranking.din import EPS, Dice, MovingMoments, sum_over_ranks


def _literal(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    result = torch.empty_like(x)
    for unit in range(x.shape[1]):
        s = x[:, unit]
        mean = sum(s) / len(s)
        variance = sum((value - mean) ** 2 for value in s) / len(s)
        for row, value in enumerate(s):
            p = 1 / (1 + torch.exp(-(value - mean) / torch.sqrt(variance + EPS)))
            result[row, unit] = p * value + (1 - p) * alpha[unit] * value
    return result


def test_it_equals_equation_9_with_gradients() -> None:
    torch.manual_seed(0)
    dice, x = Dice(3).double(), torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        dice.alpha.copy_(torch.tensor([0.0, 0.5, -1.0]))
    ours, literal = dice(x), _literal(x, dice.alpha)
    torch.testing.assert_close(ours, literal)
    wanted = [x, dice.alpha]
    for mine, theirs in zip(
        torch.autograd.grad(ours.square().sum(), wanted),
        torch.autograd.grad(literal.square().sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_inference_uses_moving_averages_and_not_the_batch() -> None:
    torch.manual_seed(0)
    dice, x = Dice(4), torch.randn(50, 4) * 3 + 1
    trained = dice(x)
    dice.eval()
    torch.testing.assert_close(dice(x), trained, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dice(x)[:1], dice(x[:1]))


def test_moving_averages_follow_the_stream() -> None:
    moments = MovingMoments(1, momentum=0.5)
    torch.testing.assert_close(moments()[1], torch.ones(1))
    for mean, spread in ((0.0, 1.0), (4.0, 9.0)):
        values = torch.tensor([[mean - spread**0.5], [mean + spread**0.5]])
        moments.update(torch.tensor(2.0), values.sum(0), (values * values).sum(0))
    # Weights .25 and .5 of the two batches, over their sum .75.
    mean, variance = moments()
    torch.testing.assert_close(mean, torch.tensor([8 / 3]))
    torch.testing.assert_close(variance, torch.tensor([(0.25 + 4.5) / 0.75]))


def test_alpha_and_momentum_change_the_result() -> None:
    x = torch.tensor([[-1.0], [1.0], [2.0]])
    plain, leaky = Dice(1), Dice(1)
    with torch.no_grad():
        leaky.alpha.fill_(1.0)
    assert not torch.allclose(plain(x), leaky(x))
    torch.testing.assert_close(leaky(x), x)
    slow, fast = MovingMoments(1, momentum=0.1), MovingMoments(1, momentum=0.9)
    for value in (1.0, 5.0):
        for moments in (slow, fast):
            moments.update(torch.tensor(1.0), torch.tensor([value]), torch.tensor([value**2]))
    assert float(fast()[0]) > float(slow()[0])


def test_without_a_process_group_a_sum_over_ranks_is_the_value() -> None:
    values = torch.arange(3.0)
    assert sum_over_ranks(values) is values
