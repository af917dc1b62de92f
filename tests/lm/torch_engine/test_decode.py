"""?"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import Cancellation, GenerationConfig, TokenPrompt
from adwright.lm.torch_engine import score as branching
from adwright.lm.torch_engine import score as torch_score
from adwright.lm.torch_engine.decode import (
    LogitRules,
    decode,
    generator,
    likeliest,
    log_probability,
    next_tokens,
)
from adwright.lm.torch_engine.kv_cache import GrowingLayer, growing_cache
from adwright.lm.torch_engine.network import Network, PromptBatch
from adwright.lm.torch_engine.score import (
    batches_of_pairs,
    branched_rows,
    embed_rows,
    read_rows,
    score_rows,
)
from tests.support.lm.tiny_llama import tiny_llama, tiny_model, tiny_tokens

pytest.importorskip("transformers", reason="the extra lm is not installed")


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


pytest.importorskip("transformers", reason="the extra lm is not installed")


def begin(config: GenerationConfig, *prompts: str) -> list[AnswerWriter]:
    tokens = tiny_tokens()
    return [AnswerWriter(tokens, tokens.encode(prompt), config) for prompt in prompts]


def test_rows_that_have_ended_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    config = GenerationConfig(max_tokens=12)
    answers = begin(config, "the best", "buy two", "fresh bread")
    answers[1]._most = 3
    widths: list[int] = []
    step = PromptBatch.step

    def counted(self: PromptBatch, tokens: torch.Tensor) -> None:
        widths.append(len(tokens))
        step(self, tokens)

    monkeypatch.setattr(PromptBatch, "step", counted)
    steps = sum(1 for _ in decode(Network(tiny_llama()), answers, [0, 1, 2], config))
    assert steps == len(widths) + 1
    assert widths[0] == 3
    assert widths[-1] < 3
    alone = begin(config, "fresh bread")
    for _ in decode(Network(tiny_llama()), alone, [2], config):
        pass
    assert alone[0].completion() == answers[2].completion()


def test_seeds_follow_the_row_of_the_call() -> None:
    config = GenerationConfig(max_tokens=10, temperature=1.0)

    def text(*rows: int) -> list[str]:
        answers = begin(config, *["the best"] * len(rows))
        for _ in decode(Network(tiny_llama()), answers, rows, config):
            pass
        return [answer.completion().text for answer in answers]

    assert text(0, 7)[1] == text(7)[0]
    assert text(0) != text(7)


def test_it_is_cancelled_before_the_first_token() -> None:
    cancel = Cancellation()
    cancel.cancel()
    config = GenerationConfig()
    answers = begin(config, "a", "b")
    assert (
        sum(1 for _ in decode(Network(tiny_llama()), answers, [0, 1], config, cancel=cancel)) == 1
    )
    assert [answer.finish_reason for answer in answers] == ["cancelled"] * 2


pytest.importorskip("transformers", reason="the extra lm is not installed")


def test_it_holds_what_the_cache_of_transformers_holds() -> None:
    config = tiny_llama().config
    ours, theirs = growing_cache(config), DynamicCache(config=config)
    assert all(type(layer) is GrowingLayer for layer in ours.layers)
    torch.manual_seed(0)
    rows = 2

    def add(new: int) -> None:
        for layer in range(3):
            keys, values = torch.randn(2, rows, 2, new, 12).unbind(0)
            both = [cache.update(keys, values, layer) for cache in (ours, theirs)]
            for mine, other in zip(*both, strict=True):
                torch.testing.assert_close(mine, other, rtol=0, atol=0)

    add(5)
    for _ in range(80):
        add(1)
    for cache in (ours, theirs):
        cache.batch_repeat_interleave(3)
    rows = 6
    add(4)
    add(1)
    for cache in (ours, theirs):
        cache.batch_select_indices(torch.tensor([5, 0]))
    rows = 2
    for _ in range(3):
        add(1)
    assert ours.get_seq_length() == theirs.get_seq_length() == 5 + 80 + 5 + 3


def test_a_token_is_written_behind_the_others_without_a_copy() -> None:
    cache = growing_cache(tiny_llama().config)
    one = torch.zeros(1, 2, 1, 12)
    cache.update(one, one, 0)
    cache.update(one, one, 0)
    places = set()
    for _ in range(60):
        keys, _ = cache.update(one, one, 0)
        places.add(keys.data_ptr())
    assert len(places) == 1


def test_rows_that_left_do_not_hold_their_memory() -> None:
    cache = growing_cache(tiny_llama().config)
    many = torch.zeros(8, 2, 10, 12)
    cache.update(many, many, 0)
    cache.update(many[:, :, :1], many[:, :, :1], 0)
    cache.batch_select_indices(torch.tensor([3]))
    one = torch.zeros(1, 2, 1, 12)
    keys, _ = cache.update(one, one, 0)
    assert keys.untyped_storage().nbytes() <= 4 * 2 * 12 * (12 + 64)


pytest.importorskip("transformers", reason="the extra lm is not installed")


V = 7


def logit_rules_literal(
    logits: list[float], written: list[int], prompt: list[int], config: GenerationConfig
) -> list[float]:
    """One row, as the formulas say it."""
    found = []
    for token, value in enumerate(logits):
        z = value + dict(config.logit_bias).get(token, 0.0)
        if len(written) < config.min_tokens and token == 6:
            z = -np.inf
        if token in prompt or token in written:
            penalty = config.repetition_penalty
            z = z / penalty if z > 0 else z * penalty
        c = written.count(token)
        found.append(z - c * config.frequency_penalty - (c > 0) * config.presence_penalty)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"frequency_penalty": 0.7},
        {"presence_penalty": -1.5},
        {"frequency_penalty": 0.5, "presence_penalty": 0.25, "repetition_penalty": 1.3},
        {"logit_bias": ((2, 3.0), (5, -100.0))},
        {"min_tokens": 2},
        {"logit_bias": ((1, 1.0),), "min_tokens": 3, "repetition_penalty": 0.8},
    ],
)
def test_against_the_formulas(settings: dict[str, Any]) -> None:
    config = GenerationConfig(**settings)
    prompts, written = [[0, 3], [2]], [[1, 1, 4], [2, 5, 2]]
    rules = LogitRules.of(prompts, config, V, {6, 99})
    assert rules is not None
    random = torch.Generator().manual_seed(0)
    for step in range(4):
        logits = torch.randn(2, V, generator=random)
        kept = logits.clone()
        found = rules.apply(logits)
        wanted = [
            logit_rules_literal(row.tolist(), written[at][:step], prompts[at], config)
            for at, row in enumerate(kept)
        ]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert torch.equal(logits, kept)  # log-probabilities are told of them
        if step < 3:
            rules.add(torch.tensor([row[step] for row in written]))
    rules.keep(torch.tensor([1]))
    logits = torch.randn(1, V, generator=random)
    wanted = [logit_rules_literal(logits[0].tolist(), written[1], prompts[1], config)]
    np.testing.assert_allclose(rules.apply(logits), wanted, rtol=1e-5)


def test_without_rules_there_are_none() -> None:
    config = GenerationConfig(temperature=1.0, top_p=0.5, min_p=0.1, stop_token_ids=(3,))
    assert LogitRules.of([[1]], config, V) is None


pytest.importorskip("transformers", reason="the extra lm is not installed")


BEFORE, TEXTS = [1, 2, 3], [[5, 6, 7], [8], [9, 10]]


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_reading_is_that_of_one_pass(layer: int) -> None:
    model = tiny_llama()
    readings = read_rows(Network(model), BEFORE, TEXTS, layer)
    for text, found in zip(TEXTS, readings, strict=True):
        out = model(torch.tensor([BEFORE + text]), output_hidden_states=True)
        logs = out.logits[0].log_softmax(-1)
        places = range(len(BEFORE) - 1, len(BEFORE) + len(text) - 1)
        expected = [float(logs[at, token]) for at, token in zip(places, text, strict=True)]
        np.testing.assert_allclose(found.log_probabilities, expected, atol=1e-4)
        state = out.hidden_states[layer][0, len(BEFORE) :].mean(0)
        np.testing.assert_allclose(found.state, state, atol=1e-4)


def test_what_stands_before_changes_what_is_expected() -> None:
    model = tiny_model()
    (plain,) = model.read(["tea with a friend"])
    (told,) = model.read(["tea with a friend"], before="the best ")
    assert len(plain.log_probabilities) == len(tiny_tokens().encode("tea with a friend"))
    assert not np.allclose(plain.log_probabilities, told.log_probabilities)
    assert not np.allclose(model.read(["tea with a friend"], layer=2)[0].state, plain.state)


def test_what_cannot_be_read_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(ConfigError, match="layer 4 of 3"):
        model.read(["tea"], layer=4)
    with pytest.raises(ValueInvalidError, match="empty") as caught:
        model.read(["tea", ""])
    assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="no room"):
        model.read(["tea " * 400])


pytest.importorskip("transformers", reason="the extra lm is not installed")


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


def test_settings_load_no_engine() -> None:
    code = (
        "import sys, adwright.lm.open_model; "
        "print({'torch', 'transformers', 'openvino_genai', 'openai'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
