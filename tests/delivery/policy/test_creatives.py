"""Which creative stands at a place: its exact chance, and what a decision says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from adwright.core.clock import FixedClock
from adwright.core.errors import ValueInvalidError
from adwright.data.schema import EVENT_SCHEMA
from adwright.delivery.decision import Decision, Request, ShownCreative
from adwright.delivery.policy.creatives import (
    CreativePolicy,
    CreativeSettings,
    LiveCreative,
    Trust,
    beliefs,
    best_of_betas,
    creative_chances,
    learn_trust,
)
from adwright.delivery.policy.rules import beta_chances
from tests.support.delivery.policy_requests import NOON, request

FOUR = tuple(LiveCreative(f"c{number}", "tea", "spring") for number in range(4))
A, B = np.array([3.0, 5.0, 9.0, 4.0]), np.array([90.0, 100.0, 110.0, 60.0])


def decision(**changes: object) -> Decision:
    """Two places, without creatives."""
    asked = request(context={"store": "north"})
    numbers = np.array([0.5, 1.0])
    made = Decision(asked, "p", ("b", "a"), numbers, numbers, ("drawn", "best"), "fine")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_place_with_a_creative_says_so_and_one_without_stays_as_it_is() -> None:
    plain = decision()
    made = replace(plain, shown=(ShownCreative("c", "spring", 0.25), None))
    first, second = made.places()
    assert first == plain.places()[0] | {
        "creative_id": "c",
        "campaign_id": "spring",
        "creative_propensity": 0.25,
    }
    assert second == plain.places()[1]
    row, other = made.impressions()
    assert list(row) == EVENT_SCHEMA.names
    assert (row["creative_id"], row["campaign_id"], row["propensity"]) == ("c", "spring", 0.125)
    assert json.loads(row["context"]) == {
        "stage": "fine",
        "store": "north",
        "creative_propensity": 0.25,
    }
    assert other == plain.impressions()[1]
    assert replace(plain, shown=(None, None)).impressions() == plain.impressions()
    (nobody, _) = replace(plain, shown=(ShownCreative("c", "", 1.0), None)).impressions()
    assert (nobody["campaign_id"], nobody["propensity"]) == (None, 0.5)


def test_wrong_creatives_of_a_decision_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="expected 2 creatives and found 1"):
        decision(shown=(None,))
    with pytest.raises(ValueInvalidError, match="creative_id is empty"):
        ShownCreative("", "", 1.0)
    for chance in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueInvalidError, match="above 0 and at most 1"):
            ShownCreative("c", "", chance)


def rows(
    creative_id: str,
    shown: int,
    clicked: int = 0,
    item_id: str = "tea",
    kind: str = "click",
    **changes: Any,
) -> list[dict[str, Any]]:
    """Events of so many impressions and responses."""
    event = dict.fromkeys(EVENT_SCHEMA.names) | {
        "time": NOON,
        "request_id": "r0",
        "user_id": "ann",
        "item_id": item_id,
        "creative_id": creative_id,
        **changes,
    }
    kinds = ["impression"] * shown + [kind] * clicked
    return [event | {"kind": each} for each in kinds]


def policy(
    counts: Mapping[str, tuple[int, int]] | None = None,
    live: Sequence[LiveCreative] = FOUR,
    **config: Any,
) -> CreativePolicy:
    made = CreativePolicy(CreativeSettings(**config), clock=FixedClock(NOON))
    made.put(live)
    for creative_id, (shown, clicked) in (counts or {}).items():
        made.observe(rows(creative_id, shown, clicked))
    return made


def chances(
    made: CreativePolicy, asked: Request | None = None, **ruled_out: Any
) -> dict[str, float]:
    offered, found = made.chances("tea", asked or request(), **ruled_out)
    return dict(zip([one.creative_id for one in offered], found.tolist(), strict=True))


def test_the_chances_of_each_kind() -> None:
    none = np.zeros(4)

    def of(shift: np.ndarray = none, **config: Any) -> np.ndarray:
        return creative_chances(CreativeSettings(**config), A, B, shift)

    assert of(kind="uniform").tolist() == [0.25] * 4
    assert of(kind="greedy").tolist() == [0, 0, 1, 0]
    assert of(np.array([9.0, 0, 0, 0]), kind="greedy").tolist() == [1, 0, 0, 0]
    assert of(kind="epsilon", epsilon=0.2) == pytest.approx([0.05, 0.05, 0.85, 0.05])
    assert of(kind="greedy", floor=0.1) == pytest.approx([0.1, 0.1, 0.7, 0.1])
    assert of(kind="greedy", floor=0.9) == pytest.approx([0.25] * 4)
    for times in (1.0, 4.0):
        drawn = np.random.default_rng(0).beta(times * A, times * B, (40_000, 4)).argmax(1)
        found = of(sharpness=times)
        assert found.sum() == pytest.approx(1, abs=1e-12)
        assert found == pytest.approx(np.bincount(drawn, minlength=4) / len(drawn), abs=0.01)
    assert of(sharpness=4.0).max() > of(sharpness=1.0).max()
    one = creative_chances(CreativeSettings(), A[:1], B[:1], none[:1])
    assert one.tolist() == [1.0]


def test_many_items_at_once_are_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 4000, (30, 4)).astype(float)
    clicked = np.floor(shown * 0.02)
    prior = np.array([[1.0, 1.0], [16.0, 1000.0], [0.2, 10.0]])[rng.integers(0, 3, 30)]
    a, b = prior[:, :1] + clicked, prior[:, 1:] + shown - clicked
    shift = np.array([0.0, 0.2, -0.1, 0.0])
    found = best_of_betas(a, b, shift)
    singly = [beta_chances(*rows, shift) for rows in zip(a, b, strict=True)]
    assert found == pytest.approx(np.stack(singly), abs=3e-6)
    assert best_of_betas(a[7], b[7], shift).tolist() == found[7].tolist()
    # Too narrow for any grid: read as wider, and still right about the rest.
    narrow = best_of_betas(np.array([5e7, 5.1e7, 2.0]), np.array([5e9, 5e9, 50.0]), np.zeros(3))
    assert narrow[0] < 0.01
    assert narrow[2] == pytest.approx(stats.beta(2, 50).sf(5.1e7 / 5.051e9), abs=0.005)


def test_each_is_drawn_as_often_as_its_chance_says() -> None:
    made = policy({"c0": (300, 9), "c1": (200, 3), "c2": (90, 4)}, sharpness=1.0)
    expected = chances(made)
    assert min(expected.values()) > 0.01
    rng, draws = np.random.default_rng(0), 4_000
    found = dict.fromkeys(expected, 0)
    for _ in range(draws):
        shown = made.choose(("other", "tea"), request(), rng)
        assert shown[0] is None
        assert shown[1] is not None
        assert (shown[1].campaign_id, shown[1].chance) == (
            "spring",
            expected[shown[1].creative_id],
        )
        found[shown[1].creative_id] += 1
    square = sum((found[k] - draws * p) ** 2 / (draws * p) for k, p in expected.items())
    assert square < 16.3  # 3 degrees of freedom, p = .001


def test_without_live_creatives_nothing_is_drawn() -> None:
    made = policy()
    rng = np.random.default_rng(0)
    assert made.choose(("jam", "rye"), request(), rng) == ()
    everything = {"stopped": {"c0", "c1", "c2", "c3"}}
    assert made.choose(("tea",), request(), rng, **everything) == ()
    assert rng.random() == np.random.default_rng(0).random()
    assert made.chances("jam", request())[0] == ()


def test_stops_and_closed_campaigns_are_ruled_out_before_the_draw() -> None:
    live = (*FOUR[:3], LiveCreative("c3", "tea", "autumn"))
    made = policy(live=live, kind="uniform")
    assert chances(made) == dict.fromkeys(("c0", "c1", "c2", "c3"), 0.25)
    assert chances(made, stopped={"c1"}) == pytest.approx(dict.fromkeys(("c0", "c2", "c3"), 1 / 3))
    assert chances(made, closed={"spring"}) == {"c3": 1.0}
    assert chances(made, closed={"spring", "autumn"}) == {}
    made.put(FOUR[:1])
    assert chances(made) == {"c0": 1.0}


def test_a_person_sees_a_creative_so_often_at_most() -> None:
    made = policy(kind="uniform", cap=2, cap_hours=2.0)
    made.observe(rows("c0", 1))
    assert len(chances(made)) == 4
    numbers = np.array([1.0])
    shown = (ShownCreative("c0", "", 0.5),)
    asked = request(request_id="r9", k=1)
    decided = Decision(asked, "p", ("tea",), numbers, numbers, ("",), "fine", shown=shown)
    made.reserve(decided)
    assert set(chances(made)) == {"c1", "c2", "c3"}
    made.settle("r9")
    assert len(chances(made)) == 4
    made.observe(decided.impressions())
    assert set(chances(made)) == {"c1", "c2", "c3"}
    assert len(chances(made, request(user_id="ben"))) == 4
    assert len(chances(made, request(time=NOON + timedelta(hours=3)))) == 4


def test_who_has_seen_a_creative_is_shown_it_less() -> None:
    plain, made = policy(), policy(wear=0.5, cap_hours=48.0)
    assert chances(made) == chances(plain)
    seen = [{**row, "user_id": "ann"} for row in rows("c0", 3)]
    made.observe(seen)
    for one in (plain, made):
        one.observe([] if one is made else seen)
    ben, ann = chances(made, request(user_id="ben")), chances(made, request(user_id="ann"))
    assert ben == chances(plain, request(user_id="ben"))
    assert ann["c0"] < 0.5 * ben["c0"]
    assert sum(ann.values()) == pytest.approx(1)
    later = request(user_id="ann", time=NOON + timedelta(hours=49))
    assert chances(made, later) == ben


def test_what_is_counted_moves_the_chances_at_once() -> None:
    made = policy({"c0": (400, 2), "c1": (400, 9)})
    before = chances(made)
    assert before["c1"] > before["c0"]
    assert chances(made) == before
    made.observe(rows("c0", 400, 40))
    assert chances(made)["c0"] > 0.9
    # Other responses, and other items, move nothing.
    after = chances(made)
    made.observe([*rows("c1", 0, 50, kind="like"), *rows("d", 50, 50, item_id="jam")])
    for event in rows("c1", 9, 9):
        made.observe([event | {"creative_id": None}])
    assert chances(made) == after
    bought = policy({"c0": (400, 2), "c1": (400, 9)}, response="purchase")
    assert bought.kinds == {"impression", "purchase"}
    assert len(set(chances(bought).values())) == 2


def test_a_new_creative_starts_at_the_level_of_its_item() -> None:
    trust = Trust(creative=0.3, item=0.5)
    shown, clicked = np.array([4000.0, 4000.0, 0.0]), np.array([400.0, 400.0, 0.0])
    a, b = beliefs(shown, clicked, np.zeros(3), np.array(0.01), trust)
    assert a[2] / (a[2] + b[2]) == pytest.approx(0.09, abs=0.01)
    assert a[2] == pytest.approx(1 / 0.3**2, rel=0.15)
    better, worse = (
        beliefs(shown, clicked, np.array([-x, 0.0, x]), np.array(0.01), trust) for x in (0.4, -0.4)
    )
    assert better[0][2] / better[1][2] > 1.3 * a[2] / b[2] > 1.7 * worse[0][2] / worse[1][2]
    fixed = beliefs(shown, clicked, np.zeros(3), np.array(0.01), Trust(impressions=50.0))
    assert fixed[0][2] + fixed[1][2] == pytest.approx(50)
    many = np.tile(shown, (5, 1)), np.tile(clicked, (5, 1)), np.zeros((5, 3)), np.full(5, 0.01)
    assert beliefs(*many, trust)[0][3] == pytest.approx(a)


def test_levels_are_those_of_the_campaign_where_an_item_is_new() -> None:
    live = [
        *(LiveCreative(f"h{n}", f"high {n}", "high") for n in range(9)),
        *(LiveCreative(f"l{n}", f"low {n}", "low") for n in range(9)),
        LiveCreative("new", "tea", "high"),
        LiveCreative("other", "tea", "low"),
    ]
    made = policy(live=live)
    for n in range(9):
        made.observe(rows(f"h{n}", 500, 50, item_id=f"high {n}"))
        made.observe(rows(f"l{n}", 500, 5, item_id=f"low {n}"))
    made.refresh()
    high, low = (made.level_of(name) for name in ("high", "low"))
    assert high == pytest.approx(0.1, abs=0.02)
    assert low == pytest.approx(0.01, abs=0.005)
    assert low < made.level_of("unknown") < high


def past(slope: float, spread: float, tests: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Impressions, clicks, log-odds of a judge, items and campaigns of past tests."""
    rng = np.random.default_rng(seed)
    items = np.repeat(np.arange(tests), 4)
    told = 0.3 * rng.normal(size=len(items)) - 4
    level = rng.normal(-4, 0.5, tests)[items]
    logs = level + slope * (told + 4) + spread * rng.normal(size=len(items))
    shown = np.full(len(items), 3000.0)
    return shown, rng.binomial(3000, 1 / (1 + np.exp(-logs))).astype(float), told, items, items * 0


@pytest.mark.parametrize(("slope", "spread"), [(0.8, 0.25), (0.0, 0.25), (-0.8, 0.1), (1.5, 0.5)])
def test_trust_is_learnt_from_past_tests(slope: float, spread: float) -> None:
    found = learn_trust(*past(slope, spread, 400))
    assert found.slope == pytest.approx(max(slope, 0), abs=0.12)
    # A judge that is not heard leaves what it might have told to chance.
    unheard = 0.3 * min(slope, 0)
    assert found.creative == pytest.approx(np.hypot(spread, unheard), rel=0.12)
    assert found.item == pytest.approx(0.5, rel=0.2)
    assert found.tests == 400


@pytest.mark.parametrize("slope", [0.0, 0.8])
def test_trust_is_learnt_from_tests_that_a_policy_has_run(slope: float) -> None:
    """Who did badly at first was shown no more: the rates as observed would tell of no judge."""
    rng = np.random.default_rng(0)
    told = 0.3 * rng.normal(size=(200, 4))
    told -= told.mean(1, keepdims=True)
    logs = rng.normal(-4, 0.5, (200, 1)) + slope * told + 0.25 * rng.normal(size=(200, 4))
    rates, shown, clicked = 1 / (1 + np.exp(-logs)), np.zeros((200, 4)), np.zeros((200, 4))
    for _ in range(25):
        a, b = beliefs(shown, clicked, 0.5 * told, np.full(200, 0.02), Trust(0.25))
        found = creative_chances(CreativeSettings(), a, b, np.zeros(4))
        now = rng.multinomial(80, found / found.sum(1, keepdims=True))
        shown, clicked = shown + now, clicked + rng.binomial(now, rates)
    items = np.repeat(np.arange(200), 4)
    found_trust = learn_trust(shown.ravel(), clicked.ravel(), told.ravel() - 4, items, items * 0)
    assert found_trust.slope == pytest.approx(slope, abs=0.3)
    assert found_trust.creative == pytest.approx(0.25, rel=0.35)


def test_without_past_tests_the_usual_is_left() -> None:
    shown, clicked, told, items, campaigns = past(1.0, 0.2, 30)
    for some in (slice(0, 0), slice(0, None, 4)):
        found = learn_trust(*(one[some] for one in (shown, clicked, told, items, campaigns)))
        assert (found.slope, found.creative, found.tests) == (0.0, Trust().creative, 0)
    silent = learn_trust(shown, clicked, told * np.nan, items, campaigns)
    assert silent.slope == 0
    rare = learn_trust(shown, clicked * 0, told, items, campaigns)
    assert (rare.slope, rare.tests) == (0.0, 0)


def test_a_judge_is_heard_as_far_as_past_tests_bear_it() -> None:
    _, clicked, told, items, _ = past(1.0, 0.2, 25)
    rates = 1 / (1 + np.exp(-told))
    known = [
        LiveCreative(f"p{row}", f"i{item}", "spring", rate)
        for row, (item, rate) in enumerate(zip(items.tolist(), rates.tolist(), strict=True))
    ]
    judged = tuple(
        replace(one, told=rate) for one, rate in zip(FOUR, (0.01, 0.02, 0.03, 0.04), strict=True)
    )
    made = CreativePolicy(CreativeSettings())
    made.put(judged, known)
    assert made.trust.slope == 0
    assert len(set(chances(made).values())) == 1
    scale = 15  # of 200 impressions each
    for one, count in zip(known, (clicked / scale).astype(int).tolist(), strict=True):
        made.observe(rows(one.creative_id, 3000 // scale, count, item_id=one.item_id))
    made.refresh()
    assert made.trust.slope > 0.5
    assert list(chances(made).values()) == sorted(chances(made).values())
    told_so = CreativePolicy(CreativeSettings(prior_trust=100.0))
    told_so.put(judged)
    assert (told_so.trust.slope, told_so.trust.impressions) == (1.0, 100.0)
    assert chances(told_so)["c3"] > 0.3


def test_a_segment_has_counts_of_its_own() -> None:
    made = policy(segment="device")
    for device, better in (("phone", "c0"), ("desk", "c1")):
        for one in FOUR[:2]:
            clicked = 40 if one.creative_id == better else 4
            said = json.dumps({"device": device})
            made.observe(rows(one.creative_id, 400, clicked, context=said))
    of = {name: chances(made, request(context={"device": name})) for name in ("phone", "desk")}
    assert of["phone"]["c0"] > 0.8
    assert of["desk"]["c1"] > 0.8
    everywhere = chances(made)
    assert everywhere["c0"] == pytest.approx(everywhere["c1"])


def test_recall_counts_as_much_as_is_asked_for() -> None:
    said = zip(FOUR, (0.1, 0.2, 0.3, 0.9), strict=True)
    live = tuple(replace(one, recall=recall) for one, recall in said)
    assert len(set(chances(policy(live=live)).values())) == 1
    found = list(chances(policy(live=live, memorability=2.0)).values())
    assert found == sorted(found)
    assert found[3] > 0.9
