from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.audit.attacks.gradient import ChosenSuffix, GradientConfig, SuffixSearch
from adwright.audit.attacks.gradient_reading import SuffixPlace, SuffixReader, allowed_tokens
from tests.support.audit.attacked import ORDERS, tea_goal, tiny_network
from tests.support.audit.literal_gcg import literal_loss, literal_prompt, literal_step
from tests.support.lm.tiny_llama import VOCABULARY, tiny_tokens

TOKENS = tiny_tokens()
ALLOWED = allowed_tokens(TOKENS, VOCABULARY)
EXACT = GradientConfig(
    tokens=6, start="x", candidates=20, top_k=30, order_count=1, reading="exact", abandon=1.0
)


def stepped(config: GradientConfig, *, orders: int = 1, seed: int = 0) -> ChosenSuffix:
    place = SuffixPlace(tea_goal(), TOKENS, config.start_text)
    reader = SuffixReader(tiny_network(), fluent=config.fluency > 0)
    search = SuffixSearch(place, reader, config, ALLOWED)
    bases = search.read([place.prompt(order) for order in ORDERS[:orders]], place.first)
    chosen = search.step(bases, 0, np.random.default_rng(seed))
    assert chosen is not None
    return chosen


@pytest.mark.parametrize("seed", [0, 1])
def test_a_step_is_that_of_the_plain_algorithm(seed: int) -> None:
    suffix = TOKENS.encode(EXACT.start_text, special=False)
    expected, loss = literal_step(
        tiny_network(), tea_goal(), TOKENS, suffix, ORDERS[0],
        allowed=ALLOWED, top_k=30, count=20, rng=np.random.default_rng(seed),
    )  # fmt: skip
    chosen = stepped(EXACT, seed=seed)
    assert chosen.suffix == expected
    assert chosen.value == pytest.approx(loss, abs=1e-5)
    assert chosen.trials == 20


def test_over_orders_the_mean_counts() -> None:
    chosen = stepped(replace(EXACT, order_count=3), orders=3)
    text = TOKENS.decode(chosen.suffix)
    losses = [
        literal_loss(tiny_network(), literal_prompt(tea_goal(), TOKENS, text, order))
        for order in ORDERS
    ]
    assert chosen.value == pytest.approx(float(np.mean(losses)), abs=1e-5)
    assert chosen.trials == 60
    assert [base.suffix for base in chosen.bases] == [chosen.suffix] * 3


def test_looks_and_giving_up_lead_to_a_text_that_is_read_exactly() -> None:
    config = replace(EXACT, order_count=3, reading="look", abandon=0.25)
    chosen = stepped(config, orders=3)
    assert chosen.trials == 20 + 5 + 2
    best = stepped(replace(EXACT, order_count=3), orders=3)
    assert best.value <= chosen.value + 1e-6
    text = TOKENS.decode(chosen.suffix)
    prompt = literal_prompt(tea_goal(), TOKENS, text, ORDERS[0])
    assert chosen.bases[0].loss == pytest.approx(literal_loss(tiny_network(), prompt), abs=1e-5)


def test_more_that_are_verified_are_no_worse() -> None:
    looks = replace(EXACT, reading="look")
    assert stepped(replace(looks, verified=6)).value <= stepped(looks).value + 1e-6


def test_changes_of_the_best_are_tried_together() -> None:
    chosen, alone = stepped(replace(EXACT, coordinates=4)), stepped(EXACT)
    first = TOKENS.encode(EXACT.start_text, special=False)
    assert chosen.value <= alone.value + 1e-6
    assert chosen.trials > 20
    assert sum(a != b for a, b in zip(chosen.suffix, first, strict=True)) >= 1


def test_several_tokens_can_be_swapped_at_once() -> None:
    first = TOKENS.encode(EXACT.start_text, special=False)
    chosen = stepped(replace(EXACT, swaps=2))
    assert sum(a != b for a, b in zip(chosen.suffix, first, strict=True)) == 2


def test_fluency_asks_for_text_that_the_model_expects() -> None:
    plain = stepped(EXACT)
    fluent = stepped(replace(EXACT, fluency=5.0, pool=12))
    assert fluent.suffix != plain.suffix
    own = [base.own for base in fluent.bases]
    assert fluent.value == pytest.approx(
        float(np.mean([base.loss + 5.0 * base.own for base in fluent.bases]))
    )
    assert own[0] > 0
    wide = stepped(replace(EXACT, fluency=5.0, pool=400))
    assert wide.suffix != fluent.suffix


def test_without_a_candidate_there_is_no_step() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, EXACT.start_text, passes=lambda text: False)
    search = SuffixSearch(place, SuffixReader(tiny_network()), EXACT, ALLOWED)
    bases = search.read([place.prompt(ORDERS[0])], place.first)
    assert search.step(bases, 0, np.random.default_rng(0)) is None
