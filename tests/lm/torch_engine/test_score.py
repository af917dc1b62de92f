from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import Cancellation
from adwright.lm.torch_engine import score as torch_score
from adwright.lm.torch_engine.network import Network
from adwright.lm.torch_engine.score import batches_of_pairs, embed_rows, score_rows
from tests.support.lm.tiny_llama import tiny_llama, tiny_model


def test_families_of_one_prompt_are_kept_together() -> None:
    pairs = [([1, 2], [3]), ([9], [1]), *[([5, 5], [n]) for n in range(5)], ([7] * 9, [1])]
    batches = list(batches_of_pairs(pairs, 4))
    assert sorted(row for batch in batches for row in batch) == list(range(len(pairs)))
    assert batches[:2] == [[2, 3, 4, 5], [6]]
    assert batches[2] == [7, 0, 1]


def test_logits_only_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(tiny_llama())
    rows = 0
    logits = Network.logits

    def counted(self: Network, hidden: torch.Tensor) -> torch.Tensor:
        nonlocal rows
        rows += len(hidden)
        return logits(self, hidden)

    monkeypatch.setattr(Network, "logits", counted)
    monkeypatch.setattr(torch_score, "_HEAD_ROWS", 2)
    pairs = [(list(range(30)), [1, 2, 3]), (list(range(25)), [4])]
    with torch.no_grad():
        found = score_rows(network, pairs, 8)
    assert rows == 4
    assert [len(one) for one in found] == [3, 1]


def test_a_cancelled_score_is_none() -> None:
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        score_rows(Network(tiny_llama()), [([1], [2])], 8, cancel)


@torch.no_grad()
def test_embeddings_are_the_mean_of_the_last_hidden_states() -> None:
    model = tiny_llama()
    rows = [[5, 6, 7], [8], [9, 10]]
    found = embed_rows(Network(model), rows, 2)
    for row, ids in enumerate(rows):
        hidden = model.model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(found[row], hidden / hidden.norm(), atol=1e-5)


def test_an_embedding_that_is_cancelled_is_none() -> None:
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        tiny_model().embed(["tea"], cancel=cancel)


def test_no_batch_is_longer_than_a_caller_would_wait() -> None:
    pairs = [([1] * 900, [2] * (at + 1)) for at in range(5)]
    other = [([at + 3] * 900, [2] * 100) for at in range(5)]
    batches = list(batches_of_pairs(pairs + other, 32))
    assert sorted(row for rows in batches for row in rows) == list(range(10))
    assert [len(rows) for rows in batches] == [5, 2, 2, 1]
