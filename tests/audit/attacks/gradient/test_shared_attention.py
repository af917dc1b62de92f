from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch
from torch.nn import functional

from adwright.audit.attacks.gradient_reading import Branches, attends_in_branches, branch_attention
from tests.support.audit.attacked import tiny_network

B, H, G, D, K = 3, 6, 2, 8, 11


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
    found = branch_attention(q, k, v, 0.3, (kept, values), hidden if hides else None)
    expected = plainly(q, k, v, (kept, values), hidden, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_without_kept_tokens_it_is_causal_attention() -> None:
    q, k, v, *_ = drawn(6)
    found = branch_attention(q, k, v, 0.5)
    wide = [one.repeat_interleave(H // G, 1) for one in (k, v)]
    expected = functional.scaled_dot_product_attention(q, *wide, is_causal=True, scale=0.5)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_a_decoder_takes_branches_within_the_context_and_is_itself_after_it() -> None:
    model = tiny_network()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    decoder = model.get_decoder()
    with torch.no_grad():
        whole = decoder(input_ids=ids, use_cache=False)[0]
        cache = decoder(input_ids=ids[:, :3], use_cache=True)[1]
        layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
        with attends_in_branches(model):
            rest = decoder(
                input_ids=ids[:, 3:].expand(2, -1),
                position_ids=torch.tensor([[3, 4]]).expand(2, -1),
                use_cache=False,
                branches=Branches(layers),
            )[0]
            bare = decoder(input_ids=ids, use_cache=False)[0]
        again = decoder(input_ids=ids, use_cache=False)[0]
    torch.testing.assert_close(rest, whole[:, 3:].expand(2, -1, -1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bare, whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again, whole)
