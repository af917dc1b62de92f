"""What is typed, chosen and tapped on a page."""

from __future__ import annotations

import pytest

from adwright.agent.generate.acts import PageActs
from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.task import read_parts
from adwright.agent.language.script import Script, print_script
from tests.support.agent.act_pages import forms, intent, part

FIELDS = forms(
    part("page__a", "textbox", path="/input[1]", value="text", effect="draft"),
    part("page__b", "textbox", path="/input[2]", value="text", effect="draft"),
    part("page__notes", "textbox", path="/textarea[1]", value="text", effect="draft"),
    part("page__radio", "radio", value="switch", effect="draft"),
    part("page__radio_2", "radio", value="switch", effect="draft"),
    part("page__day", "textbox", "Day", value="date", effect="draft"),
    part("page__done", "button", "Done"),
)
WORDS = forms(
    part("one__words", "generic", path="/div[1]/b", many=True),
    part("two__words", "generic", path="/div[2]/b", many=True),
    part("two__help", "generic", "Help"),
    part("two__help_2", "button", "Help"),
)


def plan(text: str, page: DocumentForms = FIELDS) -> tuple[str, bool]:
    acts = PageActs(intent(text), page, page.document.states[0].name)
    whole = all([acts.add(one) for one in read_parts(text)])
    acts.send_rest()
    return print_script(Script(tuple(acts.body))), whole


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (
            'Tick the 2nd radio button and write "5" in the first text field',
            'choose($page__radio_2, true)\nset_text($page__a, "5")\ntap($page__done)\n',
        ),
        (
            "Put 4 May 2026 as the day, then press submit",
            'set_text($page__day, "2026-05-04")\ntap($page__done)\n',
        ),
        (
            "Copy the text in the text area, paste it into the 2nd field and press Done",
            "set_text($page__b, get_text($page__notes))\ntap($page__done)\n",
        ),
    ],
)
def test_fields_are_found_by_their_place_and_kind(text: str, script: str) -> None:
    assert plan(text) == (script, True)


def test_a_button_goes_before_a_part_of_the_same_name() -> None:
    assert plan('Press "Help"', WORDS) == ("tap($two__help_2)\n", True)


def test_of_several_lists_that_is_taken_which_has_the_item() -> None:
    script, whole = plan('Click on the link "ferry"', WORDS)
    assert whole
    assert script == (
        'if len(match($one__words, "ferry")) > 0:\n'
        '    tap(match($one__words, "ferry")[0])\n'
        'elif len(match($two__words, "ferry")) > 0:\n'
        '    tap(match($two__words, "ferry")[0])\n'
    )


def test_a_field_that_nothing_names_is_not_guessed() -> None:
    assert plan('Write "5" somewhere') == ("", False)
