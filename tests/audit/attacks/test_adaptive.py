from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from adwright.audit.attacks.search import RankSearchConfig, SearchAttack, adaptive_search, passing
from adwright.audit.catalogue import ShopListing
from adwright.audit.defences.normalise import ExtractionCleaner, FactSchema
from adwright.audit.targets.target import DefendedTarget, FunctionTarget
from adwright.core.errors import ConfigError, ResumeError
from tests.support.audit.attacked import ORDERS, counts_praise, meter, tea_goal


@dataclass(frozen=True)
class Drops:
    """Empties a text that has a word."""

    word: str

    @property
    def name(self) -> str:
        return f"drops {self.word}"

    def clean(self, listing: ShopListing) -> ShopListing:
        if self.word not in listing.texts["For"]:
            return listing
        return listing.with_text("For", "the morning")


@dataclass(frozen=True)
class Empties:
    """Leaves nothing of a field that has a word."""

    word: str

    @property
    def name(self) -> str:
        return f"empties at {self.word}"

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing.with_text("For", "") if self.word in listing.texts["For"] else listing


def length(listing: ShopListing) -> float:
    return float(len(listing.texts["For"]))


def test_a_text_passes_where_something_of_it_is_left() -> None:
    passes = passing(Drops("best"), tea_goal())
    assert passes(" good")
    assert not passes(" best")
    assert not passes("")


def test_a_field_that_is_emptied_is_not_passed() -> None:
    passes = passing(Empties("best"), tea_goal())
    assert not passes(" the best of all")
    assert passes(" the good of all")
    assert not passing(Drops("good"), tea_goal())(" the morning good")


def test_a_score_bounds_what_passes() -> None:
    passes = passing(Drops("best"), tea_goal(), score=length, limit=20)
    assert passes(" good")
    assert not passes(" good and very much longer")
    assert not passing(Drops("x"), tea_goal(), score=lambda one: float("nan"), limit=1)(" a")
    with pytest.raises(ConfigError, match="needs a score"):
        passing(Drops("best"), tea_goal(), limit=1.0)


def test_the_search_ranks_through_the_defence() -> None:
    target = DefendedTarget(FunctionTarget(counts_praise, name="praise"), Drops("best"))
    config = RankSearchConfig(branch=8, steps=3)
    attack = adaptive_search(
        target, Drops("best"), tea_goal(), ORDERS[:2], meter(), model="m", config=config
    )
    steps = list(attack.steps())
    assert attack.tier == "T4"
    assert all("best" not in one.text for one in steps)
    assert steps[-1].value > 1


def test_it_finds_what_the_defence_lets_through() -> None:
    target = DefendedTarget(FunctionTarget(counts_praise, name="praise"), Drops("number"))
    config = RankSearchConfig(branch=12, steps=6)
    attack = adaptive_search(
        target, Drops("number"), tea_goal(), ORDERS[:2], meter(), model="m", config=config, seed=1
    )
    last = list(attack.steps())[-1]
    assert 0.5 < last.value < 1  # first, less what the score is worth
    assert "number" not in last.text
    free = adaptive_search(
        target, Drops("number"), tea_goal(), ORDERS[:2], meter(), model="m", config=config, seed=1,
        passes=lambda text: True,
    )  # fmt: skip
    assert list(free.steps())[-1].state != last.state


def test_before_typed_extraction_it_searches_facts() -> None:
    goal = tea_goal()
    cleaner = ExtractionCleaner(FactSchema.of(goal.catalogue.listings))
    assert passing(cleaner, goal)(" red, wood")
    assert not passing(cleaner, goal)(" the best of all")

    def likes_wood(listings: Sequence[ShopListing], request: str) -> list[float]:
        return [float("wood" in one.texts["For"]) for one in listings]

    target = DefendedTarget(FunctionTarget(likes_wood, name="wood"), cleaner)
    config = RankSearchConfig(branch=32, steps=8)
    attack = adaptive_search(
        target, cleaner, goal, ORDERS[:1], meter(2000), model="m", config=config
    )
    *_, last = attack.steps()
    assert "wood" in last.text
    assert passing(cleaner, goal)(last.text)


@dataclass(frozen=True)
class Keeps:
    """Leaves texts that end in one of its words as they are, and nothing of others."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return "keeps"

    def clean(self, listing: ShopListing) -> ShopListing:
        text = listing.texts["For"]
        return listing if text.endswith(self.words) else listing.with_text("For", "")


def test_where_few_pieces_pass_and_no_fact_does_those_few_are_searched() -> None:
    strict, goal = Keeps(("best", "ideal")), tea_goal()
    target = DefendedTarget(FunctionTarget(counts_praise, name="praise"), strict)
    attack = adaptive_search(target, strict, goal, ORDERS[:1], meter(), model="m")
    *_, last = attack.steps()
    assert "best" in last.text


def test_a_search_does_not_go_on_with_other_pieces() -> None:
    strict, goal = Keeps(("best", "ideal")), tea_goal()
    target = DefendedTarget(FunctionTarget(counts_praise, name="praise"), strict)

    def search(defence: Keeps) -> SearchAttack:
        return adaptive_search(target, defence, goal, ORDERS[:1], meter(), model="m")

    state = next(iter(search(strict).steps())).state
    assert next(iter(search(strict).steps(state)), None) is not None
    with pytest.raises(ResumeError, match="other pieces"):
        next(iter(search(Keeps(("best", "top"))).steps(state)))
