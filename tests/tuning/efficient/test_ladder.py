"""The ladder: its formula, and no gradient through the backbone."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adwright.tuning.efficient.memory import Ladder, LadderTuning, visible
from adwright.tuning.methods import apply
from adwright.tuning.modules import Inputs
from tests.support.lm.tuning_methods import TOKENS, loss_of, shake, tiny_llama


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def block(own: Any, z: Tensor) -> Tensor:
    x = rms(z, own.norms[0])
    q, k, v = (x @ part.T for part in own.qkv.chunk(3))
    width = q.shape[-1] // own.heads
    made = torch.zeros_like(q)
    for head in range(own.heads):
        at = slice(head * width, (head + 1) * width)
        scores = q[..., at] @ k[..., at].transpose(1, 2) / math.sqrt(width)
        scores = scores.masked_fill(torch.ones_like(scores).triu(1) > 0, -torch.inf)
        made[..., at] = scores.softmax(-1) @ v[..., at]
    z = z + made @ own.o.T
    gate, up = (rms(z, own.norms[1]) @ own.gate_up.T).chunk(2, -1)
    return z + (gate * gate.sigmoid() * up) @ own.down.T


def test_is_the_formula() -> None:
    tuned = apply(tiny_llama(), LadderTuning(reduction=4))
    shake(tuned, size=0.2)
    own = tuned.outer
    assert isinstance(own, Ladder)
    with torch.no_grad():
        states = tiny_llama().model(TOKENS, output_hidden_states=True).hidden_states
        z = states[0] @ own.foot.T
        for at in range(2):
            a = torch.sigmoid(own.mu[at] / 0.1)
            z = block(own.blocks[at], a * (states[at + 1] @ own.down[at].T) + (1 - a) * z)
        wanted = states[-1] + rms(z, own.norm) @ own.up.T
        assert torch.allclose(tuned(TOKENS), wanted, atol=1e-5)


def test_nothing_of_the_backbone_is_kept_for_a_backward_pass() -> None:
    tuned = apply(tiny_llama(), LadderTuning())
    seen: list[bool] = []
    for layer in tuned.layers():
        layer.mlp.register_forward_hook(lambda module, x, y: seen.append(y.requires_grad))
    loss_of(tuned).backward()
    assert seen == [False, False]


def test_who_sees_whom() -> None:
    ids = torch.zeros(1, 4, dtype=torch.long)
    assert visible(Inputs(ids, None, None))[0, 0].int().tolist() == torch.ones(4, 4).tril().tolist()
    packed = visible(Inputs(ids, None, torch.tensor([[0, 1, 0, 1]])))[0, 0]
    assert packed[2].tolist() == [False, False, True, False]
    assert packed[3].tolist() == [False, False, True, True]
    padded = visible(Inputs(ids, torch.tensor([[0, 1, 1, 1]]), None))[0, 0]
    assert padded[2].tolist() == [False, True, True, False]
    assert padded[0].tolist() == [True, False, False, False]


def test_packed_texts_do_not_see_each_other() -> None:
    tuned = apply(tiny_llama(), LadderTuning(reduction=4))
    shake(tuned, size=0.2)
    places = torch.arange(12).repeat(2)[None]
    with torch.no_grad():
        hidden = tuned(TOKENS[:2].reshape(1, 24), position_ids=places)
        assert torch.allclose(hidden[0, 12:], tuned(TOKENS[1:2])[0], atol=1e-5)
