from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from adwright.audit.attacks.gradient.shared_attention import Branches, attend_branches

B, H, G, D, K = 3, 6, 2, 8, 11
MODULE: Any = SimpleNamespace(layer_idx=1)


def drawn(R: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(seed)
    shapes = [(B, H, R, D), (B, G, R, D), (B, G, R, D), (G, K, D), (G, K, D)]
    return tuple(torch.randn(shape) for shape in shapes)


def plainly(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kept: tuple[torch.Tensor, torch.Tensor],
    hidden: torch.Tensor, scale: float,
) -> torch.Tensor:  # fmt: skip
    R = q.shape[2]
    rows = []
    for b in range(B):
        heads = []
        for h in range(H):
            g = h // (H // G)
            keys, values = torch.cat([kept[0][g], k[b, g]]), torch.cat([kept[1][g], v[b, g]])
            scores = q[b, h] @ keys.T * scale
            scores[:, :K] += hidden
            scores[:, K:] += torch.full((R, R), float("-inf")).triu(1)
            heads.append(functional.softmax(scores, -1) @ values)
        rows.append(torch.stack(heads, 1))
    return torch.stack(rows)  # [B, R, H, D]


@pytest.mark.parametrize("R", [1, 5, 70])
@pytest.mark.parametrize("hides", [False, True])
def test_it_is_attention_to_kept_and_own_tokens(R: int, *, hides: bool) -> None:
    q, k, v, kept, values = drawn(R)
    hidden = torch.zeros(R, K)
    if hides:
        hidden[: (R + 1) // 2, 4:] = float("-inf")
    branches = Branches([(kept * 0, values), (kept, values)], hidden if hides else None)
    found, _ = attend_branches(MODULE, q, k, v, None, scaling=0.3, branches=branches)
    expected = plainly(q, k, v, (kept, values), hidden, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_usual_scale_is_taken_without_one() -> None:
    q, k, v, kept, values = drawn(4)
    branches = Branches([(kept, values)] * 2)
    found, _ = attend_branches(MODULE, q, k, v, None, branches=branches)
    expected = plainly(q, k, v, (kept, values), torch.zeros(4, K), D**-0.5)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_without_kept_tokens_it_is_causal_attention() -> None:
    q, k, v, *_ = drawn(6)
    found, _ = attend_branches(MODULE, q, k, v, None, scaling=0.5)
    wide = [one.repeat_interleave(H // G, 1) for one in (k, v)]
    expected = functional.scaled_dot_product_attention(q, *wide, is_causal=True, scale=0.5)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-4)
