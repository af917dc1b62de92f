"""Elements for a task."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.document.elements import AppState, Element
from adwright.agent.generate.retrieve import ElementIndex, RetrieveConfig
from adwright.core.errors import ConfigError
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
INDEX = ElementIndex(DOCUMENT)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("Set the discount to 25", {"offer_edit__share", "offer_edit__save", "offers__rows"}),
        ("Send a mail", {"mail__send", "mail__to", "home__mail"}),
        ("Delete an offer", {"offer_delete__confirm", "offer_edit__delete"}),
        ("Launch the budget with an amount", {"budget__launch", "budget__amount"}),
    ],
)
def test_what_a_task_needs_is_among_them(task: str, names: set[str]) -> None:
    found = INDEX.retrieve(task)
    assert names <= {one.name for one in found.elements}
    assert 0 < found.ranked <= 10
    assert set(found.states) <= {one.name for one in DOCUMENT.states}


def test_a_form_comes_with_its_button_its_fields_and_its_door() -> None:
    task = 'Edit "Spring": name "May", discount 25, active on'
    found = INDEX.retrieve(task, RetrieveConfig(best=1, most=12))
    names = {one.name for one in found.elements}
    assert {"offer_edit__name", "offer_edit__share", "offer_edit__active"} <= names
    assert {"offer_edit__save", "offers__edit", "offers__rows"} <= names
    assert "offer_edit__status" not in names  # the task does not name it
    found = INDEX.retrieve("Delete an offer", RetrieveConfig(best=1, most=9))
    assert {"offer_delete__confirm", "offers__edit"} <= {one.name for one in found.elements}


def test_the_frame_and_other_views_are_left_out() -> None:
    found = INDEX.retrieve("Home of the mail")
    assert not {one.name for one in found.elements if one.name.endswith("__home")}
    states = (*DOCUMENT.states, AppState("sorted", "x", "/offers/?sort"))
    extra = Element("sorted__discount", "sorted", "textbox", "Discount", value_type="text")
    document = replace(DOCUMENT, states=states, elements=(*DOCUMENT.elements, extra))
    names = {one.name for one in ElementIndex(document).retrieve("Set the discount").elements}
    assert "offer_edit__share" in names
    assert "sorted__discount" not in names


def test_the_number_is_bounded() -> None:
    found = INDEX.retrieve("Set the discount to 25", RetrieveConfig(best=2, most=4))
    assert len(found.elements) <= 4
    assert found.ranked == 2
    for wrong in ({"best": 0}, {"most": 0}):
        with pytest.raises(ConfigError):
            RetrieveConfig(**wrong)
