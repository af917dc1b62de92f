"""Targets: what is asked of them, and the rankings that they give."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from adwright.audit.catalogue import ShopListing, draw_orders
from adwright.audit.targets.chat import plain_prompt
from adwright.audit.targets.likelihood import (
    LikelihoodConfig,
    LikelihoodTarget,
    answer_ids,
    names_alone,
    prompt_tokens,
)
from adwright.audit.targets.target import (
    Ask,
    AveragedTarget,
    DefendedTarget,
    FunctionTarget,
    Ranking,
    RankingCost,
    Target,
    best_first,
)
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.lm.engine.generation import Scores, TokenPrompt
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.torch_engine.model import TorchModel
from tests.support.audit.scripted_targets import by_rating, gullible, stubborn
from tests.support.audit.shops import REQUEST, kettles, released
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

SHOP = kettles()
ASK = Ask(SHOP.listings, REQUEST, (2, 0, 1, 5, 4, 3))


class ByPlace:
    """What is shown first is best; and keeps the questions."""

    name = "by place"
    closed = False

    def __init__(self, *, scores: bool = True, few: int = 6) -> None:
        self.scores, self.few = scores, few
        self.asked: list[Ask] = []

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        self.asked.extend(asks)
        return [self.one(ask) for ask in asks]

    def one(self, ask: Ask) -> Ranking:
        scores = [0.0] * 6
        for place, row in enumerate(ask.order):
            scores[row] = -float(place)
        cost = RankingCost(1, 10, 0, 0.5)
        if self.scores:
            return Ranking(tuple(ask.order), tuple(scores), cost, also={"mean": tuple(scores)})
        return Ranking(tuple(ask.order)[: self.few], None, cost, "short")

    def close(self) -> None:
        self.closed = True


def test_all_orders_are_asked_and_averaged() -> None:
    inner = ByPlace()
    (found,) = AveragedTarget(inner, 4, seed=1).rank([ASK])
    assert len({tuple(ask.order) for ask in inner.asked}) == 4
    assert tuple(inner.asked[0].order) == ASK.order
    expected = np.mean([inner.one(ask).scores for ask in inner.asked], axis=0)
    assert found.scores == pytest.approx(expected)
    assert found.also["mean"] == pytest.approx(expected)
    assert found.order == tuple(sorted(ASK.order, key=lambda row: -expected[row]))
    assert found.cost == RankingCost(4, 40, 0, 2.0)


def test_a_balanced_mean_leaves_nothing_of_the_place() -> None:
    (found,) = AveragedTarget(ByPlace(), 6, balanced=True).rank([ASK])
    assert found.scores == pytest.approx([-2.5] * 6)
    assert found.order == ASK.order


def test_more_orders_than_turns_are_drawn() -> None:
    inner = ByPlace()
    AveragedTarget(inner, 8, balanced=True).rank([ASK])
    assert len({tuple(ask.order) for ask in inner.asked}) == 8


def test_seeds_and_questions_have_orders_of_their_own() -> None:
    def orders(seed: int) -> list[tuple[int, ...]]:
        inner = ByPlace()
        AveragedTarget(inner, 3, seed=seed).rank([ASK, Ask(SHOP.listings, REQUEST, range(6))])
        return [tuple(ask.order) for ask in inner.asked]

    assert orders(0) == orders(0) != orders(1)
    assert len(set(orders(0))) == 6


def test_without_scores_ranks_are_averaged_and_the_unnamed_stay_out() -> None:
    inner = ByPlace(scores=False, few=2)
    (found,) = AveragedTarget(inner, 2).rank([ASK])
    ranks = np.mean([inner.one(ask).ranks(6) for ask in inner.asked], axis=0)
    named = {row for ask in inner.asked for row in tuple(ask.order)[:2]}
    assert set(found.order) == named
    assert list(found.order) == sorted(named, key=lambda row: (ranks[row], ASK.order.index(row)))
    assert found.note == "short"


def test_one_order_is_the_target_itself() -> None:
    inner = ByPlace()
    target = AveragedTarget(inner, 1)
    assert target.rank([ASK])[0].order == ASK.order
    assert target.name == "by place, mean of 1 orders"
    target.close()
    assert inner.closed
    with pytest.raises(ConfigError, match="at least 1"):
        AveragedTarget(inner, 0)


class Mute:
    """Takes every text away, and counts."""

    name = "mute"
    cleaned = 0

    def clean(self, listing: ShopListing) -> ShopListing:
        self.cleaned += 1
        return listing.without_texts()


class Renames(Mute):
    """Breaks the promise."""

    def clean(self, listing: ShopListing) -> ShopListing:
        return dataclasses.replace(listing, name="X")


def test_what_a_defence_takes_away_moves_no_rank() -> None:
    loud = SHOP.with_listing(0, SHOP.listings[0].with_text("Ideal For", "the best best best"))
    ask = Ask(loud.listings, REQUEST, range(6))
    assert gullible().rank([ask])[0].order[0] == 0
    target = DefendedTarget(gullible(), Mute())
    ranking = target.rank([ask])[0]
    assert ranking.order == gullible().rank([Ask(SHOP.listings, REQUEST, range(6))])[0].order
    assert target.name == "gullible, defended by mute"
    target.close()


def test_each_listing_is_cleaned_once_and_the_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    defence = Mute()
    target = DefendedTarget(gullible(), defence)
    monkeypatch.setattr("time.process_time", iter(range(0, 600, 6)).__next__)
    first = target.rank([Ask(SHOP.listings, REQUEST, range(6))] * 2)
    target.rank([Ask(SHOP.listings, REQUEST, range(6))])
    assert defence.cleaned == 6
    assert all(one.cost.cpu_seconds >= 3.0 for one in first)


def test_a_defence_changes_texts_alone() -> None:
    with pytest.raises(ConfigError, match="changed the name"):
        DefendedTarget(gullible(), Renames()).clean(SHOP.listings[0])


def test_scores_are_given_in_the_order_shown() -> None:
    (ranking,) = FunctionTarget(by_rating, name="rating").rank([ASK])
    assert ranking.order == (5, 4, 3, 2, 1, 0)
    assert ranking.scores == (4.0, 4.1, 4.2, 4.3, 4.4, 4.5)
    assert ranking.cost.calls == 1


def test_names_rank_too_and_may_be_few() -> None:
    def names(listings: Sequence[ShopListing], request: str) -> list[str]:
        assert request == REQUEST
        return [listings[0].name, "Samovar", listings[0].name]

    target = FunctionTarget(names, name="mine")
    assert target.rank([ASK])[0].order == (2, 5)
    assert target.name == "mine"
    target.close()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ([1.0], "6 finite scores"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")], "6 finite scores"),
        ([None] * 6, "6 finite scores"),
        (["Kettle 9"], "not shown"),
        (3, "failed: TypeError"),
    ],
)
def test_answers_that_are_none(answer: Any, what: str) -> None:
    with pytest.raises(DataError, match=what):
        FunctionTarget(lambda listings, request: answer, name="odd").rank([ASK])


def test_errors_of_the_function_are_told() -> None:
    def fails(listings: Sequence[ShopListing], request: str) -> list[float]:
        raise KeyError("Rating")

    def refuses(listings: Sequence[ShopListing], request: str) -> list[float]:
        raise ConfigError("no")

    with pytest.raises(DataError, match="the function failed: KeyError") as caught:
        FunctionTarget(fails, name="odd").rank([ASK])
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ConfigError, match="no"):
        FunctionTarget(refuses, name="odd").rank([ASK])


pytest.importorskip("transformers", reason="the extra lm is not installed")


LIKELIHOOD_SHOP = (ShopListing("Tea"), ShopListing("Coffee"), ShopListing("Bread"))
TEA = Ask(LIKELIHOOD_SHOP, "Tea?", (2, 0, 1))
PRIOR = LikelihoodConfig("prior")


@pytest.fixture(scope="module")
def model() -> TorchModel:
    """With room for a question of three listings."""
    network = tiny_llama()
    network.config.max_position_embeddings = 2048
    return TorchModel(network, tiny_tokens(), name="tiny")


class Told(ScriptedModel):
    """Gives each continuation the log-likelihood that it was told, by its text; after a prompt
    without a price, the one of names alone."""

    def __init__(self, likely: dict[str, float], alone: dict[str, float] | None = None) -> None:
        super().__init__(ScriptedConfig())
        self.likely = likely
        self.alone = likely if alone is None else alone
        self.calls = self.pairs = 0

    def score(
        self,
        prompts: Sequence[object],
        continuations: Sequence[str | TokenPrompt],
        *,
        cancel: object = None,
    ) -> Scores:
        self.calls += 1
        self.pairs += len(prompts)
        rows = []
        for prompt, one in zip(prompts, continuations, strict=True):
            assert isinstance(one, TokenPrompt)
            assert isinstance(prompt, TokenPrompt)
            ids = one.ids
            priced = "Price" in self.tokens.decode(prompt.ids)
            p = (self.likely if priced else self.alone)[self.tokens.decode(ids)]
            rows.append(np.full(len(ids), math.log(p) / len(ids)))
        return Scores(tuple(rows))


def test_scores_are_those_of_a_literal_reference(model: TorchModel) -> None:
    import torch

    (found,) = LikelihoodTarget(model).scored([TEA])
    assert found.prior is None
    tokens, network = model.tokens, tiny_llama()
    prompt = list(prompt_tokens(tokens, TEA))
    for row, one in enumerate(LIKELIHOOD_SHOP):
        name = tokens.encode(f" {one.name}", special=False)
        with torch.inference_mode():
            logits = network(torch.tensor([prompt + name])).logits[0].double()
        logp = logits.log_softmax(-1)
        expected = sum(float(logp[len(prompt) - 1 + at, token]) for at, token in enumerate(name))
        assert found.total[row] == pytest.approx(expected, abs=0.02)
        assert found.mean[row] == pytest.approx(expected / len(name), abs=0.02)


def test_a_question_is_one_call_and_its_cost_is_counted(
    model: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = LikelihoodTarget(model)
    monkeypatch.setattr("time.process_time", iter(range(1, 600, 3)).__next__)
    other = Ask(LIKELIHOOD_SHOP, "Coffee?", (0, 1, 2))
    first, second = target.rank([TEA, other])
    names = sum(len(answer_ids(model.tokens, one.name)) for one in LIKELIHOOD_SHOP)
    assert first.cost.tokens_in == len(prompt_tokens(model.tokens, TEA)) + names
    assert (first.cost.calls, first.cost.tokens_out, first.cost.cpu_seconds) == (1, 0, 1.5)
    again = LikelihoodTarget(model).rank([other])[0]
    assert again.scores == pytest.approx(second.scores, abs=1e-3)
    assert LikelihoodTarget(model).rank([]) == []
    told = Told(dict.fromkeys((" Tea", " Coffee", " Bread"), 0.1))
    LikelihoodTarget(told).rank([TEA, other, TEA])
    assert told.calls == 1


def test_the_rules_rank_by_sum_or_by_mean() -> None:
    model = Told({" Tea": 0.3, " Coffee": 0.2, " Bread": 0.01})
    by_sum = LikelihoodTarget(model).rank([TEA])[0]
    by_mean = LikelihoodTarget(model, LikelihoodConfig(rule="mean")).rank([TEA])[0]
    assert by_sum.order == (0, 1, 2)
    assert by_mean.order == (1, 0, 2)
    assert by_sum.also == {"mean": by_mean.scores}
    assert by_mean.also == {"sum": by_sum.scores}
    assert by_sum.by("mean", TEA.order).order == by_mean.order


PRICED = tuple(ShopListing(name, {"Price": 3}) for name in ("Tea", "Coffee", "Bread"))


def test_the_prior_is_the_likelihood_of_the_same_names_without_their_records() -> None:
    with_records = {" Tea": 0.3, " Coffee": 0.2, " Bread": 0.05}
    alone = {" Tea": 0.6, " Coffee": 0.1, " Bread": 0.05}
    model = Told(with_records, alone)
    (found,) = LikelihoodTarget(model, PRIOR).rank([Ask(PRICED, "?", (2, 0, 1))])
    expected = [math.log(with_records[name] / alone[name]) for name in alone]
    assert found.scores == pytest.approx(expected)
    assert found.order == (1, 2, 0)
    assert set(found.also) == {"sum", "mean"}
    assert found.by("sum", (2, 0, 1)).order == (0, 1, 2)
    config = LikelihoodConfig(with_prior=True)
    (beside,) = LikelihoodTarget(model, config).rank([Ask(PRICED, "?", (2, 0, 1))])
    assert beside.scores == found.also["sum"]
    assert beside.also["prior"] == found.scores


def test_the_prior_is_read_once_for_a_request_and_an_order() -> None:
    model = Told(dict.fromkeys((" Tea", " Coffee", " Bread"), 0.1))
    target = LikelihoodTarget(model, PRIOR)
    first, second, other = target.rank(
        [Ask(PRICED, "?", order) for order in ((0, 1, 2), (0, 1, 2), (1, 0, 2))]
    )
    assert (first.cost.calls, second.cost.calls, other.cost.calls) == (2, 1, 2)
    assert first.cost.tokens_in > second.cost.tokens_in
    assert (model.calls, model.pairs) == (1, 3 * 3 + 2 * 3)
    texts = tuple(ShopListing(one.name, one.attributes, {"For": "all"}) for one in PRICED)
    (known,) = target.rank([Ask(texts, "?", (0, 1, 2))])
    (asked,) = target.rank([Ask(texts, "Another?", (0, 1, 2))])
    assert (known.cost.calls, asked.cost.calls) == (1, 2)


def test_the_prior_of_a_row_is_its_own_whatever_the_order_of_the_rows() -> None:
    likely = {" Tea": 0.3, " Coffee": 0.2, " Bread": 0.05}
    target = LikelihoodTarget(Told(likely, {" Tea": 0.1, " Coffee": 0.4, " Bread": 0.5}), PRIOR)
    (one,) = target.rank([Ask(PRICED, "?", (0, 1, 2))])
    turned = (PRICED[2], PRICED[0], PRICED[1])
    (other,) = target.rank([Ask(turned, "?", (1, 2, 0))])
    assert other.cost.calls == 1
    assert one.scores is not None
    assert other.scores is not None
    assert other.scores == pytest.approx([one.scores[2], one.scores[0], one.scores[1]])


def test_names_alone_hold_nothing_that_a_seller_writes_but_names(model: TorchModel) -> None:
    import torch

    listing = ShopListing("Tea", {"Price": 3}, {"For": "all"}, "north", name_field="Title")
    bare = names_alone(Ask((listing, ShopListing("Pot")), "Tea?", (1, 0)))
    assert [one.shown() for one in bare.shown] == ['{"Name": "Pot"}', '{"Title": "Tea"}']
    (found,) = LikelihoodTarget(model, PRIOR).scored([TEA])
    prompt = list(prompt_tokens(model.tokens, names_alone(TEA)))
    network = tiny_llama()
    for row, one in enumerate(LIKELIHOOD_SHOP):
        name = list(answer_ids(model.tokens, one.name))
        with torch.inference_mode():
            logp = network(torch.tensor([prompt + name])).logits[0].double().log_softmax(-1)
        expected = sum(float(logp[len(prompt) - 1 + at, token]) for at, token in enumerate(name))
        assert found.prior is not None
        assert found.prior[row] == pytest.approx(expected, abs=0.02)


def test_a_name_does_not_get_the_likelihood_of_names_that_continue_it() -> None:
    shop = tuple(map(ShopListing, ("Snap", "Snap Pro", "Snap Pro Max", "Snapper", "Can")))
    likely = {" Snap": 0.5, " Snap Pro": 0.4, " Snap Pro Max": 0.1, " Snapper": 0.05, " Can": 0.06}
    (found,) = LikelihoodTarget(Told(likely)).scored([Ask(shop, "?", range(5))])
    assert np.exp(found.total) == pytest.approx([0.05, 0.3, 0.1, 0.05, 0.06])


def test_a_name_that_is_always_continued_is_never_meant() -> None:
    shop = (ShopListing("A"), ShopListing("AB"))
    told = Told({" A": 0.5, " AB": 0.5})
    (found,) = LikelihoodTarget(told).scored([Ask(shop, "?", (0, 1))])
    assert found.total[0] < -27
    assert np.isfinite(found.total).all()


def test_equal_scores_stand_as_they_are_shown() -> None:
    even = Told(dict.fromkeys((" Tea", " Pot", " Cup"), 0.5))
    shop = (ShopListing("Tea"), ShopListing("Pot"), ShopListing("Cup"))
    assert LikelihoodTarget(even).rank([Ask(shop, "?", (2, 0, 1))])[0].order == (2, 0, 1)


def test_a_model_without_a_template_is_asked_in_one_text(model: TorchModel) -> None:
    ids = prompt_tokens(model.tokens, TEA, "plain")
    assert model.tokens.decode(ids) == plain_prompt(TEA) + "1."
    plain = LikelihoodTarget(model, LikelihoodConfig(form="plain")).rank([TEA])[0]
    assert plain.scores != LikelihoodTarget(model).rank([TEA])[0].scores


def test_what_has_no_room_is_refused(model: TorchModel) -> None:
    long = Ask((ShopListing("A" * 9000), ShopListing("B")), "?", (0, 1))
    with pytest.raises(ValueInvalidError, match="no room"):
        LikelihoodTarget(TorchModel(tiny_llama(), tiny_tokens(), name="tiny")).rank([long])


def test_its_name_names_the_model_and_the_rule() -> None:
    target = LikelihoodTarget(Told({}), LikelihoodConfig(rule="mean"))
    assert target.name == "scripted, likelihood of the name (mean)"
    target.close()


def test_released_catalogues_have_names_that_begin_apart(shared_data: object) -> None:
    from pathlib import Path

    assert isinstance(shared_data, Path)
    tokens = tiny_tokens()
    for name in ("coffee_machines", "books", "cameras"):
        shop = released(shared_data, name)
        ids = [answer_ids(tokens, one) for one in shop.names]
        assert len(set(ids)) == 10
        assert not any(a != b and b[: len(a)] == a for a in ids for b in ids)
        assert len(draw_orders(len(shop), 3, seed=0)) == 3


def test_ranks_begin_at_one_and_the_unmentioned_come_last() -> None:
    ranking = Ranking((2, 0))
    assert [ranking.rank_of(row, of=4) for row in range(4)] == [2, 5, 1, 5]
    assert ranking.ranks(4).tolist() == [2, 5, 1, 5]
    assert Ranking(()).ranks(2).tolist() == [3, 3]


def test_costs_add_up() -> None:
    assert RankingCost(1, 2, 3, 4.0) + RankingCost(10, 20, 30, 40.0) == RankingCost(11, 22, 33, 44)


def test_a_question_shows_each_listing_once() -> None:
    shop = kettles()
    ask = Ask(shop.listings, REQUEST, (5, 4, 3, 2, 1, 0))
    assert [one.name for one in ask.shown] == list(reversed(shop.names))
    for order in ((0, 1), (0, 1, 2, 3, 4, 4), (1, 2, 3, 4, 5, 6)):
        with pytest.raises(ConfigError, match="each listing once"):
            Ask(shop.listings, REQUEST, order)


def test_of_equal_scores_the_one_shown_first_is_first() -> None:
    assert best_first((1.0, 2.0, 1.0, 2.0), (3, 2, 1, 0)) == (3, 1, 2, 0)


def test_another_rule_ranks_likewise() -> None:
    ranking = Ranking((0, 1), (2.0, 1.0), RankingCost(1), "note", {"mean": (1.0, 2.0)})
    other = ranking.by("mean", (0, 1))
    assert (other.order, other.scores, other.cost, other.note) == (
        (1, 0),
        (1.0, 2.0),
        RankingCost(1),
        "note",
    )


def test_targets_are_told_by_their_methods() -> None:
    assert isinstance(stubborn(), Target)
    assert not isinstance(object(), Target)
