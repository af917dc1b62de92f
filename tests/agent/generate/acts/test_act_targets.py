"""Which element is meant."""

from __future__ import annotations

from adwright.agent.generate.acts import ActTargets, alike, named_words
from tests.support.agent.act_pages import NOTES, forms, part

PAGE = ActTargets(
    forms(
        part("page__tab", "tab", "Part #12"),
        part("page__ok", "button", "OK"),
        part("page__a", "textbox", path="/input[1]", value="text"),
        part("page__b", "textbox", path="/textarea[1]", value="text"),
    ),
    "page",
)


def names(*found: object) -> list[str]:
    return [getattr(one, "name", "") for one in found]


def test_places_and_kinds() -> None:
    found = PAGE.nth("textbox", 1), PAGE.nth("text area", None), PAGE.nth("input field", None)
    assert names(*found) == ["page__b", "page__b", "page__a"]
    assert PAGE.nth("link", 0) is None


def test_words_that_are_near_and_what_sends() -> None:
    found = PAGE.likest(("part", "below"), lambda one: one.role == "tab")
    assert found is not None
    assert names(found[0], PAGE.sending("page")) == ["page__tab", "page__ok"]
    assert PAGE.likest(("elsewhere",), lambda one: True) is None


def test_records_come_before_other_lists() -> None:
    assert names(*ActTargets(NOTES, "page").lists())[0] == "page__rows"


def test_names_without_the_words_around_them() -> None:
    assert named_words("click on the Tea button") == ["Tea"]
    assert alike(PAGE.all[0], "the part below") == 0.5
