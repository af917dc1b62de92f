"""Scripts of intents: checked, of one form, and words of the grammar."""

from __future__ import annotations

import pytest

from adwright.agent.generate.script_grammar import GrammarChoice, script_grammar
from adwright.agent.language.checker import CheckRules
from adwright.agent.language.parser import read_script
from adwright.agent.language.printer import print_script
from adwright.agent.language.problems import ScriptError
from adwright.agent.synthesis.compose import compose, solve
from adwright.agent.synthesis.intents import DrawnIntent, IntentConfig, make_intents
from adwright.agent.synthesis.wordings import needed_values
from tests.agent.synthesis.test_intents import KNOWN
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
INTENTS = make_intents(DOCUMENT, KNOWN, IntentConfig(a_form=4))


def text(kind: str) -> str:
    one = next(one for one in INTENTS if one.kind == kind)
    return print_script(compose(one, DOCUMENT))


def test_all_scripts_pass_the_check_and_are_printed_as_they_read() -> None:
    for one in INTENTS:
        script = compose(one, DOCUMENT)
        assert read_script(print_script(script)) == script
        if one.state != "sign_in":
            assert solve(one, DOCUMENT).elements


def test_an_item_is_found_and_its_form_sent() -> None:
    lines = text("set").splitlines()
    assert lines[0].startswith("tap(inside(find($offers__rows, ")
    assert lines[-1] == "tap($offer_edit__save)"


def test_conditions_hold_what_is_done() -> None:
    assert text("if_there").startswith("if len(match($offers__rows, ")
    assert "== 0:" in text("unless_there")
    assert "\nif " in text("if_value")
    assert text("count") == "answer(len($offers__rows))\n"


def test_a_cell_is_read_in_its_row() -> None:
    one = DrawnIntent(
        "read_cell", "offers", "offer", "offers__rows", item="May", asked="offers__edit"
    )
    assert print_script(compose(one, DOCUMENT)) == (
        'answer(get_text(inside(find($offers__rows, "May"), $offers__edit)))\n'
    )


def test_what_the_rules_forbid_is_not_solved() -> None:
    one = next(one for one in INTENTS if one.kind == "delete")
    with pytest.raises(ScriptError, match="destructive"):
        solve(one, DOCUMENT, CheckRules(forbidden=("destructive",)))


def test_scripts_are_words_of_the_grammar() -> None:
    llguidance = pytest.importorskip("llguidance", reason="the extra lm is not installed")
    from adwright.lm.engine.generation import GenerationConfig
    from adwright.lm.engine.grammar import compiled

    for kind in ("set", "create", "delete", "read", "count_some", "if_there", "if_value", "send"):
        one = next(one for one in INTENTS if one.kind == kind)
        choice = GrammarChoice(texts=tuple(sorted(needed_values(one))))
        made = compiled(GenerationConfig(grammar=script_grammar(DOCUMENT.elements, choice)))
        matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), made, log_level=0)
        data = list(print_script(compose(one, DOCUMENT)).encode())
        assert matcher.try_consume_tokens(data) == len(data), kind
        assert matcher.is_accepting()
