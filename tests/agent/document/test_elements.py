"""The nouns of a document: what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    EffectClass,
    Element,
    Locator,
    ValueConstraints,
)
from adwright.core.errors import ConfigError

HOME = AppState("home", "h1")
LINK = Element("home__more", "home", "link", "More", effect="navigate", target="home")
DOCUMENT = AppDocument("shop", "1", ("http://localhost:80",), "home", (HOME,), (LINK,))


def test_elements_and_states_are_found_by_name() -> None:
    assert DOCUMENT.by_name["home__more"] is LINK
    assert DOCUMENT.state_by_name["home"] is HOME
    assert DOCUMENT.elements_of("home") == (LINK,)
    assert DOCUMENT.elements_of("elsewhere") == ()


@pytest.mark.parametrize("effect", get_args(EffectClass))
def test_what_may_change_the_app_writes(effect: str) -> None:
    element = replace(LINK, effect=effect)
    assert element.writes == (effect not in ("read", "navigate", "draft"))


def test_an_element_of_unknown_effect_is_taken_for_one_that_writes() -> None:
    assert Element("home__x", "home", "button", "X").writes


@pytest.mark.parametrize("name", ["", "two words", "a-b", "é", "__import__('os')"])
def test_a_name_is_an_identifier(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of an element"):
        replace(LINK, name=name)


@pytest.mark.parametrize("change", [{"nth": 1}, {"nth": -1}, {"of": -1}, {"kind": "guess"}])
def test_a_locator_counts_what_exists(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(Locator("role", "More", role="link"), **change)


def test_a_locator_may_leave_uncounted() -> None:
    assert Locator("css", "a", nth=4, of=0).nth == 4


def test_constraints_are_typed() -> None:
    assert ValueConstraints(required=True).required
    with pytest.raises(ConfigError):
        ValueConstraints(most_characters="5")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"states": (HOME, HOME)}, "one name"),
        ({"elements": (LINK, LINK)}, "one name"),
        ({"start": "hom"}, "did you mean home"),
        ({"elements": (replace(LINK, state="away"),)}, "away"),
        ({"elements": (replace(LINK, target="away"),)}, "away"),
        ({"edges": (AppEdge("home", "home__mor", "home"),)}, "did you mean home__more"),
        ({"edges": (AppEdge("home", "home__more", "homes"),)}, "did you mean home"),
        ({"edges": (AppEdge("home", "home__more", "home", needs=("x",)),)}, "'x'"),
    ],
)
def test_a_document_names_what_it_has(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(DOCUMENT, **change)
