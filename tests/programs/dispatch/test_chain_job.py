"""One chain over several attempts: what was said is gone on with, or taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.ready import ChainJob, SayingFailedError, further_settings
from tests.support.programs.asking import Said, job_of
from tests.support.programs.scripted_engine import SALTED

ANY = {"type": "object"}


def on_loop(work: Callable[[], None]) -> None:
    async def whole() -> None:
        work()

    asyncio.run(whole())


def broken_off(settings: GenerationConfig | None = None) -> tuple[ChainJob, Said]:
    """A job of which `abc` was said."""
    said = Said()
    job = job_of("tea", settings, said)
    assert job.begin(SALTED, len) is not None
    for piece in ("ab", "", "c"):
        job.add(piece)
    return job, said


def test_an_attempt_asks_what_the_chain_does() -> None:
    def work() -> None:
        request = job_of("tea", GenerationConfig(max_tokens=7)).begin(SALTED, len)
        assert request is not None
        assert (request.prompt, request.max_tokens) == ("tea", 7)
        assert (request.schema, request.settings) == (None, None)
        settings = GenerationConfig(json_schema=ANY, temperature=0.5)
        request = job_of("tea", settings).begin(SALTED, len)
        assert request is not None
        assert (request.schema, request.settings) == ('{"type": "object"}', settings)

    on_loop(work)
    assert further_settings(GenerationConfig(max_tokens=3, json_schema=ANY)) is None
    assert further_settings(GenerationConfig(stop=("x",))) is not None


def test_what_was_said_is_gone_on_with() -> None:
    def work() -> None:
        job, said = broken_off(GenerationConfig(max_tokens=10, min_tokens=5))
        request = job.begin(SALTED, len)
        assert request is not None
        assert (request.prompt, request.max_tokens, job.before) == ("teaabc", 7, 3)
        assert request.settings is not None
        assert (request.settings.min_tokens, request.settings.max_tokens) == (2, 7)
        job.add("d")
        assert (job.text, said.pieces, said.taken_back) == ("abcd", ["ab", "c", "d"], 0)

    on_loop(work)


def test_what_is_drawn_is_not_drawn_from_the_same_numbers_again() -> None:
    def work() -> None:
        job, _ = broken_off(GenerationConfig(temperature=1.0, seed=5))
        request = job.begin(SALTED, len)
        assert request is not None
        assert request.settings is not None
        assert request.settings.seed == 6

    on_loop(work)


@pytest.mark.parametrize(
    "settings", [GenerationConfig(json_schema=ANY), GenerationConfig(regex="x+")]
)
def test_a_form_of_the_whole_is_begun_anew(settings: GenerationConfig) -> None:
    def work() -> None:
        job, said = broken_off(settings)
        request = job.begin(SALTED, len)
        assert request is not None
        assert (request.prompt, request.max_tokens, job.before) == ("tea", settings.max_tokens, 0)
        assert (job.text, said.pieces, said.taken_back) == ("", [], 1)

    on_loop(work)


def test_so_is_what_a_chat_server_wrote() -> None:
    def work() -> None:
        job, said = broken_off()
        request = job.begin(replace(SALTED, continues=False), len)
        assert request is not None
        assert (request.prompt, said.taken_back) == ("tea", 1)

    on_loop(work)


def test_an_answer_that_is_as_long_as_it_may_be_is_whole() -> None:
    def work() -> None:
        job, _ = broken_off(GenerationConfig(max_tokens=3))
        assert job.begin(SALTED, len) is None
        assert job.text == "abc"

    on_loop(work)


def test_who_is_told_may_refuse_and_a_job_comes_to_one_thing() -> None:
    def work() -> None:
        job = job_of("tea", say=Said(most=1))
        job.add("a")
        with pytest.raises(SayingFailedError) as caught:
            job.add("b")
        assert isinstance(caught.value.__cause__, OSError)
        assert job.text == "a"
        job.settle("a")
        job.settle(ValueError("late"))
        assert job.answer.result() == "a"
        job.note("set", 1.0, tokens=1)
        assert job.trace.events[0].chain == "c.o"

    on_loop(work)
