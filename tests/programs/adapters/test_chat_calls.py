from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.programs.frontend.flow import ChatCall, chat_program
from adwright.programs.graph import build_graph
from adwright.programs.program import THROUGHPUT, Program
from tests.support.service.program_apps import chat_prompt

TEXT = st.text("ab{}:\n ", max_size=12)


def made(*contents: str, **changes: object) -> ChatCall:
    turns = [Message("user", one) for one in contents]
    return chat_program(
        turns,
        lambda told: chat_prompt(told, {}),
        GenerationConfig(seed=4),
        model="m",
        **changes,  # type: ignore[arg-type]
    )


def read(call: ChatCall, **texts: str) -> tuple[str, ...]:
    """The segments of the prompt, where these variables have these texts."""
    part = call.part.joined(Program(values=texts))
    (chain, *_) = build_graph(part).chains
    return chain.segments({**call.part.values, **texts})


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_the_prompt_is_that_of_the_template_cut_behind_turns(contents: list[str]) -> None:
    call = made(*contents)
    whole = chat_prompt([Message("user", one) for one in contents], {})
    assert "".join(read(call)) == whole


def test_chats_that_begin_alike_have_borders_in_common() -> None:
    one, other = read(made("rules", "a question")), read(made("rules", "another"))
    assert one[0] == other[0] == "user: rules"
    assert one[1] != other[1]


def test_a_long_chat_is_cut_in_its_last_turns() -> None:
    segments = read(made(*(f"turn {n}" for n in range(500))))
    assert len(segments) == 65
    assert segments[0].endswith("turn 436")


def test_inputs_are_read_where_they_stand() -> None:
    call = made("Is {{a}} like {{b}}, {{c}}, {{ a }}?", inputs={"a": "first", "b": "second"})
    assert "".join(read(call, first="tea", second="{{a}}")) == (
        "user: Is tea like {{a}}, {{c}}, {{ a }}?\nassistant:"
    )
    assert {"first", "second"} <= {*call.prompt}


def test_answers() -> None:
    call = made("a", output="ad", objective=THROUGHPUT)
    assert call.outputs == ("ad",)
    (wanted,) = call.part.outputs
    assert (wanted.variable, wanted.objective) == ("ad", THROUGHPUT)
    several = made("a", n=3)
    seeds = [one.settings["answer"].seed for one in several.part.calls]
    assert (seeds, len({*several.outputs})) == ([4, 5, 6], 3)
    assert made("a").outputs != made("a").outputs


@pytest.mark.parametrize("content", ["", "{{", "{{{", "}}{{x:output}}"])
def test_braces_are_text(content: str) -> None:
    assert "".join(read(made(content))) == f"user: {content}\nassistant:"
