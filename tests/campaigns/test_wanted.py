"""Which items want an ad, and which ads people are tired of."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.campaigns.store.store import Store
from adwright.campaigns.wanted import (
    AdDays,
    TiredRule,
    WantedItem,
    ad_days,
    replaced_ads,
    tired_creatives,
    wanted_items,
)
from adwright.core.errors import FileUnreadableError
from adwright.data.creatives import Creative
from tests.support.store.events import START, event

DAYS = 40
END = START + timedelta(days=DAYS)
SEASONS = {
    "none": np.ones(DAYS),
    "weekdays": 1 + 0.4 * np.sin(np.arange(DAYS) * 2 * np.pi / 7),
    "a wave": 1 + 0.5 * np.cos(np.arange(DAYS) / DAYS * 2 * np.pi),
    "a fall": np.linspace(1.5, 0.5, DAYS),
}


def days_of(
    seed: int, season: np.ndarray[Any, Any], *, ads: int = 30, tired: int = 0, fall: float = 0.3
) -> AdDays:
    """Ads that come and go, of which the first ones' responses fall."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(80, (ads, DAYS)).astype(float)
    n[1::3, : DAYS // 3] = 0
    n[2::3, 2 * DAYS // 3 :] = 0
    rate = 0.05 * np.exp(rng.normal(0, 0.4, ads))[:, None] * season
    age = np.cumsum(n, 1) / n.sum(1, keepdims=True)
    rate[:tired] *= np.where(age[:tired] > 0.4, fall, 1)
    took = rng.binomial(n.astype(int), np.minimum(rate, 1)).astype(float)
    return AdDays(tuple(f"c{at:02d}" for at in range(ads)), n, took, Counter())


@pytest.mark.parametrize("season", SEASONS)
def test_a_season_tires_no_ad_and_one_that_falls_is_found(season: str) -> None:
    calm = [tired_creatives(days_of(seed, SEASONS[season])) for seed in range(20)]
    assert sum(map(len, calm)) <= 0.025 * 20 * 30  # of 600 looks at the level of 1%
    found = [
        one
        for seed in range(10)
        for one in tired_creatives(days_of(seed, SEASONS[season], tired=1))
    ]
    mine = [one for one in found if one.creative_id == "c00"]
    assert len(mine) >= 9
    assert all(one.late < one.expected for one in found)
    assert all(one.chance < TiredRule().level for one in found)


def test_two_ads_correct_each_other_and_one_alone_needs_more() -> None:
    falls = SEASONS["a fall"]
    calm = sum(len(tired_creatives(days_of(seed, falls, ads=2))) for seed in range(50))
    assert calm <= 5
    alone = [tired_creatives(days_of(seed, SEASONS["none"], ads=1)) for seed in range(50)]
    assert sum(map(len, alone)) <= 2
    assert tired_creatives(days_of(0, SEASONS["none"], ads=1, tired=1))


@pytest.mark.parametrize(
    "rule",
    [
        TiredRule(level=1e-30),
        TiredRule(drop=0.1),
        TiredRule(shown=10**6),
        TiredRule(responses=10**6),
    ],
    ids=["level", "drop", "shown", "responses"],
)
def test_each_part_of_the_rule_counts(rule: TiredRule) -> None:
    days = days_of(1, SEASONS["none"], tired=3)
    assert len(tired_creatives(days)) >= 3
    assert tired_creatives(days, rule=rule) == []


def test_nothing_is_tired_of_what_was_never_shown_or_never_clicked() -> None:
    nothing = np.zeros((0, 0))
    assert tired_creatives(AdDays((), nothing, nothing, Counter())) == []
    calm = AdDays(("c1",), np.full((1, 4), 1e4), np.zeros((1, 4)), Counter())
    assert tired_creatives(calm) == []


def shown_and_clicked(ad: str | None, item: str, *, day: int, shown: int, clicks: int) -> list[Any]:
    rows = []
    for at in range(shown):
        name = f"{ad or item}-{day}-{at}"
        time = START + timedelta(days=day, minutes=at)
        both = {
            "event_id": name,
            "request_id": name,
            "time": time,
            "item_id": item,
            "context": None,
        }
        rows.append(event(0, **both, creative_id=ad))
        if at < clicks:  # some come after midnight, and do not say of which ad they are
            later = time + timedelta(hours=30)
            rows.append(
                event(0, **{**both, "event_id": f"{name}c", "time": later, "kind": "click"})
            )
    return rows


@pytest.fixture
def shop(store: Store, tenant: str) -> tuple[Store, str]:
    """tea has a tired ad and a fresh one, rye one that waits and one sent back, jam none."""
    ads = [
        Creative(headline="Tea", item_id="tea", creative_id="t1"),
        Creative(headline="More tea", item_id="tea", creative_id="t2"),
        Creative(headline="Rye", item_id="rye", creative_id="r1"),
        Creative(headline="Bad rye", item_id="rye", creative_id="r2"),
    ]
    store.write_creatives(tenant, ads, author="ann")
    for state in ("in review", "approved", "live"):
        store.move_creatives(tenant, ["t1", "t2"], state, author="ann")
    store.move_creatives(tenant, ["r2"], "in review", author="ann")
    store.move_creatives(tenant, ["r2"], "draft", author="ben")
    rows = shown_and_clicked(None, "jam", day=0, shown=3, clicks=0)
    for day, clicks in enumerate((20, 20, 4, 4)):
        rows += shown_and_clicked("t1", "tea", day=day, shown=100, clicks=clicks)
        rows += shown_and_clicked("t2", "tea", day=day, shown=100, clicks=20)
    store.record_events(tenant, rows)
    return store, tenant


def test_items_that_lack_ads_are_wanted_with_why(shop: tuple[Store, str]) -> None:
    expected = [
        WantedItem("tea", 1, 0, ("t1",), "1 of 3; tired: t1"),
        WantedItem("jam", 0, 0, (), "no ad"),
        WantedItem("rye", 0, 1, (), "1 of 3, 1 of them on their way"),
    ]
    assert wanted_items(*shop, now=END) == expected
    assert [one.item_id for one in wanted_items(*shop, least=1, now=END)] == ["jam"]
    asked = wanted_items(*shop, item_ids=["new", "rye"], now=END)
    assert [(one.item_id, one.why[:6]) for one in asked] == [("new", "no ad"), ("rye", "1 of 3")]
    early = wanted_items(*shop, least=2, now=START + timedelta(days=2))
    assert [one.item_id for one in early] == ["jam", "rye"]


def test_what_people_saw_often_is_tired_where_that_is_asked(shop: tuple[Store, str]) -> None:
    often = TiredRule(level=1e-9, frequency=400.0)  # all is seen by one person
    assert wanted_items(*shop, item_ids=["tea"], now=END, rule=often)[0].tired == ("t1", "t2")
    seldom = TiredRule(level=1e-9, frequency=401.0)
    assert wanted_items(*shop, item_ids=["tea"], now=END, rule=seldom)[0].tired == ()


def test_ads_of_another_campaign_do_not_count(shop: tuple[Store, str]) -> None:
    found = wanted_items(*shop, item_ids=["tea"], least=1, now=END, campaign_id="spring")
    assert [(one.live, one.why) for one in found] == [(0, "no ad")]


def test_a_tired_ad_is_replaced_once_fresh_ones_are_there(shop: tuple[Store, str]) -> None:
    assert replaced_ads(*shop, now=END) == []
    assert replaced_ads(*shop, least=1, now=END) == ["t1"]
    shop[0].move_creatives(shop[1], ["t1"], "paused", author="ann")
    assert replaced_ads(*shop, least=1, now=END) == []


def test_what_is_stopped_wants_nothing_and_counts_as_nothing(shop: tuple[Store, str]) -> None:
    store, tenant = shop
    stop = event(0, event_id="s1", kind="stop", item_id="jam", position=None, propensity=None)
    both = [stop, {**stop, "event_id": "s2", "item_id": "tea", "creative_id": "t2"}]
    store.record_events(tenant, both)
    found = {one.item_id: one for one in wanted_items(*shop, now=END)}
    assert "jam" not in found
    assert (found["tea"].live, found["tea"].why) == (0, "no ad; tired: t1")


def test_what_was_compacted_counts_as_before(shop: tuple[Store, str], tmp_path: Path) -> None:
    store, tenant = shop
    before = ad_days(*shop, until=END)
    found = wanted_items(*shop, now=END)
    assert store.compact(tenant, tmp_path / "one", before=START + timedelta(days=3))
    after = ad_days(*shop, until=END)
    assert (after.ads, after.items) == (before.ads, before.items)
    assert (after.shown == before.shown).all()
    assert (after.responses == before.responses).all()
    assert after.responses.sum() == 128
    assert wanted_items(*shop, now=END) == found
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(FileUnreadableError, match="name the folder"):
        wanted_items(*shop, now=END)
    assert wanted_items(*shop, now=END, folder=tmp_path / "two") == found
