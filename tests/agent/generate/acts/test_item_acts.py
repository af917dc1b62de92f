"""Acts on items that a task speaks of."""

from __future__ import annotations

import pytest

from adwright.agent.generate.acts import ItemActs
from adwright.agent.generate.task import read_parts
from adwright.agent.language.script import Script, print_script
from tests.support.agent.act_pages import NOTES, intent


def plan(text: str) -> tuple[str, bool]:
    acts = ItemActs(intent(text), NOTES, "page")
    whole = all([acts.add(one) for one in read_parts(text)])
    return print_script(Script(tuple(acts.body))), whole


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (
            "Locate Ann's note and delete it",
            'tap(inside(find($page__rows, "Ann"), $page__bin))\n',
        ),
        (
            'For the user @ann, press the "Pin" icon',
            'tap(inside(find($page__rows, "@ann"), $page__pin))\n',
        ),
        (
            'Hit the "Pin" icon on 2 notes by @ann and press Submit',
            'tap(inside(match($page__rows, "@ann")[0], $page__pin))\n'
            'tap(inside(match($page__rows, "@ann")[1], $page__pin))\n'
            "tap($page__submit)\n",
        ),
        (
            'Find the note from Ann and reply to it with "Gladly"',
            'tap(find($page__rows, "Ann"))\ntap($note__respond)\n'
            'set_text($form__body, "Gladly")\ntap($form__send)\n',
        ),
    ],
)
def test_the_part_or_the_page_of_an_item_is_acted_on(text: str, script: str) -> None:
    assert plan(text) == (script, True)


def test_what_no_part_is_called_is_no_act() -> None:
    assert plan("Find the note from Ann and translate it") == ("", False)
