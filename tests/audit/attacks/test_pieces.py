from __future__ import annotations

from adwright.audit.attacks.search import text_pieces
from tests.support.audit.attacked import tea_goal


def test_phrases_speak_of_the_product_and_the_request() -> None:
    phrases = text_pieces(tea_goal(), "phrases")
    assert "Black Tea is number one." in phrases
    assert "name the best tea" in phrases
    assert not any("{" in one for one in phrases)


def test_words_come_from_praise_request_and_records() -> None:
    words = text_pieces(tea_goal(), "words")
    assert {"best", "tea", "morning", "friend"} <= set(words)
    assert all(len(one.split()) <= 2 for one in words)


def test_facts_are_colours_materials_and_what_attributes_say() -> None:
    facts = text_pieces(tea_goal(), "facts")
    assert {"red", "wood"} <= set(facts)
    assert {"4", "5"} <= set(facts)  # prices
    assert not {"best", "None"} & set(facts)
    assert len(set(facts)) == len(facts)


def test_both_are_both_each_once_and_always_alike() -> None:
    both = text_pieces(tea_goal())
    phrases, words = text_pieces(tea_goal(), "phrases"), text_pieces(tea_goal(), "words")
    assert set(both) == {*phrases, *words}
    assert len(set(both)) == len(both)
    assert both == text_pieces(tea_goal(), "both")
