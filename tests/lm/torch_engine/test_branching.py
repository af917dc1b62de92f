from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import Cancellation, TokenPrompt
from adwright.lm.torch_engine import score as branching
from adwright.lm.torch_engine.network import Network
from adwright.lm.torch_engine.score import branched_rows
from tests.support.lm.tiny_llama import tiny_llama, tiny_model

FIRST, SECOND = [10, 11, 12], [20, 21]
PROMPTS = [[1, 2, 3], [7] * 40, [4], [7] * 39 + [5, 6]]


def literal(prompt: list[int], tokens: list[int]) -> float:
    """log P(tokens | prompt), one pass a pair."""
    with torch.no_grad():
        logits = tiny_llama()(torch.tensor([prompt + tokens])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) + at - 1, one]) for at, one in enumerate(tokens))


@torch.no_grad()
@pytest.mark.parametrize("most", [1, 32])
def test_pairs_are_those_of_one_pass_each(most: int) -> None:
    first, second = branched_rows(Network(tiny_llama()), PROMPTS, FIRST, SECOND, most)
    for row, prompt in enumerate(PROMPTS):
        for a, one in enumerate(FIRST):
            assert first[row, a] == pytest.approx(literal(prompt, [one]), abs=1e-4)
            for b, other in enumerate(SECOND):
                whole = first[row, a] + second[row, a, b]
                assert whole == pytest.approx(literal(prompt, [one, other]), abs=1e-4)


@torch.no_grad()
def test_the_cache_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(tiny_llama())
    one = branched_rows(network, PROMPTS, FIRST, SECOND)
    sizes = []
    made = branching.PromptBatch

    def counted(net: Network, ids: list[list[int]]) -> object:
        sizes.append(len(ids))
        return made(net, ids)

    monkeypatch.setattr(branching, "PromptBatch", counted)
    other = branched_rows(network, PROMPTS, FIRST, SECOND, cached=130)
    assert sizes == [1, 1, 2]
    np.testing.assert_allclose(one[1], other[1], atol=1e-4)


def test_the_model_reads_each_prompt_once() -> None:
    model = tiny_model()
    first, second = model.branches(["buy two", "the best tea"], FIRST, SECOND)
    assert first.shape == (2, 3)
    assert second.shape == (2, 3, 2)
    scores = model.score(["buy two"], [TokenPrompt((FIRST[1], SECOND[0]))])
    assert first[0, 1] + second[0, 1, 0] == pytest.approx(scores.log_likelihood[0], abs=1e-4)


def test_what_cannot_be_branched_to_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(ConfigError, match="no token to branch to"):
        model.branches(["a"], FIRST, [])
    with pytest.raises(ValueInvalidError, match="no such token"):
        model.branches(["a"], [10_000], SECOND)
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        model.branches(["a"], FIRST, SECOND, cancel=cancel)
