"""The first part of the demonstration: a ranker, what it shows to people, and the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.creative.lifetime.retire import open_retirement
from adwright.creative.lifetime.stop_list import RetirementList
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.task import Task
from adwright.demos.folder import DemoPart
from adwright.demos.ranker import (
    Activated,
    DemoConfig,
    DemoResult,
    Household,
    ShownProduct,
    add_links,
    demo,
    households_shown,
    write_page,
)
from adwright.demos.retirement import retirement_demo
from adwright.demos.shelf import readable_name, readable_size, shelf_product, shelf_products
from adwright.metrics.reports.report import page_environment
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import RunResult
from tests.support.data.ranking_task import MODEL, START, shop_run, shop_task, untrained
from tests.support.data.small_life_log import SmallLives

HOUSEHOLD = Household(
    user_id="<b>u1</b>",
    time=START,
    history=1234,
    candidates=30,
    taken=1,
    shown=(
        ShownProduct("i1", "tea & <jam>", 0.123, True, (Activated("i2", "milk", 3, 0.5),)),
        ShownProduct("i2", "milk", 0.05, False, (Activated("i2", "milk", 3, 0.25),)),
    ),
    past=("×3 milk", "×1 jam"),
    weights=((0.5, -0.25), (0.0, 0.1)),
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return shop_run(tmp_path_factory.mktemp("shop"), users=20)


@pytest.fixture(scope="module")
def page(result: RunResult, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, result, [HOUSEHOLD], seconds={"train DIN": 12.34})
    return path.read_text("utf-8")


def test_text_is_escaped(page: str) -> None:
    assert "&lt;b&gt;u1&lt;/b&gt;" in page
    assert "tea &amp; &lt;jam&gt;" in page
    assert "<b>u1" not in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"https?:", page)


def test_everything_is_told(page: str, result: RunResult) -> None:
    for text in ("1,234 purchases", "12.3%", "×3, 50%", "×3, 25%", "12.3 s", "01 January 2024"):
        assert text in page, text
    for row in result.comparison.rows():
        assert row[1] in page
    assert result.artifact in page
    assert escape(result.comparison.verdict()) in page
    assert "0.5 of the negatives" in page


def test_charts_are_drawn_with_ids_of_their_own(page: str) -> None:
    assert page.count("<svg") == 4
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for reference in re.findall(r"url\(#([^)]+)\)", page):
        assert reference in ids


def test_one_epoch_has_a_curve_of_its_training_loss(result: RunResult, tmp_path: Path) -> None:
    bare = replace(result, folder=tmp_path)
    counts = []
    for windows in (1, 2, 3):
        (tmp_path / "runs" / "din").mkdir(parents=True, exist_ok=True)
        curve = [[10 * n, 0.5 / n] for n in range(1, windows + 1)]
        line = json.dumps({"batches": 30, "valid_gauc": 0.6, "train_curve": curve})
        (tmp_path / "runs" / "din" / "metrics.jsonl").write_text(line)
        write_page(tmp_path / "p.html", bare, [], seconds={})
        page = (tmp_path / "p.html").read_text("utf-8")
        counts.append(page.count("<svg"))
    assert counts == [3, 4, 4]
    assert "Log loss on training rows" in page


def test_without_people_or_rivals_there_is_less_to_draw(result: RunResult, tmp_path: Path) -> None:
    alone = replace(result.comparison, differences={})
    bare = replace(result, comparison=alone, folder=tmp_path)
    write_page(tmp_path / "p.html", bare, [], seconds={})
    assert (tmp_path / "p.html").read_text("utf-8").count("<svg") == 2


def test_further_pages_are_linked(result: RunResult, page: str, tmp_path: Path) -> None:
    assert "<a " not in page
    further = {"cascade/cascade.html": "Go on & on"}
    write_page(tmp_path / "p.html", result, [HOUSEHOLD], seconds={}, further=further)
    text = (tmp_path / "p.html").read_text("utf-8")
    assert '<a href="cascade/cascade.html">Go on &amp; on</a>' in text
    assert "base.html" in page_environment("adwright.demos").list_templates()
    assert "cascade.html" in page_environment("adwright.demos").list_templates()
    assert "cascade.html" not in page_environment().list_templates()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    return shop_task(folder / "task", users=16)


@pytest.fixture(scope="module")
def found(folder: Path, task: Task) -> DemoResult:
    return demo(DemoConfig(out=folder / "out", negative_rate=0.5, k=4), task=task)


def test_the_demonstration_leaves_a_ranker_and_a_page(found: DemoResult, folder: Path) -> None:
    assert found.page == folder / "out" / "report.html"
    assert found.page.read_text("utf-8").startswith("<!doctype html>")
    assert Ranker.load(folder / "out" / "ranker").report == found.result.ranker.report
    assert list(found.result.comparison.reports)[:2] == ["DIN", "Base"]
    assert "write the page" in found.result.stages


def test_links_are_added_to_the_page(found: DemoResult) -> None:
    before = found.page.read_text("utf-8")
    add_links(found, {"more.html": "more"})
    assert '<a href="more.html">more</a>' in found.page.read_text("utf-8")
    add_links(found, {})
    after = found.page.read_text("utf-8")
    assert "<a " not in after
    assert after.count("Household") == before.count("Household")


def test_what_is_shown_is_what_the_ranker_recommends(found: DemoResult, task: Task) -> None:
    assert len(found.households) == 3
    for household in found.households:
        rows = task.rows("test").filter(user_id=household.user_id, time=household.time).collect()
        events = pl.read_parquet(task.events_path("test")).filter(
            pl.col("user_id") == household.user_id, pl.col("time") < household.time
        )
        best = found.result.ranker.recommend(events, rows, k=4)
        assert [shown.item_id for shown in household.shown] == best["item_id"].to_list()
        assert household.candidates == rows.height
        assert household.taken == int(rows["label"].sum())
        assert household.history == events.height == rows["visible"][0]
        bought = set(events["item_id"])
        whole = [
            found.result.ranker.explain(events, shown.item_id, k=99) for shown in household.shown
        ]
        assert len(household.past) == min(18, len(bought))
        for at, table in enumerate(whole):
            pairs = list(table.select("count", "name", "weight").iter_rows())
            for name, row in zip(household.past, household.weights, strict=True):
                assert row[at] in [w for n, past, w in pairs if f"×{n} {past}" == name]
        for shown in household.shown:
            assert {past.item_id for past in shown.because} <= bought
            label = rows.filter(item_id=shown.item_id)["label"].max()
            assert shown.taken == (label == 1)


def test_the_choice_of_people_follows_the_seed(task: Task) -> None:
    ranker = Ranker(untrained(task), task.spec, task.items)

    def people(**more: int) -> list[str]:
        return [h.user_id for h in households_shown(ranker, task, **more)]

    assert people(seed=1) == people(seed=1)
    assert len({tuple(people(seed=seed)) for seed in range(4)}) > 1
    assert len(people(people=2)) == 2
    (first, *_) = households_shown(ranker, task, k=3)
    assert len(first.shown) == 3
    assert max(len(shown.because) for shown in first.shown) == 3


def test_a_base_model_gives_no_reasons(task: Task) -> None:
    base = Ranker(untrained(task, replace(MODEL, interest="sum")), task.spec, task.items)
    (first, *_) = households_shown(base, task)
    assert all(shown.because == () for shown in first.shown)
    assert first.past == first.weights == ()


def test_only_an_earlier_demonstration_is_replaced(
    found: DemoResult, task: Task, folder: Path, tmp_path: Path
) -> None:
    again = demo(DemoConfig(out=folder / "out", negative_rate=0.5, k=4, people=1), task=task)
    assert again.result.artifact != ""
    assert len(again.households) == 1
    assert json.loads((folder / "out" / "demo.json").read_text())["people"] == 1
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        demo(DemoConfig(out=tmp_path), task=task)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_settings_reach_the_run() -> None:
    config = DemoConfig(
        households=0.3, epochs=2, negative_rate=0.1, max_history=9, seed=4, offline=True
    ).run_config()
    assert (config.task.households, config.task.offline, config.seed) == (0.3, True, 4)
    assert (config.fit.epochs, config.fit.stream.negative_rate) == (2, 0.1)
    assert config.fit.stream.max_history == 9
    for wrong in ({"people": 0}, {"households": 2.0}, {"epochs": 0}, {"negative_rate": 0.0}):
        with pytest.raises(ConfigError):
            DemoConfig(**wrong)  # type: ignore[arg-type]


def test_it_trains_replays_and_lists(tmp_path: Path) -> None:
    lives, out = SmallLives(200), tmp_path / "out"
    first = retirement_demo(DemoPart(out), before=13, epochs=1, lives=lives)
    assert first.past.periods == (13, 20)
    assert first.found.facts.period == 20
    assert first.page.is_file()
    assert "Value kept against cost saved" in first.page.read_text("utf-8")
    assert RetirementList.open(out / "list").id == first.found.id
    assert open_retirement(out).id == first.found.facts.model_id
    again = retirement_demo(DemoPart(out), before=13, epochs=1, lives=lives)
    assert again.found.units.equals(first.found.units)
    assert {"replay the rule", "list what to stop"} <= set(first.seconds)


def test_it_takes_no_folder_of_another(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        retirement_demo(DemoPart(tmp_path), lives=SmallLives(20))


ROW = {
    "product_id": 845914,
    "manufacturer_id": 69,
    "department": "GROCERY",
    "brand": "Private",
    "product_category": "SOFT DRINKS",
    "product_type": "SOFT DRINKS 20PK&24PK CAN CARB",
    "package_size": "24 PK",
}


@pytest.mark.parametrize(
    ("name", "category", "read"),
    [
        ("FROZEN FRUIT PIES  & COBBLERS", "", "Frozen fruit pies and cobblers"),
        ("HAM STEAKS/CUBES/SLICES", "", "Ham steaks, cubes and slices"),
        ("BREAD:ITALIAN/FRENCH", "", "Italian and French bread"),
        ("MEAT: TURKEY BULK", "", "Bulk turkey"),
        ("EGGS - X-LARGE", "", "Extra large eggs"),
        ("FLUID MILK WHITE ONLY", "", "White milk"),
        ("CANDY BARS (SINGLES)(INCLUDING", "", "Candy bars"),
        ("DAIRY CASE TEA NO SUGAR OR SWE", "", "Dairy case tea no sugar or"),
        ("PREMIUM", "ICE CREAM", "Premium ice cream"),
        ("MISC", "TEAS", "Teas"),
        ("(12)", "", ""),
        ("", "", ""),
    ],
)
def test_names_are_read(name: str, category: str, read: str) -> None:
    assert readable_name(name, category) == read


def test_sizes_are_one_measure_or_none() -> None:
    sizes = {"16 OZ": "16 oz", ".5 OZ": "0.5 oz", "4.0 OZ": "4 oz", "2 LTR": "2 l", "1 LB": "1 lb"}
    assert {size: readable_size(size) for size in sizes} == sizes
    assert {readable_size(one) for one in ("", "41-50/16 OZ", "2 PK/7.2 OZ", "867440 4 PK")} == {""}


def test_a_row_is_a_product() -> None:
    product = shelf_product(ROW)
    assert product is not None
    assert (product.id, product.category) == ("845914", "Soft drinks")
    assert product.title == "Soft drinks canned carbonated"
    assert dict(product.attributes) == {
        "Size": "24 pk",
        "Department": "Grocery",
        "Brand type": "store brand",
    }
    assert product.brand == product.price == ""
    nothing = dict.fromkeys(ROW, None) | {"product_id": 1}
    assert shelf_product(nothing) is None


def test_products_come_in_the_order_asked_for() -> None:
    rows = [ROW, ROW | {"product_id": 2}, dict.fromkeys(ROW, None) | {"product_id": 3}]
    found = shelf_products(pl.DataFrame(rows), ["3", "2", "99", "845914"])
    assert [one.id for one in found] == ["2", "845914"]


def test_every_product_that_the_data_describe_is_read() -> None:
    frame = CompleteJourney.open().products().collect().sample(3000, seed=1)
    found = [shelf_product(cells) for cells in frame.iter_rows(named=True)]
    named = [one for one in found if one is not None]
    assert len(named) > 0.9 * len(found)
    assert not any(set("&/():") & set(one.title) for one in named)
    assert all(one.title[0].isupper() or not one.title[0].isalpha() for one in named)
