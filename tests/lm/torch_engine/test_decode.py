from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch

from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import Cancellation, GenerationConfig
from adwright.lm.torch_engine.decode import decode
from adwright.lm.torch_engine.network import Network, PromptBatch
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens


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
