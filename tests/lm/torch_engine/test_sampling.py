from __future__ import annotations

import pytest
import torch

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.decode import generator, likeliest, log_probability, next_tokens

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 0.0, 3.0, 2.9]])


def drawn(config: GenerationConfig, logits: torch.Tensor = LOGITS, times: int = 400) -> set[int]:
    randoms = [generator(config.seed_of(row)) for row in range(len(logits))]
    return {int(next_tokens(logits, config, randoms)[0]) for _ in range(times)}


def test_greedy_takes_the_likeliest() -> None:
    assert next_tokens(LOGITS, GenerationConfig(), []).tolist() == [0, 2]


def test_each_setting_changes_what_is_drawn() -> None:
    assert drawn(GenerationConfig(temperature=1.0)) == {0, 1, 2, 3}
    assert drawn(GenerationConfig(temperature=0.01)) == {0}
    assert drawn(GenerationConfig(temperature=1.0, top_k=2)) == {0, 1}
    # .64, .24, .09, .03: two tokens reach 0.8, and one reaches 0.6.
    assert drawn(GenerationConfig(temperature=1.0, top_p=0.8)) == {0, 1}
    assert drawn(GenerationConfig(temperature=1.0, top_p=0.6)) == {0}
    assert drawn(GenerationConfig(temperature=1.0, top_k=100)) == {0, 1, 2, 3}


def test_draws_follow_the_probabilities() -> None:
    random = [generator(3)]
    config = GenerationConfig(temperature=2.0)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[next_tokens(LOGITS[:1], config, random)] += 1
    torch.testing.assert_close(counts / 4000, (LOGITS[0] / 2).softmax(-1), atol=0.03, rtol=0)


def test_a_row_draws_the_same_in_any_batch() -> None:
    config = GenerationConfig(temperature=1.0, seed=4)
    both = next_tokens(LOGITS, config, [generator(4), generator(5)])
    alone = next_tokens(LOGITS[1:], config, [generator(5)])
    assert both[1] == alone[0]


def test_forbidden_tokens_are_never_drawn() -> None:
    logits = LOGITS.clone()
    logits[:, 0] = -torch.inf
    assert 0 not in drawn(GenerationConfig(temperature=5.0), logits)
    assert 0 not in drawn(GenerationConfig(temperature=5.0, top_p=0.99, top_k=4), logits)


def test_log_probability() -> None:
    found = log_probability(LOGITS, torch.tensor([1, 3]))
    torch.testing.assert_close(
        found, torch.stack([LOGITS[0].log_softmax(-1)[1], LOGITS[1].log_softmax(-1)[3]])
    )


def test_the_likeliest_and_their_log_probabilities() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, -1.0, 4.0]])
    told = likeliest(logits, 2)
    assert [[token for token, _ in row] for row in told] == [[1, 2], [0, 2]]
    for row, wanted in zip(told, logits.log_softmax(-1), strict=True):
        for token, value in row:
            assert value == pytest.approx(float(wanted[token]), abs=1e-6)
    assert len(likeliest(logits, 9)[0]) == 3


def test_min_p_drops_what_is_far_less_likely_than_the_likeliest() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    config = GenerationConfig(temperature=1.0, min_p=0.25)
    drawn = {
        int(next_tokens(probabilities.log(), config, [generator(seed)])) for seed in range(200)
    }
    assert drawn == {0, 1, 2}
    # After the temperature: at 2 the square roots count, and the last is .32 of the first.
    warm = GenerationConfig(temperature=2.0, min_p=0.25)
    drawn = {int(next_tokens(probabilities.log(), warm, [generator(seed)])) for seed in range(200)}
    assert drawn == {0, 1, 2, 3}
