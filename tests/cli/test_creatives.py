"""The verbs that bring ads from draft to live, and those that enter what they make."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from adwright.campaigns.store.store import Store
from adwright.cli.creatives import VERBS
from adwright.data.creatives import MOVES, Creative
from adwright.data.sources.tables import read_whole_creatives, write_creatives
from tests.support.commands import call
from tests.support.store.events import event

BREAD = Creative(headline="Fresh bread", item_id="bread", maker="model:m", creative_id="c1")
ROLLS = Creative(headline="Rolls", body="x" * 90, item_id="rolls", creative_id="c2")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store of the tenant acme, with two ads in a table beside it."""
    found = f"sqlite:///{tmp_path / 'adwright.db'}"
    with Store.open(found) as store:
        store.create_tenant("acme")
    write_creatives(tmp_path / "ads.parquet", [BREAD, ROLLS])
    return found


@pytest.fixture
def at(url: str, tmp_path: Path) -> tuple[str, ...]:
    """The options of the store, with both ads in it as drafts."""
    options = ("--store", url, "--tenant", "acme")
    said = call("creatives", "import", tmp_path / "ads.parquet", *options, "--author", "ann")
    assert "2 ads are drafts" in said
    assert "creatives submit --all" in said
    return options


def states(url: str) -> dict[str, str]:
    with Store.open(url) as store:
        return {one.creative_id: one.state for one in store.creatives_full("acme")}


def test_every_verb_is_a_move_that_the_table_allows() -> None:
    for to, usual, _ in VERBS.values():
        assert usual
        assert all(to in MOVES[one] for one in usual)
    assert {to for to, _, _ in VERBS.values()} == set(MOVES) - {""}


def test_an_ad_goes_its_way_by_ids_items_and_all(url: str, at: tuple[str, ...]) -> None:
    mine = (*at, "--author", "ann")
    assert "2 ads would be in review" in call("creatives", "submit", "--all", *mine, "--dry-run")
    assert set(states(url).values()) == {"draft"}
    call("creatives", "submit", "--all", *mine)
    call("creatives", "approve", "c1", *mine, "--why", "as agreed")
    assert "cannot become 'live'" in call("creatives", "publish", "c1", "c2", *mine, code=2)
    assert "1 ads live" in call("creatives", "publish", "--all", *mine)
    assert states(url) == {"c1": "live", "c2": "in review"}
    call("creatives", "pause", "--item", "bread", *mine)
    assert "0 ads live" in call("creatives", "publish", "--all", *mine)  # it is paused, not new
    assert "1 ads live" in call("creatives", "resume", "--all", *mine)
    assert "0 ads live; 1 were already" in call("creatives", "resume", "c1", *mine)
    call("creatives", "stop", "--all", *mine)
    call("creatives", "reject", "c2", *mine)
    assert states(url) == {"c1": "stopped", "c2": "draft"}
    call("creatives", "retire", "--all", *mine)
    assert set(states(url).values()) == {"retired"}


def test_they_are_listed_shown_and_written(
    url: str, at: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    call("creatives", "submit", "c1", *at, "--author", "ann", "--why", "ready")
    with Store.open(url) as store:
        store.set_priors("acme", "ctr", {"c1": (0.02, 0.01, 0.03)})
    listed = call("creatives", "list", *at)
    assert "AI" in listed
    assert "xxx..." in listed
    assert "c2" not in call("creatives", "list", *at, "--state", "in review")
    assert "c1" not in call("creatives", "list", *at, "--item", "rolls")
    assert "1 more" in call("creatives", "list", *at, "--limit", 1)
    shown = call("creatives", "show", "c1", *at)
    for part in ("Fresh bread", "model:m", "AI", "0.02 (0.01 to 0.03)", "in review", "ready"):
        assert part in shown
    call("creatives", "list", *at, "--out", tmp_path / "all.csv")
    assert read_whole_creatives(tmp_path / "all.csv") == (
        replace(BREAD, state="in review"),
        replace(ROLLS, state="draft"),
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("approve", "--author", "ann"), "no ad is named"),
        (("approve", "gone", "--author", "ann"), "no such creative"),
        (("list", "--state", "sold"), "no such state"),
        (("show", "gone"), "no such creative"),
    ],
)
def test_what_cannot_be_is_said(at: tuple[str, ...], words: tuple[str, ...], said: str) -> None:
    assert said in call("creatives", *words, *at, code=2)
    other = (*at[:3], "nobody")
    assert "no such tenant" in call("creatives", "list", *other, code=2)


def test_a_table_of_a_catalogue_is_entered_too(url: str, tmp_path: Path) -> None:
    table = tmp_path / "old.csv"
    pl.DataFrame({"creative_id": ["o1"], "item_id": ["tea"], "text": ["Tea!"]}).write_csv(table)
    options = ("--store", url, "--tenant", "acme")
    call("creatives", "import", table, *options, "--author", "ann", "--submit")
    with Store.open(url) as store:
        (one,) = store.creatives_full("acme")
    assert (one.body, one.state, one.item_id) == ("Tea!", "in review", "tea")


def test_an_import_of_a_log_enters_its_ads(url: str, tmp_path: Path) -> None:
    rows = {"user_id": ["u"], "item_id": ["bread"], "time": ["2024-05-01"], "kind": ["click"]}
    pl.DataFrame(rows).write_csv(tmp_path / "log.csv")
    pl.DataFrame({"item_id": ["bread", "rolls"]}).write_csv(tmp_path / "items.csv")
    words = ("data", "import", tmp_path / "log.csv", "--items", tmp_path / "items.csv")
    into = ("--store", url, "--tenant", "acme")
    ads = ("--creatives", tmp_path / "ads.parquet")
    out = ("--out", tmp_path / "log")
    assert "no ads are to be entered" in call(*words, *out, *into, code=2)
    assert "go together" in call(*words, *out, *ads, "--store", url, code=2)
    assert "no such tenant" in call(*words, *out, *ads, *into[:3], "nobody", code=2)
    assert not (tmp_path / "log").exists()
    assert "2 ads are drafts" in call(*words, *out, *ads, *into)
    again = call(*words, *out, *ads, *into, "--force")
    assert "0 ads are drafts" in again
    assert "2 were there before" in again
    assert set(states(url).values()) == {"draft"}


def test_items_that_want_an_ad_become_a_table_of_products(
    url: str, at: tuple[str, ...], tmp_path: Path
) -> None:
    shop, out = tmp_path / "shop.csv", tmp_path / "wanted.csv"
    shop.write_text("sku,title,shelf\nbread,Bread,1\ntea,Tea,2\nrolls,Rolls,3\n")
    said = call("creatives", "wanted", *at, "--least", "2")
    assert "2 items want an ad" in said
    assert "1 of 2, 1 of them on their way" in said
    table = ("--products", shop, "--columns", "id=sku", "--out", out)
    call("creatives", "wanted", *at, "--least", "1", *table)
    assert out.read_text() == "sku,title,shelf\ntea,Tea,2\n"
    assert "--force" in call("creatives", "wanted", *at, *table, code=2)
    call("creatives", "wanted", *at, *table, "--force", "--most", "2", "--least", "2")
    assert out.read_text().splitlines()[1:] == ["bread,Bread,1", "tea,Tea,2"]
    call("creatives", "wanted", *at, "--least", "1", "--out", out, "--force")
    assert out.read_text() == "item_id,why\n"


def test_rules_approve_what_passes_them(url: str, at: tuple[str, ...], tmp_path: Path) -> None:
    call("creatives", "submit", "--all", *at, "--author", "ann")
    (tmp_path / "rules.toml").write_text('name = "mine"\nchecks = []\nlanding = false\n')
    rules = ("--rules", tmp_path / "rules.toml")
    said = call("creatives", "approve", *at, *rules, "--dry-run")
    assert "1 ads would be approved by rules:mine, 1 stay in review" in said
    said = call("creatives", "approve", *at, *rules)
    assert "no maker" in said
    assert states(url) == {"c1": "approved", "c2": "in review"}
    assert "has not passed authoring" in call("creatives", "approve", *at, "--rules", "usual")
    shop = tmp_path / "shop.csv"
    shop.write_text("sku,title\nrolls,Rolls\n")
    facts = ("--products", shop, "--columns", "id=sku")
    said = call("creatives", "approve", *at, "--rules", "usual", *facts)
    assert "has not passed" not in said
    assert "choose what they approve" in call("creatives", "approve", "c2", *at, *rules, code=2)
    assert "nobody is named" in call("creatives", "approve", "c2", *at, code=2)


def test_ads_get_a_landing_address_and_a_campaign_as_they_come_in(url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        store.put_campaign("acme", {"campaign_id": "spring", "start": datetime(2024, 5, 1)})
    first = Creative(headline="Tea", item_id="a tea")
    second = first.edited("more", {"headline": "More tea"})
    named = replace(second, creative_id="mine", landing="https://a.example/")
    write_creatives(tmp_path / "more.csv", [first, second, named])
    leads = ("--landing", "https://s.example/p/{item_id}?x=1", "--campaign", "spring")
    options = ("--store", url, "--tenant", "acme", "--author", "ann")
    call("creatives", "import", tmp_path / "more.csv", *options, *leads)
    assert "0 ads" in call("creatives", "import", tmp_path / "more.csv", *options, *leads)
    with Store.open(url) as store:
        found = {one.headline + one.landing[:17]: one for one in store.creatives_full("acme")}
    assert {one.campaign_id for one in found.values()} == {"spring"}
    assert found["Teahttps://s.example"].landing == "https://s.example/p/a%20tea?x=1"
    assert found["More teahttps://s.example"].parent == found["Teahttps://s.example"].creative_id
    assert found["More teahttps://a.example"].creative_id == "mine"


def test_results_are_told_and_what_loses_is_stopped(
    url: str, at: tuple[str, ...], tmp_path: Path
) -> None:
    more = replace(BREAD, headline="Bread of the day", creative_id="c3")
    by = (*at, "--author", "ann")
    with Store.open(url) as store:
        store.write_creatives("acme", [more], author="ann")
        for state in ("in review", "approved", "live"):
            store.move_creatives("acme", ["c1", "c3"], state, author="ann")
        clicks = {"c1": 30, "c3": 2}
        for ad, clicked in clicks.items():
            rows = [
                event(n, event_id=f"{ad}-{n}", creative_id=ad, item_id="bread", kind=kind)
                for kind, count in (("impression", 300), ("click", clicked))
                for n in range(count)
            ]
            named = [{**row, "event_id": f"{row['kind']}-{row['event_id']}"} for row in rows]
            store.record_events("acme", named)
    out = tmp_path / "results.parquet"
    said = call("creatives", "results", *at, "--out", out)
    assert "600 impressions, 32 clicks, 1 ads lose" in said
    assert pl.read_parquet(out).filter(creative_id="c3")["clicks"].to_list() == [2]
    assert states(url)["c3"] == "live"
    assert "name who" in call("creatives", "results", *at, "--stop", code=2)
    call("creatives", "results", *by, "--stop", "--dry-run")
    assert states(url)["c3"] == "live"
    assert "1 ads stopped" in call("creatives", "results", *by, "--stop")
    assert states(url)["c3"] == "stopped"
    assert "loses: the chance" in call("creatives", "show", "c3", *at)
    assert "0 impressions" in call("creatives", "results", *at, "--campaign", "none")
