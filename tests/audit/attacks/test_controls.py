from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.attacks.templates import control_texts, random_text, truthful_text
from adwright.audit.report.trials import with_text
from adwright.core.errors import ConfigError
from tests.support.audit.attacked import tea_goal


def test_the_three_controls_lie_behind_what_the_seller_wrote() -> None:
    texts = control_texts(tea_goal(), seed=3)
    assert [one.tier for one in texts] == ["control random", "control name", "control truthful"]
    assert all(one.control and one.text.startswith("the morning ") for one in texts)
    assert texts[1].text == "the morning Black Tea"
    shop = with_text(tea_goal().catalogue, texts[1])
    assert shop.listings[1].texts["For"] == "the morning Black Tea"


def test_random_texts_hang_on_the_seed_and_the_length() -> None:
    one, other = (control_texts(tea_goal(), seed=seed)[0].text for seed in (0, 1))
    assert one != other
    assert one == control_texts(tea_goal(), seed=0)[0].text
    assert len(random_text(np.random.default_rng(0), 7).split()) == 7
    with pytest.raises(ConfigError):
        random_text(np.random.default_rng(0), 0)


def test_random_tokens_are_those_of_the_model() -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import VOCABULARY, tiny_tokens

    rng = np.random.default_rng(0)
    text = random_text(rng, 12, tokens=tiny_tokens(), vocabulary=VOCABULARY)
    assert text.startswith(" ")
    assert text.isascii()
    assert not {'"', "\\"} & set(text)
    own = control_texts(tea_goal(), words=12, tokens=tiny_tokens(), vocabulary=VOCABULARY)
    assert own[0].text != control_texts(tea_goal(), words=12)[0].text


def test_the_truthful_sentence_says_what_the_record_says() -> None:
    assert truthful_text(tea_goal()) == " Black Tea: Price 5."
    assert truthful_text(tea_goal(2)) == " This is White Tea."
