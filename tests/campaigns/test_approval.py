"""Approval by stated rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.authoring.tasks import Product
from adwright.campaigns.approval import ApprovalRules, approve_by_rules
from adwright.campaigns.store.store import Store
from adwright.core.errors import ConfigError
from adwright.data.creatives import Creative

GOOD = Creative(
    headline="Fresh bread",
    item_id="bread",
    landing="https://mill.example/bread",
    maker="model:m1",
    checks_passed=("authoring",),
    creative_id="good",
)
LIVE = replace(GOOD, headline="Bread", creative_id="live")
USUAL = ApprovalRules()


def entered(store: Store, tenant: str, *ads: Creative) -> None:
    store.write_creatives(tenant, ads, author="ann", submit=True)


def test_what_passes_is_approved_with_the_rules_it_passed(store: Store, tenant: str) -> None:
    entered(store, tenant, GOOD)
    told = approve_by_rules(store, tenant, USUAL, dry_run=True)
    assert list(told.approved) == ["good"]
    assert store.creatives_full(tenant)[0].state == "in review"
    assert approve_by_rules(store, tenant, USUAL) == told
    last = store.creative_moves(tenant)[-1]
    assert (last.state, last.author) == ("approved", "rules:usual")
    assert last.why == told.approved["good"]
    assert (
        last.why == "rules usual: passed authoring, label AI, leads to https://mill.example/bread"
    )
    again = approve_by_rules(store, tenant, USUAL)
    assert not again.approved
    assert not again.held


@pytest.mark.parametrize(
    ("change", "without", "why"),
    [
        ({"checks_passed": ()}, {"checks": ()}, "has not passed authoring"),
        ({"maker": "m1"}, {"maker": False}, "its maker 'm1' is no model:NAME or person:NAME"),
        ({"maker": ""}, {"maker": False}, "no maker, so its label"),
        ({"landing": ""}, {"landing": False}, "leads nowhere"),
        ({"headline": "", "body": "Fresh bread"}, {"slots": ()}, "no headline"),
    ],
    ids=["checks", "maker", "no maker", "landing", "headline"],
)
def test_what_does_not_pass_stays_in_review_with_why(
    store: Store, tenant: str, change: dict[str, object], without: dict[str, object], why: str
) -> None:
    entered(store, tenant, replace(GOOD, **change))  # type: ignore[arg-type]
    done = approve_by_rules(store, tenant, USUAL)
    assert not done.approved
    assert why in done.held["good"]
    assert store.creatives_full(tenant)[0].state == "in review"
    milder = replace(USUAL, name="mild", **without)  # type: ignore[arg-type]
    assert "rules mild" in approve_by_rules(store, tenant, milder).approved["good"]
    assert store.creative_moves(tenant)[-1].author == "rules:mild"


@pytest.mark.parametrize(("low", "held"), [(0.004, True), (0.006, False), (None, False)])
def test_what_a_judge_expects_too_little_of_stays(
    store: Store, tenant: str, low: float | None, held: bool
) -> None:
    entered(store, tenant, GOOD, LIVE)
    for state in ("approved", "live"):
        store.move_creatives(tenant, ["live"], state, author="ann")
    store.set_priors(tenant, "click_rate", {"live": (0.02, 0.01, 0.03)})
    if low is not None:
        store.set_priors(tenant, "click_rate", {"good": (0.05, low, 0.09)})
    done = approve_by_rules(store, tenant, USUAL, dry_run=True)
    assert ("good" in done.held) is held
    if held:
        assert done.held["good"] == "click_rate from 0.004 on, less than 0.5 of its live ads' 0.01"
        for milder in (replace(USUAL, share=0), replace(USUAL, judge="another")):
            assert approve_by_rules(store, tenant, milder, dry_run=True).approved


def test_texts_are_checked_anew_against_the_facts_that_are_known(store: Store, tenant: str) -> None:
    wrong = replace(GOOD, headline="Fresh bread, 20% off", creative_id="wrong")
    by_hand = replace(GOOD, maker="person:ann", checks_passed=(), creative_id="hand")
    entered(store, tenant, wrong, by_hand, replace(GOOD, item_id="rye", creative_id="rye"))
    products = {"bread": Product("bread", "Fresh bread")}
    done = approve_by_rules(store, tenant, USUAL, products=products, item_ids=["bread"])
    assert list(done.approved) == ["hand"]
    assert "made by a person" in done.approved["hand"]
    assert done.held["wrong"].startswith("headline: policy/discount")


def test_an_ad_names_its_product(store: Store, tenant: str) -> None:
    of_breads = replace(GOOD, headline="Our breads", creative_id="plural")
    entered(store, tenant, of_breads, replace(GOOD, headline="Back home", creative_id="odd"))
    products = {"bread": Product("bread", "Fresh bread")}
    done = approve_by_rules(store, tenant, USUAL, products=products, dry_run=True)
    assert list(done.approved) == ["plural"]
    assert done.held["odd"] == "says nothing of 'Fresh bread'"
    milder = replace(USUAL, named=False)
    assert len(approve_by_rules(store, tenant, milder, products=products).approved) == 2


def test_rules_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="share"):
        ApprovalRules(share=-1)
