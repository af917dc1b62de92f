"""Plans for tasks that say what to do act by act."""

from __future__ import annotations

import pytest

from adwright.agent.document.elements import (
    AppDocument,
    AppState,
    EffectClass,
    Element,
    Locator,
    ValueType,
)
from adwright.agent.generate.acts import act_plans
from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.task import read_intent, read_task
from adwright.agent.language.script import Script, print_script


def element(
    name: str,
    role: str,
    label: str,
    *,
    value: ValueType = "none",
    options: tuple[str, ...] = (),
    effect: EffectClass = "draft",
) -> Element:
    found = (Locator("role", label, role=role),)
    return Element(f"page__{name}", "page", role, label, found, value, options, effect=effect)


DOCUMENT = AppDocument(
    "page",
    "1",
    ("http://127.0.0.1:8000",),
    "page",
    (AppState("page", "0", "/page"),),
    (
        element("user", "textbox", "Username", value="text"),
        element("mail", "textbox", "Email", value="text"),
        element("tea", "checkbox", "Tea", value="switch"),
        element("milk", "radio", "Milk", value="switch"),
        element("size", "combobox", "Size", value="choice", options=("Small", "Large")),
        element("submit", "button", "Submit", effect="unknown"),
    ),
)


def plan(text: str) -> tuple[str, bool]:
    plans = list(act_plans(read_intent(read_task(text)), DocumentForms(DOCUMENT)))
    if not plans:
        return "", False
    body, _, whole = max(plans, key=lambda one: one[1])
    return print_script(Script(tuple(body))), whole


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ('Click on the "Submit" button.', "tap($page__submit)\n"),
        (
            'Select "Tea" and press "Submit".',
            "choose($page__tea, true)\ntap($page__submit)\n",
        ),
        ("Select Milk and click Submit.", "choose($page__milk, true)\ntap($page__submit)\n"),
        (
            'Choose "Large", then click "Submit"',
            'choose($page__size, "Large")\ntap($page__submit)\n',
        ),
        (
            'Enter the username "ann" and the email "a@b.example", and press "Submit"',
            'set_text($page__user, "ann")\nset_text($page__mail, "a@b.example")\n'
            "tap($page__submit)\n",
        ),
    ],
)
def test_each_part_is_an_act(text: str, script: str) -> None:
    assert plan(text) == (script, True)


def test_a_part_that_nothing_fits_makes_it_no_whole() -> None:
    script, whole = plan('Select "Coffee" and press "Submit"')
    assert (script, whole) == ("tap($page__submit)\n", False)
    assert plan("What is the total?") == ("", False)
