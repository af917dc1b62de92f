from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import pytest

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    GenerationConfig,
    LanguageModel,
    ModelInfo,
)
from adwright.lm.serving.adapter_model import AdapterModel
from adwright.lm.serving.scheduler import AnswerRow, Row
from adwright.lm.torch_engine.decode import Grammars
from tests.support.lm.adapter_engine import models_of
from tests.support.lm.tiny_llama import VOCABULARY, tiny_model, tiny_tokens


class Recording:
    """An engine that writes the token 40 until each job is over."""

    tokens = tiny_tokens()
    vocabulary = VOCABULARY
    grammars = Grammars(tokens.tokenizer, VOCABULARY, tokens.end_ids)

    def __init__(self) -> None:
        self.jobs: list[Row] = []

    def run(self, jobs: Sequence[Row]) -> None:
        self.jobs += jobs
        for job in jobs:
            while not job.over:
                if job.cancelled:
                    job.end("cancelled")
                elif isinstance(job, AnswerRow):
                    job.add(40, -0.5)

    def streamed(self, job: AnswerRow, chunks: SimpleQueue[Chunk | None]) -> Iterator[Chunk]:
        self.run([job])
        return iter(chunks.get, None)


def view() -> tuple[Recording, AdapterModel]:
    engine = Recording()
    return engine, AdapterModel(engine, "shop", ModelInfo("shop", "torch", 32))


def test_is_a_language_model() -> None:
    own = view()[1]
    assert isinstance(own, LanguageModel)
    for name in ("generate", "stream", "score", "embed"):
        wanted = inspect.signature(getattr(LanguageModel, name)).parameters
        assert list(inspect.signature(getattr(AdapterModel, name)).parameters) == list(wanted)


def test_a_row_a_prompt() -> None:
    engine, own = view()
    found = own.generate(["tea", "coffee and tea"], GenerationConfig(max_tokens=3, seed=5))
    assert [row.token_ids for row in found] == [(40, 40, 40)] * 2
    assert [job.adapter for job in engine.jobs] == ["shop"] * 2
    seeds = [job.random.initial_seed() for job in engine.jobs if isinstance(job, AnswerRow)]
    assert seeds == [5, 6]
    lengths = [len(engine.tokens.encode(text)) for text in ("tea", "coffee and tea")]
    assert [job.max_tokens for job in engine.jobs] == [length + 3 for length in lengths]


def test_no_more_than_the_context() -> None:
    engine, own = view()
    own.generate(["tea"], GenerationConfig(max_tokens=100))
    assert engine.jobs[0].max_tokens == 32
    with pytest.raises(ValueInvalidError):
        own.generate(["tea " * 40])


def test_streams_and_cancelled_scores() -> None:
    engine, own = view()
    pieces = list(own.stream("tea", GenerationConfig(max_tokens=2)))
    assert pieces[-1].finish_reason == "length"
    # There is a cancellation even where the caller has none.
    assert engine.jobs[0].cancel is not None
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="score was cancelled"):
        own.score(["tea"], [" cup"], cancel=cancel)


def test_nothing_to_do() -> None:
    _, own = view()
    assert own.generate([]).texts == []
    assert own.embed([]).shape == (0, 0)
    assert own.score([], []).token_logprobs == ()
    own.close()
    with pytest.raises(ConfigError):
        own.generate("tea")


@pytest.mark.parametrize(
    "settings",
    [
        {"frequency_penalty": 1.5, "presence_penalty": 0.5},
        {"temperature": 1.0, "seed": 4, "min_p": 0.2},
        {"logit_bias": ((40, 4.0), (41, -100.0)), "repetition_penalty": 1.2},
        {"min_tokens": 8, "stop_token_ids": tuple(range(0, VOCABULARY, 3))},
        {"ignore_eos": True, "logprobs": True, "top_logprobs": 3},
        {"regex": "[a-c]{5}"},
        {"lark": 'start: "tea" | "coffee"'},
    ],
)
def test_further_settings_do_the_same_as_in_turns(settings: dict[str, Any]) -> None:
    config = GenerationConfig(max_tokens=12, **settings)
    prompts = ["the best", "buy two packs"]
    wanted = tiny_model().generate(prompts, config)
    models = models_of({})
    try:
        found = models["base"].generate(prompts, config)
    finally:
        models.close()
    plain = tiny_model().generate(prompts, GenerationConfig(max_tokens=12))
    for one, other in zip(found, wanted, strict=True):
        assert (one.token_ids, one.finish_reason) == (other.token_ids, other.finish_reason)
        for mine, theirs in zip(one.top_logprobs or (), other.top_logprobs or (), strict=True):
            assert [token for token, _ in mine] == [token for token, _ in theirs]
            assert [value for _, value in mine] == pytest.approx(
                [value for _, value in theirs], abs=1e-4
            )
    assert wanted.rows != plain.rows


def test_a_row_for_whoever_drives_the_engine_itself() -> None:
    own = view()[1]
    chunks: SimpleQueue[Chunk | None] = SimpleQueue()
    cancel = Cancellation()
    row = own.row([5, 6], GenerationConfig(), cancel=cancel, chunks=chunks, salt="tenant")
    assert (row.cancel, row.chunks, row.salt, row.tokens) == (cancel, chunks, "tenant", [5, 6])
    plain = own.row([5, 6], GenerationConfig())
    assert (plain.cancel, plain.chunks, plain.salt) == (None, None, "")
    assert own.prompt_ids("tea") == own.tokens.encode("tea")
    with pytest.raises(ValueInvalidError, match="tokens"):
        own.prompt_ids("tea " * 40)
