"""The grammar of a task's scripts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from adwright.agent.generate.writing import GrammarChoice, script_grammar
from adwright.agent.language.script import ScriptParameter
from adwright.core.errors import ConfigError
from tests.support.agent.shop_document import shop_document

llguidance = pytest.importorskip("llguidance", reason="the extra lm is not installed")

from adwright.lm.engine.generation import GenerationConfig  # noqa: E402
from adwright.lm.engine.hf_tokens import compiled  # noqa: E402

ELEMENTS = shop_document().elements
TASK = GrammarChoice(texts=("Spring", 'a "b" \\'))


def accepts(grammar: str, text: str) -> bool:
    made = compiled(GenerationConfig(grammar=grammar))
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), made, log_level=0)
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


@pytest.fixture(scope="module")
def grammar() -> str:
    """That of all elements, with two texts."""
    return script_grammar(ELEMENTS, TASK)


@pytest.mark.parametrize(
    "text",
    [
        "tap($home__offers)\n",
        'set_text($offer_edit__name, "Spring")\n',
        'set_text($offer_edit__name, "a \\"b\\" \\\\")\n',
        "set_text($offer_edit__share, 12.5)\n",
        'choose($offer_edit__status, "Closed")\nchoose($offer_edit__active, false)\n',
        'set_text($sign_in__password, secret("admin"))\n',
        'for row in match($offers__rows, "Spring"):\n    tap(inside(row, $offers__edit))\n'
        "    break\ntap($offer_edit__save)\n",
        'if get_text($budget__total) == "Spring":\n    back()\nelse:\n    enter()\n',
        "answer(len($offers__rows))\n",
        'expect(get_attributes($offer_edit__active, "checked"))\n',
        'tap(inside(match($offers__rows, "Spring")[0], $offers__edit))\n',
    ],
)
def test_scripts_of_the_task_are_words_of_it(grammar: str, text: str) -> None:
    assert accepts(grammar, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tap($nothing)\n",
        "tap($offer_edit__name)\n",
        "tap($offers__rows)\n",
        'set_text($offer_edit__name, "Evil")\n',
        'set_text($offer_edit__save, "Spring")\n',
        'set_text($offer_edit__share, "Spring")\n',
        'set_text($sign_in__password, "Spring")\n',
        'choose($offer_edit__status, "Gone")\n',
        "import os\n",
        "tap($home__offers)",
        "  tap($home__offers)\n",
    ],
)
def test_other_texts_are_not(grammar: str, text: str) -> None:
    assert not accepts(grammar, text)


def test_each_choice_changes_the_grammar(grammar: str) -> None:
    free = script_grammar(ELEMENTS, GrammarChoice(longest=4))
    assert accepts(free, 'set_text($offer_edit__name, "Evil")\n')
    assert not accepts(free, 'set_text($offer_edit__name, "Evils")\n')
    flat = script_grammar(ELEMENTS, GrammarChoice(deepest=0, statements=1, answers=False))
    assert not accepts(flat, "if true:\n    back()\n")
    assert not accepts(flat, "back()\nback()\n")
    assert not accepts(flat, "answer(len($offers__rows))\n")
    assert accepts(flat, "back()\n")
    given = GrammarChoice(texts=(), parameters=(ScriptParameter("code", "text"),))
    with_code = script_grammar(ELEMENTS, given)
    assert accepts(with_code, "param code: text\nset_text($mail__to, code)\n")
    assert not accepts(with_code, "set_text($mail__to, code)\n")


@pytest.mark.parametrize("name", [one.name for one in ELEMENTS])
def test_any_single_element_makes_a_grammar(name: str) -> None:
    element = shop_document().by_name[name]
    assert accepts(script_grammar([element], TASK), "back()\n")


def test_a_grammar_needs_elements_once() -> None:
    for elements in ([], [ELEMENTS[0], ELEMENTS[0]]):
        with pytest.raises(ConfigError):
            script_grammar(elements)
    for wrong in ({"longest": 0}, {"statements": 0}, {"deepest": 6}):
        with pytest.raises(ConfigError):
            GrammarChoice(**wrong)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("set_text($offer_edit__share, 12.5)\n", True),
        ("set_text($offer_edit__share, 1786502179)\n", True),
        ("set_text($offer_edit__share, 178650217)\n", False),
        ("set_text($offer_edit__share, 12)\n", False),
    ],
)
def test_numbers_may_be_held_to_those_of_a_task(text: str, is_one: bool) -> None:
    numbers = (Decimal("12.5"), Decimal(1786502179))
    held = script_grammar(ELEMENTS, GrammarChoice(numbers=numbers))
    assert accepts(held, text) == is_one
    assert accepts(script_grammar(ELEMENTS, GrammarChoice(numbers=())), text)
