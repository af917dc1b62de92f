from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.creative.editor.guards.locks import DirectionCard, DirectionRules, vector_hash
from tests.support.creative.edited_pictures import LOCKED, VECTORS

CARDS = tuple(
    DirectionCard.of(name, "expression", VECTORS[name])
    for name in ("smile", "gaze", "glow", "calm")
)
RULES = DirectionRules(CARDS, LOCKED, unknown=("ethnicity",))


def codes(amounts: dict[str, float], vectors: dict = VECTORS, **more: dict) -> list[str]:
    return [one.code for one in RULES.refusals(vectors, amounts, 0, **more)]


def test_what_is_on_the_list_passes() -> None:
    assert codes({"smile": 1.5, "gaze": -1.0}) == []
    assert codes({"glow": 0.8}) == []
    assert codes({}) == []


def test_what_is_not_does_not() -> None:
    assert codes({"pose": 0.1}) == ["not_allowed"]
    assert codes({"age": 0.1}) == ["locked_direction"]
    assert codes({"feminine": 0.1}) == ["locked_direction"]
    assert codes({"none": 0.1}) == ["unknown_direction"]
    assert codes({"age": 0.0}) == ["locked_direction"]
    assert codes({"smile": 1.6}) == ["too_far"]


def test_a_name_does_not_hide_a_vector() -> None:
    assert codes({"smile": 0.1}, VECTORS | {"smile": VECTORS["age"]}) == ["locked_direction"]
    assert codes({"smile": 0.1}, VECTORS | {"smile": VECTORS["pose"]}) == ["renamed_direction"]
    listed = DirectionRules(
        (DirectionCard.of("smile", "light", VECTORS["age"]),), LOCKED, unknown=("ethnicity",)
    )
    (found,) = listed.refusals({"smile": VECTORS["age"]}, {"smile": 0.2}, 1)
    assert (found.code, found.face) == ("locked_direction", 1)


def test_a_mixture_of_allowed_ones_that_comes_to_a_locked_one() -> None:
    assert codes({"glow": 0.5, "calm": 0.5}) == ["mixture"]
    assert codes({"glow": 0.5, "calm": -0.5}) == []
    assert codes({"glow": 1.0}) == ["mixture"]


def test_small_steps_add_up() -> None:
    assert codes({"glow": 0.4}, before={"glow": 0.4}) == []
    assert codes({"glow": 0.4}, before={"glow": 0.6}) == ["mixture"]
    assert codes({"smile": 0.5}, before={"smile": 1.1}) == ["too_far"]
    assert codes({"smile": -0.5}, before={"smile": 1.4}) == []
    assert codes({"smile": 0.1}, before={"glow": 0.5, "calm": 0.5}) == ["mixture"]


@given(amounts=st.lists(st.floats(-1.5, 1.5), min_size=4, max_size=4))
def test_whatever_passes_leaks_little(amounts: list[float]) -> None:
    told = dict(zip(("smile", "gaze", "glow", "calm"), amounts, strict=True))
    moved = np.sum([value * VECTORS[name] for name, value in told.items()], axis=0)
    # The literal projection on the locked axes of the made-up space.
    leak = float(np.linalg.norm(moved[[4, 5, 6]]))
    assert RULES.leak(moved) == pytest.approx(leak, abs=1e-9)
    if not codes(told):
        assert leak <= 0.25 + 1e-9
        assert leak <= 0.35 * np.linalg.norm(moved) + 1e-9


def test_locked_directions_span_what_they_span() -> None:
    skewed = {"gender": 3 * VECTORS["age"] + VECTORS["feminine"], "age": VECTORS["age"]}
    rules = DirectionRules((), skewed, unknown=("skin", "ethnicity"))
    assert rules.leak(VECTORS["feminine"]) == pytest.approx(1)
    twice = {"skin": np.stack([VECTORS["age"], 2 * VECTORS["age"]])}
    rules = DirectionRules((), twice, unknown=("gender", "age", "ethnicity"))
    assert rules.leak(3 * VECTORS["age"]) == pytest.approx(3)
    assert rules.leak(VECTORS["smile"]) == pytest.approx(0)


def test_bounds_count() -> None:
    strict = DirectionRules(CARDS, LOCKED, ("ethnicity",), most_leak=0.1, most_moved=0.5)
    found = [one.code for one in strict.refusals(VECTORS, {"glow": 0.4, "smile": 0.6}, 0)]
    assert found == ["too_far"]
    assert [one.code for one in strict.refusals(VECTORS, {"glow": 0.4}, 0)] == ["mixture"]
    none = DirectionRules(CARDS, LOCKED, ("ethnicity",), most_share=0.2)
    assert [one.code for one in none.refusals(VECTORS, {"glow": 0.1}, 0)] == ["mixture"]


def test_nobody_forgets_a_group_unseen() -> None:
    with pytest.raises(ConfigError, match="locked groups"):
        DirectionRules(CARDS, LOCKED)
    with pytest.raises(ConfigError, match="two cards"):
        DirectionRules((CARDS[0], CARDS[0]), LOCKED, ("ethnicity",))
    for vector in (np.zeros(8), np.full(8, np.nan), np.ones(7)):
        with pytest.raises(ConfigError, match="locked direction"):
            DirectionRules(CARDS, LOCKED | {"ethnicity": vector})
    with pytest.raises(ConfigError, match="most_leak"):
        DirectionRules(CARDS, LOCKED, ("ethnicity",), most_leak=-1)
    with pytest.raises(ConfigError, match="a direction has shape"):
        RULES.leak(np.ones(7))
    with pytest.raises(ConfigError, match="group"):
        DirectionCard("smile", "beauty", "0")  # type: ignore[arg-type]
    open_rules = DirectionRules(CARDS, {}, ("gender", "age", "skin", "ethnicity"))
    assert open_rules.leak(VECTORS["age"]) == 0
    assert vector_hash(VECTORS["age"]) != vector_hash(VECTORS["smile"])
