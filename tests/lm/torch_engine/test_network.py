from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch

from adwright.lm.torch_engine.network import Network, PromptBatch, shared_beginning
from tests.support.lm.tiny_llama import CONTEXT, VOCABULARY, tiny_llama


def after(ids: list[int]) -> torch.Tensor:
    """Logits after `ids`, computed by transformers in one piece."""
    logits: torch.Tensor = tiny_llama()(torch.tensor([ids])).logits[0, -1]
    return logits


def test_what_it_tells() -> None:
    network = Network(tiny_llama())
    assert (network.vocabulary, network.context) == (VOCABULARY, CONTEXT)


@pytest.mark.parametrize("shared", [0, 20])
@torch.no_grad()
def test_rows_equal_one_pass_over_each(shared: int) -> None:
    first = list(range(50, 50 + shared))
    rows = [[*first, 5, 6, 7, 8], [*first, 9], [*first, 10, 11]]
    batch = PromptBatch(Network(tiny_llama()), rows)
    for row, ids in enumerate(rows):
        torch.testing.assert_close(batch.logits[row], after(ids), atol=1e-4, rtol=1e-4)
    batch.step(torch.tensor([20, 21, 22]))
    batch.keep(torch.tensor([0, 2]))
    batch.step(torch.tensor([30, 32]))
    torch.testing.assert_close(batch.logits[0], after([*rows[0], 20, 30]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(batch.logits[1], after([*rows[2], 22, 32]), atol=1e-4, rtol=1e-4)


def test_the_head_sees_a_contiguous_matrix() -> None:
    model = tiny_llama()
    seen: list[torch.Tensor] = []
    model.lm_head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network = Network(model)
    seen.clear()
    PromptBatch(network, [[1, 2, 3], [4, 5, 6]])
    assert [one.shape for one in seen] == [(2, 48)]
    assert seen[0].is_contiguous()


def test_shared_beginning() -> None:
    long = list(range(40))
    assert shared_beginning([[*long, 1], [*long, 2, 3], [*long[:30], 9]]) == 30
    # One token at least is left for each row, and a few are not worth a pass.
    assert shared_beginning([long, long]) == 39
    assert shared_beginning([long[:10], long[:10]]) == 0
    assert shared_beginning([[1], [2]]) == 0
