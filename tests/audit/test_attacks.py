"""Attacks: what they may write, what they spend, and how a job of one is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.attacks.attack import (
    AttackBudget,
    AttackGoal,
    AttackOutcome,
    AttackStep,
    RankFeedback,
    Spending,
    SpendingMeter,
    generator_of,
    kept_generator,
    run_attack,
)
from adwright.audit.attacks.search import (
    RankSearchConfig,
    SearchAttack,
    adaptive_search,
    control_texts,
    halved,
    passing,
    random_text,
    template_texts,
    templates,
    text_pieces,
    truthful_text,
)
from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.defences.normalise import ExtractionCleaner, FactSchema
from adwright.audit.report.trials import AUDIT_MARK, read_texts, with_text
from adwright.audit.targets.target import DefendedTarget, FunctionTarget
from adwright.core.errors import ConfigError, FileUnreadableError, ResumeError
from tests.support.audit.attacked import (
    ORDERS,
    counts_praise,
    meter,
    praise_feedback,
    tea_goal,
    teas,
)


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


def test_it_finds_what_the_defence_lets_through() -> None:
    target = DefendedTarget(FunctionTarget(counts_praise, name="praise"), Drops("number"))
    config = RankSearchConfig(branch=12, steps=6)
    attack = adaptive_search(
        target, Drops("number"), tea_goal(), ORDERS[:2], meter(), model="m", config=config, seed=1
    )
    last = list(attack.steps())[-1]
    assert 0.5 < last.value < 1  # first, less what the score is worth
    assert "number" not in last.text


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


def test_a_generator_goes_on_from_its_state_as_json() -> None:
    rng = np.random.default_rng(3)
    rng.random(5)
    kept = json.loads(json.dumps(kept_generator(rng)))
    assert generator_of(kept).random(4).tolist() == rng.random(4).tolist()


@pytest.mark.parametrize("state", [{}, {"bit_generator": "other"}, {"bit_generator": "PCG64"}])
def test_what_is_no_state_is_refused(state: dict[str, str]) -> None:
    with pytest.raises(ResumeError, match="generator"):
        generator_of(state)


def test_calls_are_allowed_until_they_are_spent() -> None:
    meter = SpendingMeter(AttackBudget(10), cpu=lambda: 0.0)
    meter.add(calls=7.5, trials=90)
    assert meter.allows(2.5)
    assert not meter.allows(3)
    assert meter.spent.trials == 90


def test_seconds_end_an_attack_too() -> None:
    now = [0.0]
    meter = SpendingMeter(AttackBudget(1000, cpu_seconds=5), cpu=lambda: now[0])
    now[0] = 4.9
    assert meter.allows()
    now[0] = 5.0
    assert not meter.allows()
    assert SpendingMeter(AttackBudget(1000), cpu=lambda: now[0]).allows()


def test_what_a_job_spent_before_counts_once() -> None:
    now = [3.0]
    meter = SpendingMeter(AttackBudget(10), cpu=lambda: now[0])
    meter.add(calls=2)
    meter.resume(Spending(4, 9.0, 20))
    now[0] = 5.0
    meter.add(calls=1, trials=3)
    assert meter.spent == Spending(5, 11.0, 23)
    assert Spending(1, 2.0, 3) + Spending(1, 1.0, 1) == Spending(2, 3.0, 4)


@pytest.mark.parametrize(
    ("calls", "seconds"), [(0, 0), (float("nan"), 0), (1, -1), (1, float("inf"))]
)
def test_budgets_that_are_none_are_refused(calls: float, seconds: float) -> None:
    with pytest.raises(ConfigError):
        AttackBudget(calls, seconds)


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


def test_a_text_is_asked_once_an_order() -> None:
    feedback = praise_feedback()
    assert feedback.cost(["", " best"]) == 4
    first = feedback.mean_ranks(["", " best"])
    assert first[1] == 1
    assert first[0] > 1
    assert feedback.meter.spent.calls == 4
    assert feedback.cost(["", " best"]) == 0
    np.testing.assert_array_equal(feedback.mean_ranks(["", " best"]), first)
    assert feedback.meter.spent.calls == 4


def test_texts_that_are_given_twice_are_asked_once() -> None:
    feedback = praise_feedback()
    feedback.in_order([" a", " a", " b"])(0, np.array([0, 1, 2]))
    assert feedback.meter.spent.calls == 2


def test_of_equal_ranks_the_better_score_is_better_for_who_knows_it() -> None:
    def ranks(*, by_score: bool) -> list[float]:
        target = FunctionTarget(counts_praise, name="counts praise")
        feedback = RankFeedback(target, tea_goal(), ORDERS[:1], meter(), by_score=by_score)
        return feedback.mean_ranks(["", " best", " best best"]).tolist()

    plain, fine = ranks(by_score=False), ranks(by_score=True)
    assert plain == [2, 1, 1]
    assert [rank - 0.5 < one <= rank for rank, one in zip(plain, fine, strict=True)] == [True] * 3
    assert fine[0] > fine[1] > fine[2]


def test_it_needs_an_order() -> None:
    with pytest.raises(ConfigError, match="no order"):
        RankFeedback(FunctionTarget(counts_praise, name="x"), tea_goal(), (), meter())


def test_an_attack_writes_behind_one_text_and_nowhere_else() -> None:
    goal = tea_goal()
    listings = goal.listings(" Best.")
    assert listings[1].texts == {"Description": "a warm tea", "For": "the morning Best."}
    assert listings[1].attributes == goal.listing.attributes
    assert (listings[0], listings[2]) == (goal.catalogue.listings[0], goal.catalogue.listings[2])
    assert goal.attacked("") == goal.listing


def test_the_field_can_be_chosen() -> None:
    goal = AttackGoal(teas(), 1, "Description")
    assert goal.own_text == "a warm tea"
    assert goal.attacked("!").texts["Description"] == "a warm tea!"


def test_a_question_is_asked_in_every_order() -> None:
    asks = tea_goal().asks("", ORDERS)
    assert [ask.order for ask in asks] == list(ORDERS)
    assert {ask.request for ask in asks} == {"name the best tea"}


def test_the_catalogues_of_others_are_refused() -> None:
    with pytest.raises(ConfigError, match="not declared as your own"):
        AttackGoal(teas(own=False), 1)


@pytest.mark.parametrize(("row", "field"), [(3, ""), (-1, ""), (1, "Price"), (1, "Colour")])
def test_what_cannot_be_attacked_is_refused(row: int, field: str) -> None:
    with pytest.raises(ConfigError):
        AttackGoal(teas(), row, field)


def test_a_product_without_texts_is_refused() -> None:
    bare = ShopCatalogue("bare", "tea?", (ShopListing("A"), ShopListing("B")), own=True)
    with pytest.raises(ConfigError, match="no text"):
        AttackGoal(bare, 0)


def test_candidates_are_given_up_from_order_to_order() -> None:
    table = np.random.default_rng(0).random((3, 64))
    asked: list[int] = []

    def look(order: int, rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return table[order, rows]

    found = halved(64, 3, look, share=0.25)
    assert asked == [64, 16, 4]
    assert found.tried == 84
    assert len(found.rows) == 4
    np.testing.assert_allclose(found.means, table[:, found.rows].mean(0))
    assert (np.diff(found.means) >= 0).all()


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
def test_without_giving_up_the_best_mean_wins(count: int, orders: int, seed: int) -> None:
    table = np.random.default_rng(seed).random((orders, count))
    found = halved(count, orders, lambda order, rows: table[order, rows], share=1.0)
    assert found.tried == count * orders
    assert int(found.rows[0]) == int(table.mean(0).argmin())


def test_at_least_so_many_go_on() -> None:
    table = np.random.default_rng(1).random((2, 10))
    found = halved(10, 2, lambda order, rows: table[order, rows], share=0.01, least=5)
    assert len(found.rows) == 5
    assert len(halved(3, 2, lambda order, rows: table[order, rows], share=0.01, least=5).rows) == 3


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


CONFIG = RankSearchConfig(branch=6, steps=5)


class Killed(SearchAttack):
    """Its process ends after so many steps."""

    after = 99

    def steps(self, state: Mapping[str, Any] | None = None) -> Iterator[AttackStep]:
        for at, step in enumerate(super().steps(state)):
            if at == self.after:
                raise KeyboardInterrupt
            yield step


def run(folder: Path | None, *, steps: int = 99, seed: int = 0) -> AttackOutcome:
    feedback = praise_feedback()
    attack = Killed(feedback, CONFIG, model="m", seed=seed)
    attack.after = steps
    return run_attack(attack, feedback.meter, folder=folder, seed=seed)


def test_a_job_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", steps=2)
    assert not (tmp_path / "cut" / "texts.jsonl").exists()
    rest = run(tmp_path / "cut")
    assert (rest.text, rest.values) == (whole.text, whole.values)
    assert len(rest.values) == CONFIG.steps
    # What was asked before the cut is asked anew only in part: the count goes on, not back.
    assert rest.spent.calls >= whole.spent.calls
    assert run(tmp_path / "cut").values == whole.values


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", steps=3)
    with (tmp_path / "cut" / "steps.jsonl").open("ab") as stream:
        stream.write(b'{"text": "half')
    assert run(tmp_path / "cut").values == whole.values


def test_what_it_writes_is_marked_and_can_be_audited(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    asked = json.loads((tmp_path / "attack.json").read_text("utf-8"))
    assert asked["audit"] == AUDIT_MARK
    assert (asked["product"], asked["tier"], asked["model"]) == ("Black Tea", "T1", "m")
    assert AUDIT_MARK in (tmp_path / "texts.jsonl").read_text("utf-8")
    (text,) = read_texts(tmp_path / "texts.jsonl", teas())
    assert text == outcome.seller_text()
    assert text.text == "the morning" + outcome.text


def test_another_attack_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ResumeError, match="its seed differs"):
        run(tmp_path, seed=1)
    feedback = praise_feedback()
    with pytest.raises(ResumeError, match="another attack"):
        run_attack(SearchAttack(feedback, model="n"), feedback.meter, folder=tmp_path)
    with pytest.raises(ResumeError, match="its note differs"):
        run_attack(
            SearchAttack(feedback, CONFIG, model="m"), feedback.meter, folder=tmp_path,
            note={"orders": 3},
        )  # fmt: skip


@pytest.mark.parametrize("line", ["{}", "no json", '{"value": 1, "text": "a", "state": {}}'])
def test_damaged_steps_are_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, steps=1)
    (tmp_path / "steps.jsonl").write_text(f"{line}\n", "utf-8")
    with pytest.raises(FileUnreadableError, match=r"steps\.jsonl"):
        run(tmp_path)
    (tmp_path / "attack.json").write_text("{", "utf-8")
    with pytest.raises(ResumeError, match=r"attack\.json"):
        run(tmp_path)


def test_run_the_catalogues_of_others_are_refused() -> None:
    feedback = praise_feedback()
    object.__setattr__(feedback.goal.catalogue, "own", False)
    with pytest.raises(ConfigError, match="not declared as your own"):
        run_attack(SearchAttack(feedback, model="m"), feedback.meter)
    assert tea_goal().catalogue.own


def found(config: RankSearchConfig, *, calls: float = 1000.0, seed: int = 0) -> list[str]:
    attack = SearchAttack(praise_feedback(calls), config, model="m", seed=seed)
    return [one.text for one in attack.steps()]


def test_ranks_alone_lead_to_the_word_that_counts() -> None:
    config = RankSearchConfig(branch=12, steps=6)
    attack = SearchAttack(praise_feedback(), config, model="m")
    steps = list(attack.steps())
    assert steps[-1].value == 1
    assert "best" in steps[-1].text
    assert attack.tier == "T1"
    assert [one.value for one in steps] == sorted((one.value for one in steps), reverse=True)


def test_it_goes_on_behind_a_step_as_if_it_had_not_stopped() -> None:
    # Words of one piece: so few that those that were given up would be drawn again.
    config = RankSearchConfig(branch=6, steps=9, longest=1, pieces="phrases")
    before = praise_feedback()
    whole = list(SearchAttack(before, config, model="m").steps())
    for at in range(len(whole) - 1):
        feedback = praise_feedback()
        part = SearchAttack(feedback, config, model="m").steps()
        state = [next(part) for _ in range(at + 1)][-1].state
        after = praise_feedback()
        again = SearchAttack(after, config, model="m").steps(json.loads(json.dumps(state)))
        states = [json.dumps(one.state) for one in again]
        assert states == [json.dumps(one.state) for one in whole[at + 1 :]]
        calls = feedback.meter.spent.calls + after.meter.spent.calls
        assert calls == before.meter.spent.calls


def test_each_setting_changes_what_is_tried() -> None:
    base = RankSearchConfig(branch=6, steps=4, pieces="words")
    others = [
        RankSearchConfig(branch=6, steps=4, pieces="phrases"),
        RankSearchConfig(branch=9, steps=4, pieces="words"),
        RankSearchConfig(branch=6, steps=3, pieces="words"),
        RankSearchConfig(branch=6, steps=4, pieces="words", width=1),
        RankSearchConfig(branch=6, steps=4, pieces="words", longest=1),
        RankSearchConfig(branch=6, steps=4, pieces="words", abandon=1.0),
    ]

    def states(config: RankSearchConfig) -> list[str]:
        attack = SearchAttack(praise_feedback(row=2), config, model="m")
        return [json.dumps(one.state) for one in attack.steps()]

    assert all(states(one) != states(base) for one in others)
    assert found(base, seed=1) != found(base, seed=2) or states(base)


@pytest.mark.parametrize("calls", [4, 5, 9, 23])
def test_the_last_step_is_as_small_as_the_budget_asks_for(calls: int) -> None:
    feedback = praise_feedback(calls=calls)
    steps = list(SearchAttack(feedback, RankSearchConfig(branch=16), model="m").steps())
    assert steps
    assert calls - 2 <= feedback.meter.spent.calls <= calls
    none = praise_feedback(calls=3)
    assert list(SearchAttack(none, RankSearchConfig(branch=16), model="m").steps()) == []
    assert none.meter.spent.calls == 0


def test_texts_that_are_refused_are_never_asked() -> None:
    feedback = praise_feedback()
    config = RankSearchConfig(branch=8, steps=3)
    attack = SearchAttack(feedback, config, model="m", passes=lambda text: "best" not in text)
    steps = list(attack.steps())
    assert attack.tier == "T4"
    assert all("best" not in one.text for one in steps)
    refusing = SearchAttack(praise_feedback(), config, model="m", passes=lambda text: False)
    assert list(refusing.steps()) == []


@pytest.mark.parametrize("key", ["nodes", "dropped", "rng", "step"])
def test_another_state_is_refused(key: str) -> None:
    attack = SearchAttack(praise_feedback(), RankSearchConfig(branch=4, steps=2), model="m")
    state = dict(next(iter(attack.steps())).state)
    state[key] = [[[9999], 1.0]] if key == "nodes" else None
    with pytest.raises(ResumeError):
        next(iter(attack.steps(state)))


def test_every_kind_has_texts_about_the_product() -> None:
    found = template_texts(tea_goal())
    assert {kind for kind, _ in found} == templates().keys()
    assert all("Black Tea" in text for _, text in found if "best best" not in text)
    assert not any("{" in text for _, text in found)
    assert all(text.startswith(" ") for _, text in found)
