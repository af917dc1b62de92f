"""The cheapest means first."""

from __future__ import annotations

from contextlib import nullcontext
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from adwright.agent.generate.ladder import ScriptLadder, macro_arguments
from adwright.agent.generate.task import read_task
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import print_script, read_script
from adwright.agent.run.macros import Macro, MacroBook, Postconditions
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
MACRO = Macro(
    "set_share",
    "Set the discount of {code} to {share}",
    "shop",
    "1",
    read_script(
        "param code: text\nparam share: number\n"
        "tap(inside(match($offers__rows, code)[0], $offers__edit))\n"
        "set_text($offer_edit__share, share)\ntap($offer_edit__save)\n"
    ),
    Postconditions(("POST /offers/{}/",)),
)
ODD = "Kindly see to the correspondence"
GOOD = "tap($mail__send)\n"


def book(folder: Path) -> MacroBook:
    made = MacroBook(folder)
    made.keep(MACRO, DOCUMENT)
    return made


def test_a_macro_is_taken_with_its_arguments(tmp_path: Path) -> None:
    ladder = ScriptLadder(DOCUMENT, macros=book(tmp_path))
    found = ladder.script('set the discount of "Spring" to 12.5')
    assert (found.source, found.name, found.tokens_in) == ("macro", "set_share", 0)
    assert found.arguments == {"code": "Spring", "share": Decimal("12.5")}
    assert found.postconditions == MACRO.postconditions


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("Set the discount of Spring to 5.", {"code": "Spring", "share": Decimal(5)}),
        ("Set the discount of 'A to B' to 5%", {"code": "A to B", "share": Decimal(5)}),
        ("Set the discount of Spring to many", None),
        ("Set the discount of Spring", None),
        ("Please set the discount of Spring to 5", None),
    ],
)
def test_the_words_around_the_values_must_be_those(
    task: str, arguments: dict[str, object] | None
) -> None:
    assert macro_arguments(MACRO, read_task(task)) == arguments


def test_a_plan_comes_before_a_model(tmp_path: Path) -> None:
    model = ScriptedModel(ScriptedConfig((GOOD,)))
    found = ScriptLadder(DOCUMENT, open_model=partial(nullcontext, model)).script(
        'Delete the offer "Autumn"'
    )
    assert (found.source, found.tokens_in) == ("plan", 0)


def test_a_model_is_asked_where_no_plan_fits() -> None:
    bad, good = (ScriptedModel(ScriptedConfig((said,))) for said in ("tap($x)\n", GOOD))
    ladder = ScriptLadder(DOCUMENT, open_model=partial(nullcontext, good))
    found = ladder.script(ODD)
    assert (found.source, print_script(found.script.script)) == ("model", GOOD)
    assert 0 < found.tokens_in == ladder.tokens_in
    with pytest.raises(ScriptError, match="passes the check") as caught:
        ScriptLadder(DOCUMENT, open_model=partial(nullcontext, bad)).script(ODD)
    assert "unknown_element" in {one.code for one in caught.value.problems}


def test_without_a_model_what_does_not_fit_is_said() -> None:
    with pytest.raises(ScriptError, match="no plan fits"):
        ScriptLadder(DOCUMENT).script(ODD)


def test_a_macro_that_no_longer_fits_is_passed_over(tmp_path: Path) -> None:
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offers__edit")
    later = type(DOCUMENT)("shop", "2", DOCUMENT.origins, "home", DOCUMENT.states, kept)
    with pytest.raises(ScriptError):
        ScriptLadder(later, macros=book(tmp_path)).script('Set the discount of "Spring" to 5')
