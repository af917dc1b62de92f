"""Reasons: one input hidden after another, and past units against a loop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.retirement.listing.evidence import (
    Influences,
    PastUnits,
    hidden_of,
    influences,
    past_units,
    vectors_of,
)
from adwright.creative.lifetime.retirement.lives import RunningUnits
from adwright.creative.lifetime.retirement.rule import outlook_of
from adwright.creative.lifetime.spell_table import SpellTable
from tests.support.data.small_life_log import SmallLives, small_images

Vectors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def images(drawn_lives: SmallLives) -> Vectors:
    return {"image": small_images(drawn_lives)}


def expected(model: FittedLifetime, table: SpellTable, vectors: Vectors) -> np.ndarray:
    return outlook_of(model.predict(table, vectors), 9).further


def test_an_input_adds_what_is_expected_less_without_it(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, images: Vectors
) -> None:
    ran = drawn_lives.running(14)
    table, seen = ran.table, {"image": images["image"][ran.life]}
    found = influences(drawn_model, table, seen, horizon=9)
    assert found.names == ("spend_now", "sales_now", "colour", "words", "image")
    whole = expected(drawn_model, table, seen)
    # The same, by tables and vectors in which the value is missing.
    numbers, codes = table.numbers.copy(), np.full_like(table.categories, -1)
    numbers[:, 1] = np.nan
    wordless = replace(table, words=table.words[:0], offsets=np.zeros_like(table.offsets))
    blind = {"image": np.full_like(seen["image"], np.nan)}
    for name, other, vectors in (
        ("sales_now", replace(table, numbers=numbers), seen),
        ("colour", replace(table, categories=codes), seen),
        ("words", wordless, seen),
        ("image", table, blind),
    ):
        change = found.change[:, found.names.index(name)]
        hidden = expected(drawn_model, other, vectors)
        np.testing.assert_allclose(change, whole - hidden, atol=1e-5, err_msg=name)
        assert np.abs(change).max() > 0.05
    # What is missing moves nothing.
    missing = np.isnan(seen["image"]).any(1)
    assert missing.any()
    np.testing.assert_allclose(found.change[missing, -1], 0, atol=1e-6)
    assert found.values[2][0] in ("red", "green", "blue")
    assert float(found.values[1][0]) == pytest.approx(table.numbers[0, 1], rel=1e-3)


def test_units_of_short_lives_are_known_by_what_shortens_them(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, images: Vectors
) -> None:
    ran = drawn_lives.running(14)
    found = influences(drawn_model, ran.table, vectors_of(images, ran.life), horizon=9)
    red = ran.table.categories[:, 0] == 0
    colour = found.change[:, 2]
    assert colour[red].mean() < -0.3
    assert colour[~red].mean() > 0


def test_the_strongest_are_named_with_value_and_sign() -> None:
    found = Influences(
        ("a", "b", "image"),
        (["1", "2"], ["x", "y"], ["", ""]),
        np.array([[0.04, -2.0, 0.5], [0.3, 0.1, -0.06]]),
    )
    assert found.strongest(2, "week") == [
        ["b x: -2.0 weeks", "image: +0.5 weeks"],
        ["a 2: +0.3 weeks", "b y: +0.1 weeks"],
    ]
    # A change that is too small to show is no reason.
    assert found.strongest(3, "day")[0] == ["b x: -2.0 days", "image: +0.5 days"]


def test_nearest_past_units_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    past = rng.integers(0, 4, (400, 3)).astype(np.float32)  # with ties
    asked = rng.integers(0, 4, (600, 3)).astype(np.float32)
    life = rng.permutation(1000)[:400]
    found, distance = PastUnits(life, past).nearest(asked, 4)
    place = {each: at for at, each in enumerate(life.tolist())}
    for unit in range(0, 600, 37):
        far = sorted(math.dist(asked[unit], each) for each in past)
        np.testing.assert_allclose(distance[unit], far[:4], atol=1e-6)
        of = [math.dist(asked[unit], past[place[each]]) for each in found[unit].tolist()]
        np.testing.assert_allclose(of, far[:4], atol=1e-6)
        assert len(set(found[unit].tolist())) == 4
        named = list(zip(of, found[unit].tolist(), strict=True))
        assert named == sorted(named)
    few, _ = PastUnits(life[:2], past[:2]).nearest(asked, 4)
    assert few.shape == (600, 2)
    none, _ = PastUnits(life[:0], past[:0]).nearest(asked, 4)
    assert none.shape == (600, 0)


def test_past_units_ended_before_and_are_known_as_of_an_earlier_period(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, images: Vectors
) -> None:
    log = drawn_lives.log
    drawn_lives.asked.clear()
    past = past_units(drawn_model, drawn_lives, 14, images)
    assert drawn_lives.asked == [13, 12, 10, 6]
    assert (log.last[past.life] < 14).all()
    assert len(set(past.life.tolist())) == len(past.life) > 50
    known: dict[int, np.ndarray] = {}
    for at in (6, 10, 12, 13):
        ran = drawn_lives.running(at)
        hidden = hidden_of(drawn_model, ran.table, vectors_of(images, ran.life))
        known |= dict(zip(ran.life.tolist(), hidden, strict=True))
    for life, hidden in zip(past.life.tolist(), past.hidden, strict=True):
        np.testing.assert_allclose(hidden, known[life], atol=1e-5)
    assert len(past_units(drawn_model, drawn_lives, 14, images, most=10).life) == 10
    assert len(past_units(drawn_model, drawn_lives, 1, images).life) == 0
    # Where a life may pause, its end is known later.
    paused = past_units(drawn_model, SmallLives(gap=4), 14)
    assert (log.last[paused.life] < 10).all()
    assert len(paused.life) > 20


def test_what_the_heads_read_gives_the_hazards(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    ran: RunningUnits = drawn_lives.running(14)
    hidden = hidden_of(drawn_model, ran.table)
    head = drawn_model.network.heads[0]
    weight, bias = (head.get_parameter(name).detach().numpy() for name in ("weight", "bias"))
    logits = hidden @ weight.T + bias
    steps = drawn_model.predict(ran.table).steps[0]
    np.testing.assert_allclose(steps, -np.log1p(np.exp(logits)), atol=1e-4)
