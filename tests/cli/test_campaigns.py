"""Campaigns by the command line: made, changed, listed with what they spend, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.data.campaigns import Campaign
from tests.support.commands import call


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path / 'ads.db'}"
    with Store.open(found) as store:
        store.create_tenant("acme")
    return found


def campaign_of(url: str) -> Campaign:
    with Store.open(url) as store:
        (row,) = store.campaigns("acme").to_dicts()
    return Campaign.of(row)


def test_a_campaign_is_made_changed_and_listed(url: str) -> None:
    at = ("--store", url, "--tenant", "acme")
    terms = ("--budget", 1.5, "--price", 0.5, "--cap", 3, "--end", "2100-01-01T12:00")
    target = ("--target", "page=home", "--target", "page=search", "--target", "store=5")
    said = call("store", "campaign", "put", "spring", *at, *terms, *target)
    assert "spring is a campaign of acme" in said
    made = campaign_of(url)
    assert (made.budget, made.price, made.per, made.cap) == (1.5, 0.5, "impression", 3)
    assert made.targeting == {"page": ("home", "search"), "store": (5,)}
    assert made.end is not None
    assert f"{made.end:%Y-%m-%d %H:%M}" == "2100-01-01 12:00"
    event = {"event_id": "e1", "request_id": "r", "user_id": "u", "kind": "impression"}
    event |= {"item_id": "bread", "campaign_id": "spring"}
    with Store.open(url) as store:
        store.record_events("acme", [{**event, "time": SystemClock().now()}])
    # What is not named stays.
    more = ("--budget", 2, "--without", "cap", "--without", "end")
    assert "has new terms" in call("store", "campaign", "put", "spring", *at, *more)
    changed = campaign_of(url)
    assert (changed.budget, changed.price, changed.cap, changed.end) == (2, 0.5, None, None)
    assert (changed.start, changed.targeting) == (made.start, made.targeting)
    listed = call("store", "campaign", "list", *at)
    for word in ("spring", "in flight", "0.5 per impression", '{"page": ["home", "search"]'):
        assert word in listed, listed
    call("store", "campaign", "put", "old", *at, "--start", "2020-01-01", "--end", "2020-02-01")
    assert "over" in call("store", "campaign", "list", *at)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", 0.1, "--price", 0.5), "a budget below the bid"),
        (("--budget", 5), "nothing draws on a budget without a price"),
        (("--start", "2026-05-02", "--end", "2026-05-01"), "end must not be before start"),
        (("--price", 0), "at least 1e-06"),
        (("--start", "May"), "no day and no moment"),
        (("--target", "page"), "no target"),
        (("--without", "start"), "no such term"),
    ],
)
def test_what_is_no_campaign_is_refused(url: str, arguments: tuple[object, ...], said: str) -> None:
    at = ("--store", url, "--tenant", "acme")
    text = call("store", "campaign", "put", "spring", *at, *arguments, code=2)
    assert said in " ".join(text.replace("│", " ").split())
    with Store.open(url) as store:
        assert store.campaigns("acme").is_empty()
