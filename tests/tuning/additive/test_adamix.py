"""AdaMix: one draw in a step, the mean in use."""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.tuning.additive.adapters import AdaMix, Mixture, consistency, reads_twice
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula_in_use_and_in_a_step() -> None:
    tuned = apply(tiny_llama(), AdaMix(experts=3, size=4))
    shake(tuned)

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if kind == "attention":
            return h
        own = tuned.layers()[layer].mlp.down_proj.adapter
        assert isinstance(own, Mixture)
        if own.drawn is None:
            down, c, up, e = (
                sum(part[i] for i in range(3)) / 3
                for part in (own.down, own.inner_bias, own.up, own.outer_bias)
            )
        else:
            i, j = own.drawn[0]
            down, c, up, e = own.down[i], own.inner_bias[i], own.up[j], own.outer_bias[j]
        return h + torch.clamp(h @ down.T + c, min=0) @ up.T + e

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-5)
    used = logits_of(tuned)
    tuned.before_step(3, 10)
    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-5)
    assert not torch.allclose(logits_of(tuned), used, atol=1e-4)
    tuned.after_step(3, 10)
    assert torch.equal(logits_of(tuned), used)


def test_every_expert_is_drawn() -> None:
    tuned = apply(tiny_llama(), AdaMix(experts=3, size=4))
    mixture = tuned.layers()[0].mlp.down_proj.adapter
    pairs = set()
    for step in range(60):
        tuned.before_step(step, 60)
        pairs.update(mixture.drawn)
    assert len(pairs) == 9


def test_the_second_half_has_the_second_draw() -> None:
    tuned = apply(tiny_llama(), AdaMix(experts=3, size=4))
    shake(tuned)
    mixture = tuned.layers()[0].mlp.down_proj.adapter
    assert isinstance(mixture, Mixture)
    h = torch.randn(1, 6, tuned.sizes.width)
    step = 0
    while mixture.drawn is None or mixture.drawn[0] == mixture.drawn[1]:
        tuned.before_step(step, 10)
        step += 1
    first = mixture(h)
    mixture.drawn = mixture.drawn[::-1]
    second = mixture(h)
    mixture.drawn = mixture.drawn[::-1]
    reads_twice(tuned)
    halves = mixture(torch.cat([h, h], 1)).chunk(2, 1)
    assert torch.allclose(halves[0], first, atol=1e-6)
    assert torch.allclose(halves[1], second, atol=1e-6)
    assert not torch.allclose(first, second, atol=1e-3)
    tuned.before_step(step, 10)
    assert not mixture.both


def test_consistency_is_the_symmetric_divergence() -> None:
    first, second = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    p, q = first.softmax(-1), second.softmax(-1)
    wanted = ((p - q) * (p.log() - q.log())).sum(-1).mean() / 2
    assert torch.allclose(consistency(first, second), wanted, atol=1e-6)


def test_the_loop_is_told_to_read_twice_unless_the_draws_are_free() -> None:
    for agreement in (0.5, 0.0):
        tuned = apply(tiny_llama(), AdaMix(size=4, agreement=agreement))
        tuned.before_step(0, 2)
        assert tuned.method.reads_twice(tuned) == (agreement > 0)
        mixtures = [module for module in tuned.modules() if isinstance(module, Mixture)]
        assert all(mixture.both == (agreement > 0) for mixture in mixtures)


def test_the_disagreement_is_summed_over_positions_and_weighted() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(6, 9), torch.randn(6, 9)
    found = AdaMix(agreement=0.5).disagreement(first, second)
    assert torch.allclose(found, 3 * consistency(first, second))
