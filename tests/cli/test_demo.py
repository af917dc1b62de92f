"""?"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.campaigns.store.store import Store
from adwright.cli import app
from adwright.cli.demo import show, show_ads, show_audit, show_cascade
from adwright.cli.ranker import evaluate_recommender, opened_task
from adwright.core.artifacts import save_artifact
from adwright.core.errors import AdwrightError, MissingExtraError
from adwright.data.sources.tables import read_events
from adwright.delivery.popularity import save_popularity
from adwright.delivery.recommend.run import recommend_all
from adwright.demos import ads as ads_module
from adwright.demos import audited as audited_module
from adwright.demos import cascade as cascade_module
from adwright.demos import folder as folder_module
from adwright.demos import ranker as training_demo
from adwright.demos import retirement as retirement_module
from adwright.demos.ads import AdsDemoResult, ad_rows, ads_demo
from adwright.demos.audited import AuditDemoResult, SoldProduct, audit_demo
from adwright.demos.cascade import CascadeDemoConfig, CascadeDemoResult, cascade_demo, small_build
from adwright.demos.folder import DemoPart
from adwright.demos.ranker import DemoConfig, DemoResult, demo
from adwright.demos.retirement import RetirementDemoResult, retirement_demo
from adwright.metrics.reports.report import RankingComparison
from adwright.service.registry.registry import publish
from tests.delivery.cascade.test_build import CONFIG
from tests.demos.test_cascade import HAM, TEA, gullible, room
from tests.support.commands import quietly
from tests.support.data.ranking_task import shop_task
from tests.support.data.small_life_log import SmallLives
from tests.support.data.small_next_basket import small_task
from tests.support.delivery.sequence_parts import sasrec
from tests.support.delivery.single_models import run_folder
from tests.support.store.events import START, decision, event, events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(folder: Path) -> DemoResult:
    task = shop_task(folder / "task", users=10)
    return demo(DemoConfig(out=folder / "out", negative_rate=0.5, k=2), task=task)


@pytest.fixture(scope="module")
def second(folder: Path, first: DemoResult) -> CascadeDemoResult:
    config = CascadeDemoConfig(
        requests=5,
        exhaustive=2,
        k=3,
        build=CONFIG,
        draws=10,
        cache=folder / "cache",
        out=folder / "out" / "cascade",
    )
    return cascade_demo(config, task=small_task(people=20))


@pytest.fixture(scope="module")
def third(folder: Path, first: DemoResult) -> RetirementDemoResult:
    asked = DemoPart(folder / "out" / "retirement")
    return retirement_demo(asked, before=13, epochs=1, lives=SmallLives(200))


@pytest.fixture(scope="module")
def fourth(folder: Path, first: DemoResult) -> AdsDemoResult:
    return ads_demo(
        DemoPart(folder / "out" / "ads"), (TEA, HAM), opened=room, judge=lambda ads, page: None
    )


@pytest.fixture(scope="module")
def fifth(folder: Path, first: DemoResult) -> AuditDemoResult:
    sold = [SoldProduct(one, 0.2, f"{one.title} for guests") for one in (TEA, HAM)]
    return audit_demo(DemoPart(folder / "out" / "audit"), sold, opened=gullible)


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch,
    first: DemoResult,
    second: CascadeDemoResult,
    third: RetirementDemoResult,
    fourth: AdsDemoResult,
    fifth: AuditDemoResult,
) -> list[Any]:
    """The parts answer with what was made before, and say what they were asked for."""
    found: list[Any] = []
    shown = first.households[0].shown
    # The products of the ads are the first ones that were ranked.
    ads = tuple(
        replace(ad, product=replace(ad.product, id=one.item_id))
        for ad, one in zip(fourth.ads, shown, strict=False)
    )

    def one(config: DemoConfig) -> DemoResult:
        found.append(config)
        return first

    def two(config: CascadeDemoConfig) -> CascadeDemoResult:
        found.append(config)
        return second

    monkeypatch.setattr(training_demo, "demo", one)

    def three(config: DemoPart) -> RetirementDemoResult:
        found.append(config)
        return third

    def four(config: DemoPart, products: object) -> AdsDemoResult:
        assert products == (TEA, HAM)
        found.append(config)
        return replace(fourth, ads=ads)

    def shelf(ids: list[str], *, offline: bool = False) -> tuple[object, ...]:
        assert ids == [one.item_id for one in first.households[0].shown]
        return (TEA, HAM)

    def five(config: DemoPart, sold: list[SoldProduct]) -> AuditDemoResult:
        assert [(one.product.title, one.chance) for one in sold] == [
            (ad.product.title, one.probability) for ad, one in zip(ads, shown, strict=False)
        ]
        assert all(one.text for one in sold)
        found.append(config)
        return fifth

    monkeypatch.setattr(audited_module, "audit_demo", five)
    monkeypatch.setattr(ads_module, "ads_demo", four)
    monkeypatch.setattr(ads_module, "journey_shelf", shelf)
    monkeypatch.setattr(cascade_module, "cascade_demo", two)
    monkeypatch.setattr(retirement_module, "retirement_demo", three)
    return found


def test_options_reach_all_parts(asked: list[Any], folder: Path) -> None:
    out = str(folder / "out")
    arguments = ["--households", "0.2", "--epochs", "2", "--negative-rate", "0.1", "--seed", "3"]
    more = ["--max-history", "9", "--offline", "--requests", "7", "--out", out]
    result = CliRunner().invoke(app, ["demo", *arguments, *more])  # as it was typed before
    assert result.exit_code == 0
    assert "note: --households is of `adwright demo ranker`" in result.output
    assert asked == [
        DemoConfig(
            households=0.2,
            epochs=2,
            negative_rate=0.1,
            max_history=9,
            seed=3,
            offline=True,
            out=Path(out),
        ),
        CascadeDemoConfig(
            households=0.2,
            requests=7,
            build=small_build(max_history=9, seed=3),
            seed=3,
            offline=True,
            out=Path(out) / "cascade",
        ),
        *(DemoPart(Path(out) / name, 3, offline=True) for name in ("retirement", "ads", "audit")),
    ]


def test_the_pages_are_linked_and_the_end_says_how_to_serve(
    asked: list[Any],
    first: DemoResult,
    second: CascadeDemoResult,
    third: RetirementDemoResult,
    fourth: AdsDemoResult,
    fifth: AuditDemoResult,
    folder: Path,
) -> None:
    out = folder / "out"
    result = CliRunner().invoke(app, ["demo", "ranker", "--out", str(out)])
    assert result.exit_code == 0, result.output
    pages = ("cascade/cascade.html", "retirement/list.html", "ads/ads.html", "audit/audited.html")
    for page in pages:
        assert f'href="{page}"' in first.page.read_text("utf-8")
    text = result.output.replace("\n", "")
    for line in (
        f"The page to read: {first.page}",
        f"adwright publish {second.deployment}",
        "adwright key cascade",
        f"adwright serve --models {out}",
        f"adwright retire apply {out / 'retirement' / 'list'}",
        f"The ads: {fourth.page}",
        f"adwright audit verify {out / 'audit' / 'certificate.json'}",
    ):
        assert line in text
    parts = first.result.stages, second.seconds, third.seconds, fourth.seconds, fifth.seconds
    seconds = sum(sum(part.values()) for part in parts)
    assert f"Done in {seconds:.0f} s" in text
    assert len(asked) == 5
    assert "best fatigue rule" in result.output


def test_the_further_parts_can_be_left_out(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    marks = {
        "cascade": "cascade.json",
        **dict.fromkeys(("retirement", "ads", "audit"), "demo.json"),
    }
    for name, mark in marks.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / mark).write_text("{}")
    without = ["--no-cascade", "--no-retirement", "--no-ads"]
    result = CliRunner().invoke(app, ["demo", "ranker", *without, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert asked == [DemoConfig(out=tmp_path)]
    assert "adwright publish" not in result.output
    assert "The page to read" in result.output
    assert "adwright retire" not in result.output
    assert not any((tmp_path / name).exists() for name in marks)
    assert "The ads:" not in result.output


@pytest.mark.parametrize("reason", ["no extra", "no names"])
def test_the_ads_are_skipped_with_a_sentence(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    (tmp_path / "ads").mkdir()
    (tmp_path / "ads" / "demo.json").write_text("{}")

    def missing(config: DemoPart, products: object) -> AdsDemoResult:
        raise MissingExtraError("writing ads", "lm")

    monkeypatch.setattr(ads_module, "ads_demo", missing)
    if reason == "no names":
        monkeypatch.setattr(ads_module, "journey_shelf", lambda ids, *, offline: ())
    without = ["--no-cascade", "--no-retirement"]
    result = CliRunner().invoke(app, ["demo", "ranker", *without, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    said = {
        "no extra": "No ads are written, since writing ads needs packages that are not installed: "
        "pip install 'adwright[lm]'.",
        "no names": "No ads are written, since none of the products has a name.",
    }
    assert said[reason] in result.output.replace("\n", " ").replace("  ", " ")
    assert "The page to read" in result.output
    assert not (tmp_path / "ads").exists()


def test_the_list_is_not_audited_where_that_cannot_be(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def missing(config: DemoPart, sold: object) -> AuditDemoResult:
        raise MissingExtraError("signed certificates", "audit")

    removed: list[Path] = []
    monkeypatch.setattr(audited_module, "audit_demo", missing)
    monkeypatch.setattr(folder_module, "remove_demo", lambda old, mark="": removed.append(old))
    asking = ["demo", "ranker", "--no-cascade", "--no-retirement", "--out", str(folder / "out")]
    result = CliRunner().invoke(app, asking)
    assert result.exit_code == 0, result.output
    assert "The list is not audited, since signed certificates needs" in result.output
    assert CliRunner().invoke(app, [*asking, "--no-audit"]).exit_code == 0
    out = folder / "out"
    assert [one for one in removed if one == out / "audit"] == [out / "audit"] * 2
    # What was ranked and the ads, twice.
    assert len(asked) == 4


def test_what_is_shown_of_the_audit(
    fifth: AuditDemoResult, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show_audit(fifth)
    text = capsys.readouterr().out
    assert fifth.sentence() in text
    assert all(cell in text for row in fifth.rows() for cell in row)


def test_what_is_shown(first: DemoResult, capsys: pytest.CaptureFixture[str]) -> None:
    show(first)
    text = capsys.readouterr().out
    for name in ("DIN", "Base", "popularity", "frequency", "item-item", "logistic"):
        assert name in text
    for household in first.households:
        assert f"Household {household.user_id} on" in text


def test_what_is_shown_of_the_cascade(
    second: CascadeDemoResult, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show_cascade(second)
    text = capsys.readouterr().out
    measures = second.measures
    cells = [cell for row in (*measures.stage_rows(), *measures.order_rows()) for cell in row]
    for name in (measures.cost(), *measures.stage_header(), *cells):
        assert name in text
    for one in second.shown:
        assert f"Household {one.user_id} on" in text
        for place in one.places:
            assert place.name in text


def test_what_is_shown_of_the_ads(
    fourth: AdsDemoResult, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    show_ads(fourth)
    text = capsys.readouterr().out
    assert fourth.summary in text
    for ad in fourth.ads:
        assert ad.product.title in text
        for row in ad_rows(ad):
            assert all(cell in text for cell in row)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sasrec().save(run_folder(tmp_path) / "model")
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--quiet", "recommend", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_everybody_by_defaults_alone(here: Path) -> None:
    text = run("run", "--out", "recs.parquet")
    assert "100 rows for 10 users written to recs.parquet" in text
    assert "what a user had may come again" in text
    assert pl.read_parquet("recs.parquet").equals(recommend_all("run"))


def test_each_option_counts(here: Path) -> None:
    (here / "users.txt").write_text("u1\nnobody\n")
    options = ("--users", "users.txt", "--k", "2", "--unseen", "--events", str(here / "log"))
    text = run("run", "--out", "recs.parquet", *options, "--at", "2026-01-08T00:00:00")
    assert "what a user had is left out" in text
    assert "1 of the users have no event" in text
    found = pl.read_parquet("recs.parquet")
    assert found["user_id"].unique(maintain_order=True).to_list() == ["u1", "nobody"]
    assert "exists" in run("run", "--out", "recs.parquet", code=2)
    assert "rows" in run("run", "--out", "recs.parquet", "--force", "--chunk", "3")


def test_a_dry_run_opens_all_and_writes_nothing(here: Path) -> None:
    before = sorted(here.iterdir())
    text = run("run", "--out", "recs.parquet", "--dry-run")
    assert "sequence of 12 items, 10 users" in text
    assert sorted(here.iterdir()) == before


def test_mistakes_are_told(here: Path) -> None:
    save_artifact(here / "other", kind="adapter", config={})
    for arguments, about in (
        (("other", "--out", "x.parquet"), "recommends nothing"),
        (("nowhere", "--out", "x.parquet"), "no model here"),
        (("run", "--out", "x.csv"), "name it .parquet"),
        (("run", "--out", "x.parquet", "--at", "soon"), "2026-05-31"),
        (("run", "--out", "x.parquet", "--users", "nowhere.txt"), "cannot be read"),
        (("run", "--out", "x.parquet", "--events", "nowhere"), "no such log"),
    ):
        assert about in run(*arguments, code=2)
    assert not list(here.glob("*x.*"))


def test_what_was_decided_for_a_log_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = opened_task(str(written(tmp_path / "log.csv", 6)), offline=True)
    assert len(found.task.users) == 30
    assert "Default: " in capsys.readouterr().out
    with pytest.raises(AdwrightError, match="no model here"):
        evaluate_recommender(tmp_path, "log.csv", split="test", draws=10, seed=0)


def written(log: Path, steps: int) -> Path:
    """A log in which each of thirty people takes so many things."""
    rows = [
        f"u{user},i{(user + step) % 7 if step < 6 else 'new'},"
        f"{1_700_000_000 + 90_000 * step + user}"
        for user in range(30)
        for step in range(steps)
    ]
    log.write_text("\n".join(["user_id,item_id,time", *rows]) + "\n")
    return log


@pytest.mark.parametrize(
    "train", [("item-item",), ("popularity",), ("two-tower", "--epochs", "1"), ("cascade",)]
)
def test_a_model_is_judged_by_what_it_has_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    written(tmp_path / "log.csv", 6)
    written(tmp_path / "newer.csv", 7)
    more = ("--minutes", "0") if train == ("cascade",) else ()
    quietly("train", train[0], "log.csv", *train[1:], *more, "--out", "a")
    assert "before anything was fitted to that" in quietly("evaluate", "a", "--out", "told.json")
    assert (tmp_path / "told.json").read_text() == (tmp_path / "a" / "report.json").read_text()
    if train[0] in ("item-item", "popularity"):
        text = quietly("evaluate", "a", "--log", "log.csv", code=2)
        assert "seen" in text
        assert "without --log" in text
    text = quietly("evaluate", "a", "--log", "newer.csv", "--out", "newer.json")
    assert "of 1 items that the model does not know, and count as misses" in text
    assert "of 30 users after 2023-11-" in text
    assert RankingComparison.from_json((tmp_path / "newer.json").read_text()).reports
    quietly("publish", "a", "--tenant", "shop", "--no-histories")
    assert "there is no report of the run" in quietly("evaluate", "models/shop/v1", code=2)
    assert "of 30 users after" in quietly("evaluate", "models/shop/v1", "--log", "newer.csv")
    assert "leave it out" in quietly(
        "evaluate", "a", "--log", "newer.csv", "--split", "valid", code=2
    )


URL = "sqlite:///adwright.db"


@pytest.fixture
def store_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store: 250 events on two days of long ago, one of today."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    with Store.open(URL) as store:
        store.create_key("acme")
        store.record_group("acme", [decision(1)])  # with its two impressions
        store.record_events("acme", [*events(250)[2:], event(900, kind="click", time=now())])
        store.create_tenant("new")
    return tmp_path


def now() -> datetime:
    return datetime.now(UTC)


def store_run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["store", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_show_counts_what_there_is_of_each_tenant(store_here: Path) -> None:
    save_popularity(store_here / "models" / "acme" / "v1", ["tea"], np.array([1.0]))
    publish(store_here / "models", "acme", "v1")
    text = store_run("show")
    for words in ("2 tenants", "acme", "new", "1 in use, 0 revoked", "251 in the store"):
        assert words in text
    assert "impression 250, click 1" in text
    assert "acme: v1 (popularity) decides" in text
    assert "none in models" in text
    one = store_run("show", "--tenant", "acme")
    assert "new" not in one.replace("newest", "")
    assert str(START.date()) in one
    with Store.open(URL) as store:
        (key,) = store.keys("acme")
    assert key.key_id in one
    assert "adw_" not in one


def test_events_are_written_as_any_log(store_here: Path) -> None:
    assert "251 events written" in store_run("events", "--tenant", "acme", "--out", "a.parquet")
    found = read_events(store_here / "a.parquet").collect()
    with Store.open(URL) as store:
        assert found.equals(store.events("acme"))
    store_run("compact", "--tenant", "acme", "--out", "log")
    text = store_run("events", "--tenant", "acme", "--out", "b.csv")
    assert "1 events written" in text
    assert "250 more were compacted" in text
    assert "251" in store_run("events", "--tenant", "acme", "--out", "c.parquet", "--folder", "log")
    every = read_events(store_here / "c.parquet").collect()
    assert set(every["event_id"]) == set(found["event_id"])
    assert "exists" in store_run("events", "--tenant", "acme", "--out", "b.csv", code=2)
    store_run("events", "--tenant", "acme", "--out", "b.csv", "--force")


def test_days_that_are_over_are_compacted_and_the_rest_is_said(store_here: Path) -> None:
    text = store_run("compact", "--tenant", "acme", "--out", "log")
    assert len(re.findall(r"wrote .*\.parquet", text)) == 2
    assert "250 events are compacted, 1 are still in the store" in text
    assert read_events(store_here / "log").collect().height == 250
    again = store_run("compact", "--tenant", "acme", "--out", "log")
    today = now().date()
    assert f"nothing to compact yet: the oldest of 1 events is of {today}" in again
    tomorrow = str(today + timedelta(days=1))
    assert f"--before {tomorrow}" in again
    assert "wrote" in store_run("compact", "--tenant", "acme", "--out", "log", "--before", tomorrow)
    assert pl.read_parquet(store_here / "log" / f"date={today}").height == 1
    assert "holds no event" in store_run("compact", "--tenant", "new", "--out", "other")


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["show", "--store", "sqlite:///typo.db"], "there is no such store"),
        (["show", "--tenant", "acne"], "no such tenant"),
        (["events", "--tenant", "acne", "--out", "x.parquet"], "it has acme, new"),
        (["events", "--tenant", "acme", "--out", "x.txt"], ".txt"),
        (["compact", "--tenant", "acne", "--out", "x"], "no such tenant"),
        (["compact", "--tenant", "acme", "--out", "x", "--before", "1.5.2024"], "2026-05-31"),
        (["compact", "--tenant", "acme", "--out", "x", "--store", "sqlite:///x.db"], "no such"),
    ],
)
def test_a_mistake_is_one_message_and_makes_nothing(
    store_here: Path, arguments: list[str], about: str
) -> None:
    before = sorted(path.name for path in store_here.iterdir() if "-" not in path.name)
    assert about in store_run(*arguments, code=2)
    assert sorted(path.name for path in store_here.iterdir() if "-" not in path.name) == before
