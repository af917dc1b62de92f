from __future__ import annotations

import pytest

from adwright.audit.attacks.gradient import GradientConfig, fluent_config, paper_config
from adwright.core.errors import ConfigError


def test_the_paper_s_settings() -> None:
    paper = paper_config()
    assert (paper.tokens, paper.steps, paper.candidates, paper.top_k) == (30, 2000, 512, 256)
    assert not paper.fixed
    assert (paper.reading, paper.start_text) == ("exact", " *" * 30)


def test_the_start_is_stars_letters_or_words() -> None:
    assert GradientConfig(tokens=3, start="x").start_text == " x x x"
    assert GradientConfig(tokens=2).start_text == " * *"
    words = GradientConfig(tokens=21, start="words").start_text.split()
    assert words[:3] == words[18:] == ["and", "it", "is"]


def test_a_fluent_attack_begins_as_words_and_minds_how_they_read() -> None:
    fluent = fluent_config(GradientConfig(tokens=3, steps=7))
    assert (fluent.tokens, fluent.steps, fluent.start_text) == (3, 7, " and it is")
    assert fluent.fluency > 0


@pytest.mark.parametrize(
    "setting",
    [
        *({name: 0} for name in ("tokens", "steps", "candidates", "top_k", "swaps", "order_count")),
        *({name: 0} for name in ("buffer", "verified", "pool")),
        {"coordinates": -1},
        {"swaps": 21},
        {"abandon": 0.0},
        {"abandon": 1.5},
        {"fluency": -1.0},
        {"fluency": float("nan")},
        {"orders": "random"},
        {"reading": "half"},
        {"start": "y"},
    ],
)
def test_wrong_settings_are_named(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        GradientConfig(**setting)  # type: ignore[arg-type]
