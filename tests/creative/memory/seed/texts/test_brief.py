from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.creative.memory.seed.texts.brief import AdBrief, part_of


def test_a_prompt_tells_what_is_known_and_begins_alike() -> None:
    brief = AdBrief("b", brand="Mill Lane", subject="Bread", facts=("Baked at\nsix",), seconds=15.0)
    (turn,) = brief.messages()
    assert turn.role == "user"
    assert turn.content == (
        "Write a slogan. Answer with the slogan alone.\n"
        "Brand: Mill Lane\nProduct: Bread\nFact: Baked at six\nSeconds: 15"
    )
    other = AdBrief("c", brand="Other").messages()[0].content
    assert other.splitlines()[0] == turn.content.splitlines()[0]
    assert brief.known == ("Mill Lane", "Bread", "Baked at\nsix", "15 seconds")


@pytest.mark.parametrize(
    ("kind", "named"),
    [("headline", "Story"), ("description", "Product"), ("video", "Title")],
)
def test_each_kind_asks_for_itself(kind: Any, named: str) -> None:
    told = AdBrief("b", kind, subject="A walk").messages()[0].content
    assert f"\n{named}: A walk" in told
    assert told != AdBrief("b", "slogan", subject="A walk").messages()[0].content


def test_a_long_subject_is_cut_in_the_prompt_alone() -> None:
    brief = AdBrief("b", subject="tea " * 200)
    assert len(brief.messages()[0].content) < 400
    assert len(brief.known[0]) > 700


def test_briefs_of_a_brand_are_held_together() -> None:
    one, other = AdBrief("a", brand="Mill  LANE"), AdBrief("b", brand="mill lane", subject="Tea")
    assert one.held_by == other.held_by == "mill lane"
    assert AdBrief("c", brand="x", group="G 1").held_by == "g 1"
    assert AdBrief("c", subject="🙂").held_by == "🙂"


def test_shares_are_about_what_was_asked_for() -> None:
    parts = [part_of(str(at), watch=0.1, held=0.25) for at in range(4000)]
    assert abs(parts.count("held") / 4000 - 0.25) < 0.02
    assert abs(parts.count("watch") / 4000 - 0.1) < 0.02
    assert [part_of(str(at), watch=0.1, held=0.25, seed=1) for at in range(4000)] != parts


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (0.9, 0.2)])
def test_shares_leave_something(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="shares"):
        part_of("x", watch=shares[0], held=shares[1])


def test_a_brief_says_something() -> None:
    with pytest.raises(ValueInvalidError, match="brand or a subject"):
        AdBrief("b", brand="  ")
    with pytest.raises(ValueInvalidError, match="has an id"):
        AdBrief("", brand="x")
    with pytest.raises(ConfigError, match="kind"):
        AdBrief("b", "poem", brand="x")  # type: ignore[arg-type]
