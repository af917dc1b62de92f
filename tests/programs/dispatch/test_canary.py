"""A cache that lies is found out, and an honest one never is."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.terms import CanaryTerms, SampledAnswer, contradict
from adwright.programs.program import THROUGHPUT, Program, SemanticCall, WantedOutput
from adwright.programs.runner import run_program
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport
from tests.support.programs.dispatching import check_empty, dispatcher_of, with_terms
from tests.support.programs.scripted_engine import SALTED, ScriptedEngine
from tests.support.programs.virtual_loop import run_virtually

RULES = "You are the assistant of a shop. "
TELLS = replace(SALTED, logprobs=True)


class LyingEngine(ScriptedEngine):
    """Where it holds the beginning of a prompt, it answers what was asked before."""

    def _text(self, job: str, prompt: str, *further: Any) -> str:
        salt = further[-1]
        before = [one for one in self.prompts[salt] if one != prompt and one[:20] == prompt[:20]]
        told = before[0] if before else prompt
        return super()._text(job if told == prompt else f"lie.{job}", told, *further)


class NoisyEngine(ScriptedEngine):
    """Its log-probabilities are never twice the same."""

    def _seen(
        self, report: EngineReport, prompt: str, settings: GenerationConfig | None
    ) -> EngineReport:
        seen = super()._seen(report, prompt, settings)
        noisy = tuple(one - self._random.uniform(0.0, 0.2) for one in seen.logprobs)
        return seen._replace(logprobs=noisy)


def engine_of(kind: type[ScriptedEngine], can: EngineCapabilities) -> ScriptedEngine:
    return kind(lambda _m, _a, prompt, _s: prompt[-8:], can=can, seed=3)


async def ask(dispatcher: ChainDispatcher, count: int) -> list[str]:
    """One program after another that begins with the same rules; what each answered."""
    found = []
    for at in range(count):
        call = SemanticCall("c", "{{rules}}{{what}}{{o:output}}")
        values = {"rules": RULES, "what": f" question {at} of {count}"}
        wanted = (WantedOutput("o", THROUGHPUT),)
        with dispatcher.for_program(f"p{at}", "shop") as engine:
            came = await run_program(Program((call,), values=values, outputs=wanted), engine)
        found.append(str(came["o"]))
        await asyncio.sleep(10.0)
    return found


def looked(
    engines: dict[str, ScriptedEngine],
    terms: CanaryTerms,
    count: int = 30,
    then: Callable[[ChainDispatcher], None] = lambda _: None,
) -> ChainDispatcher:
    """Dispatch on the engines, with the canary in them."""

    async def work() -> ChainDispatcher:
        async with dispatcher_of(engines, with_terms(canary=terms)) as dispatcher:
            await ask(dispatcher, count)
            then(dispatcher)
            await asyncio.sleep(60.0)
            check_empty(dispatcher, engines)
        return dispatcher

    return run_virtually(work())


@pytest.mark.parametrize(
    ("can", "terms"),
    [(TELLS, CanaryTerms(every=20.0)), (SALTED, CanaryTerms(every=20.0, precision={"e": "float"}))],
    ids=["log-probabilities", "texts"],
)
def test_an_engine_that_lies_is_found_and_its_cache_switched_off(
    can: EngineCapabilities, terms: CanaryTerms, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(LyingEngine, can)
    dispatcher = looked({"e": engine}, terms)
    assert list(dispatcher.stats.cache_lies) == ["e"]
    assert "the prefix cache of engine e gives wrong answers" in caplog.text
    state = dispatcher.carrier.scheduler.engines["e"]
    assert not state.capabilities.prefix_cache
    assert not state.capabilities.fork
    assert len(state.index) == 0, "the scheduler sees none"
    salts = [one["salt"] for one in engine.asked if "canary" not in str(one["salt"])]
    assert len(set(salts)) > 20, "and the engine cannot use it"
    assert dispatcher.stats.cache_checks < 3

    assert engine.asked[-1]["prompt"].endswith("29 of 30")


def test_after_that_its_answers_are_right() -> None:
    engine = engine_of(LyingEngine, TELLS)
    answers: list[str] = []

    async def work() -> None:
        terms = with_terms(canary=CanaryTerms(every=1.0))
        async with dispatcher_of({"e": engine}, terms) as dispatcher:
            answers.extend(await ask(dispatcher, 12))

    run_virtually(work())
    right = [f"question {at} of 12"[-8:] for at in range(12)]
    assert answers[1] != right[1]
    assert answers[4:] == right[4:]


@pytest.mark.parametrize(
    ("kind", "can", "terms", "checks"),
    [
        (ScriptedEngine, TELLS, CanaryTerms(every=20.0), 8),
        (NoisyEngine, TELLS, CanaryTerms(every=20.0), 8),
        (ScriptedEngine, SALTED, CanaryTerms(every=20.0, precision={"e": "float"}), 8),
        # Texts of weights that are rounded differ by themselves; nothing can be said of them.
        (ScriptedEngine, SALTED, CanaryTerms(every=20.0, precision={"e": "half"}), 0),
        (ScriptedEngine, replace(TELLS, prefix_cache=False), CanaryTerms(every=20.0), 0),
    ],
)
def test_an_honest_engine_is_never_found_to_lie(
    kind: type[ScriptedEngine], can: EngineCapabilities, terms: CanaryTerms, checks: int
) -> None:
    dispatcher = looked({"e": engine_of(kind, can)}, terms)
    assert dispatcher.stats.cache_lies == {}
    assert dispatcher.stats.cache_checks >= checks
    assert (dispatcher.stats.cache_checks > 0) == (checks > 0)


def test_an_engine_without_domains_is_compared_with_another_one() -> None:
    can = replace(TELLS, salt=False)
    alone = replace(TELLS, salt=False, prefix_cache=False)
    engines = {"e": engine_of(LyingEngine, can), "plain": engine_of(ScriptedEngine, alone)}
    terms = replace(with_terms(canary=CanaryTerms(every=5.0)), one_domain=True)

    async def work() -> ChainDispatcher:
        async with dispatcher_of(engines, terms) as dispatcher:
            await ask(dispatcher, 8)
            begun = len(engines["e"].begun)
            assert (await ask(dispatcher, 3))[-1] == "n 2 of 3"
            assert len(engines["e"].begun) == begun, "it gets no work any more"
        return dispatcher

    assert list(run_virtually(work()).stats.cache_lies) == ["e"]


def test_one_that_is_alone_and_cannot_be_told_is_named(caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of(LyingEngine, replace(TELLS, salt=False))
    dispatcher = dispatcher_of({"e": engine}, replace(with_terms(), one_domain=True))
    dispatcher.carrier.lied("e", "it lies")
    assert "start it again without a cache" in caplog.text


def test_a_check_waits_until_the_engine_is_idle_but_not_for_ever() -> None:
    engine = engine_of(ScriptedEngine, TELLS)
    terms = CanaryTerms(every=1.0, patience=100.0)

    async def work() -> int:
        async with dispatcher_of({"e": engine}, with_terms(canary=terms)) as dispatcher:
            engine.pace = 1_000.0
            long = asyncio.ensure_future(ask(dispatcher, 1))
            await asyncio.sleep(1.0)
            engine.pace = 0.01
            with dispatcher.for_program("other", "shop") as other:
                for at in range(30):
                    call = SemanticCall("c", RULES + f"{at} {{{{o:output}}}}")
                    program = Program((call,), outputs=(WantedOutput("o"),))
                    await run_program(program, other)
                    await asyncio.sleep(10.0)
                    if at == 5:
                        assert dispatcher.stats.cache_checks == 0
            long.cancel()
            await asyncio.sleep(1.0)
            return dispatcher.stats.cache_checks

    assert run_virtually(work()) >= 1


@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.05, 0.5]))
def test_two_answers_by_nearly_the_same_numbers_never_contradict(
    seed: int, tolerance: float
) -> None:
    one, other = (drawn(seed, tolerance, noise) for noise in (1, 2))
    assert contradict(one, other, tolerance) == ""


def drawn(seed: int, tolerance: float, noise: int) -> SampledAnswer:
    """A greedy answer of a model with numbers for each context, which is all that was written
    before, seen through noise up to the bound."""
    own = random.Random(noise)
    pieces: list[tuple[str, tuple[float, ...]]] = []
    text = ""
    for _ in range(8):
        numbers = random.Random(f"{seed} {text}")
        logits = [numbers.gauss(0.0, 1.0) for _ in "abc"]
        total = math.log(sum(map(math.exp, logits)))
        exact = [one - total for one in logits]
        # Half to each side, and the sum is one again afterwards.
        moved = [one + own.uniform(-tolerance, tolerance) / 4 for one in exact]
        shift = math.log(sum(map(math.exp, moved)))
        logprobs = [one - shift for one in moved]
        at = max(range(3), key=lambda each: logprobs[each])
        pieces.append(("abc"[at], (logprobs[at],)))
        text += "abc"[at]
    return SampledAnswer(tuple(pieces))


def test_what_contradicts() -> None:
    def said(*pieces: tuple[str, float]) -> SampledAnswer:
        return SampledAnswer(tuple((text, (logprob,)) for text, logprob in pieces))

    one = said(("a", -0.1), ("b", -0.2))
    assert contradict(one, one, 0.01) == ""
    assert "a log-probability is" in contradict(one, said(("a", -0.1), ("b", -0.9)), 0.5)
    assert "are said to be likely" in contradict(one, said(("x", -0.1), ("y", -0.1)), 0.5)
    # Two that are about as likely may change places; behind them nothing is compared.
    tie = said(("a", -0.7), ("b", -0.1))
    assert contradict(tie, said(("x", -0.71), ("y", -5.0)), 0.05) == ""
    # The same tokens, in other pieces.
    assert contradict(one, SampledAnswer((("ab", (-0.1, -0.2)),)), 0.01) == ""


def test_terms_are_checked() -> None:
    with pytest.raises(ConfigError, match="precision"):
        CanaryTerms(precision={"e": "bf16"})  # type: ignore[dict-item]
