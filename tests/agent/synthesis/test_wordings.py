"""Tasks in words that say all values."""

from __future__ import annotations

import pytest

from adwright.agent.synthesis.intents import DrawnIntent, IntentConfig, make_intents
from adwright.agent.synthesis.wordings import (
    TEMPLATES,
    TaskWording,
    needed_values,
    says_all,
    word_task,
)
from adwright.core.errors import ConfigError
from tests.agent.synthesis.test_intents import KNOWN
from tests.support.agent.shop_document import shop_document

INTENTS = make_intents(shop_document(), KNOWN, IntentConfig(a_form=4))


def test_templates_to_judge_by_are_no_templates_to_learn_from() -> None:
    for kind, uses in TEMPLATES.items():
        assert len(uses["judge"]) == 2, kind
        assert len(uses["learn"]) >= 4, kind
        assert not set(uses["judge"]) & set(uses["learn"])


def test_all_values_are_read_out_of_all_words() -> None:
    for one in INTENTS:
        for use in ("learn", "judge"):
            words = word_task(one, use, 2)
            assert words, one
            for each in words:
                assert says_all(each.text, needed_values(one))
                assert each.use == use
                assert each.template.endswith("j") == (use == "judge")
                assert "{" not in each.text


def test_words_are_drawn_by_the_seed() -> None:
    one = next(one for one in INTENTS if one.kind == "set")
    assert word_task(one, "learn", 3, seed=1) == word_task(one, "learn", 3, seed=1)
    assert word_task(one, "learn", 3, seed=1) != word_task(one, "learn", 3, seed=2)
    assert len(word_task(one, "learn", 3)) == 3
    templates = [each.template for each in word_task(one, "learn", 9)]
    assert len(set(templates)) == len(templates) == 9


def test_quotation_marks_come_where_words_alone_do_not_say_it() -> None:
    texts = set()
    for seed in range(20):
        one = DrawnIntent("count_some", "s", "offer", "rows", item="three for less")
        texts |= {each.text for each in word_task(one, "learn", 2, seed=seed)}
    assert all(f"{mark}three" in text for text in texts for mark in [text[text.find("three") - 1]])
    assert not any(" three for less" in text for text in texts)


@pytest.mark.parametrize(("noun", "words"), [("offer", "an offer"), ("tag", "a tag")])
def test_articles_fit(noun: str, words: str) -> None:
    one = DrawnIntent("if_there", "s", noun, "rows", "door", "Spring", button="b")
    texts = [each.text for seed in range(9) for each in word_task(one, "learn", 4, seed=seed)]
    assert any(words in text for text in texts)
    assert not any(" a offer" in text for text in texts)


def test_a_value_that_cannot_be_said_has_no_words() -> None:
    one = DrawnIntent(
        "delete", "s", "offer", "rows", "door", 'a "quoted" and “other” one\'s', button="b"
    )
    assert word_task(one, "learn", 3) == ()
    with pytest.raises(ConfigError):
        TaskWording("x", "set-1", "show")  # type: ignore[arg-type]
