from __future__ import annotations

import pytest

from adwright.authoring.checks.limits import CheckConfig
from adwright.authoring.tasks import AuthoringRequest, Product, task_named
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.engine.hf_tokens import check_constraint, compiled
from benchmarks.authoring._numbers import fact_numbers, number_grammar


def request_of(*titles: str, occasion: str = "") -> AuthoringRequest:
    attributes = tuple(("fact", title) for title in titles[1:])
    values = (("occasion", occasion),) if occasion else ()
    product = Product("1", titles[0], attributes=attributes)
    return AuthoringRequest(task_named("ads"), product, values)


STICK = request_of("Stick 16GB, 1,000 MB/s", "1.5 cm", "KX-TG6700B")


def test_the_numbers_of_the_facts() -> None:
    assert fact_numbers(STICK) == ("1,000", "1000", "6700", "1.5", "16")
    assert fact_numbers(request_of("tea")) == ()
    assert fact_numbers(request_of("tea", occasion="24 December")) == ("24",)
    assert fact_numbers(request_of("a", occasion="24"), CheckConfig(fact_slots=())) == ()
    assert len(fact_numbers(request_of(" ".join(map(str, range(999)))))) == 200


@pytest.mark.parametrize("request_", [STICK, request_of("tea"), request_of("1 " * 999, '"]\\n')])
def test_it_compiles_where_engines_compile(request_: AuthoringRequest) -> None:
    pytest.importorskip("llguidance", reason="the extra lm is not installed")
    check_constraint(GenerationConfig(max_tokens=8, grammar=number_grammar(request_)))


def admitted(config: GenerationConfig, text: str) -> bool:
    """Whether llguidance takes a text, byte by byte."""
    llguidance = pytest.importorskip("llguidance", reason="the extra lm is not installed")
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), compiled(config))
    data = list(text.encode())
    return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())


GOOD = ["", "16GB", "A 16GB stick, 1,000 MB/s or 1000!", "1.5 cm. 16", "XX6700", "no number ... -"]
BAD = ["32GB", "161.5", "1616", "16.16", "16-16", "1,0001", "1/5", "५ tea", "½", "16 1", "x5"]


CASES = [*((one, True) for one in GOOD), *((one, False) for one in BAD)]


@pytest.mark.parametrize(("text", "good"), CASES)
def test_only_numbers_of_the_facts_are_admitted(text: str, good: bool) -> None:
    config = GenerationConfig(max_tokens=8, grammar=number_grammar(STICK))
    assert admitted(config, text) == good
