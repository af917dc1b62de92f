"""The second half of the demonstration, on a task of twelve items."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl
import pytest

from adwright.audit.catalogue import ShopListing
from adwright.audit.certificate.certificate import read_signed
from adwright.audit.targets.target import FunctionTarget
from adwright.authoring.checks.limits import errors_of
from adwright.authoring.checks.verdict import check
from adwright.authoring.tasks import Product
from adwright.authoring.writer.asking import OpenedWriter
from adwright.core.artifacts import load_artifact
from adwright.core.config import from_jsonable
from adwright.core.errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    ProgramError,
    ResourceError,
)
from adwright.data.schema import validate_events
from adwright.delivery.cascade.build import Deployment
from adwright.delivery.cascade.trial import OrderQuality, StageQuality
from adwright.delivery.policy.rules import GreedyConfig
from adwright.delivery.stages.histories import visit_requests
from adwright.demos import cascade as module
from adwright.demos.ads import (
    AD_SLOTS,
    ADAPTER,
    JUDGES,
    ProductAd,
    WrittenText,
    ad_rows,
    ads_demo,
    journey_shelf,
    judge_ads,
    open_chooser,
    summary_of,
    write_ads,
)
from adwright.demos.audited import EPS, SoldProduct, audit_demo
from adwright.demos.cascade import (
    CascadeDemoConfig,
    CascadeDemoResult,
    CascadeMeasures,
    ShownDecision,
    SlateItem,
    cascade_demo,
    small_build,
)
from adwright.demos.folder import DemoPart, claim_folder, remove_demo, require_ours, write_demo_page
from adwright.lm import open_model
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.report import page_environment
from adwright.training.ranking.ranker import Ranker
from tests.delivery.cascade.test_build import CONFIG
from tests.support.data.small_next_basket import START, small_task

TEA = Product("1", "Tea bags", category="Teas", attributes=(("Size", "20 ct"),))


HAM = Product("2", "Ham {{steaks}}", attributes=(("Department", "Meat"),))


@contextmanager
def room() -> Iterator[OpenedWriter]:
    """Where the rule chooses."""
    yield OpenedWriter(None, "a script", "rule")


def written(*products: Product) -> tuple[ProductAd, ...]:
    with room() as opened:
        return write_ads(opened, products)


def test_each_text_is_whole_and_of_the_facts() -> None:
    assert [slot.name for slot in AD_SLOTS] == ["headline", "text", "description"]
    (ad,) = written(TEA)
    for slot, text in zip(AD_SLOTS, ad.texts, strict=True):
        assert "Tea Bags" in text.text
        assert "20 ct" in text.text
        assert len(text.text) <= slot.limit
        assert not errors_of(check(text.text, slot.wanted(TEA).request, slot.check))


def test_what_nobody_can_say_is_left_out_and_harms_nothing_else() -> None:
    odd, tea = written(Product("3", "Plastic ctlrytblclthstthpksst"), TEA)
    assert all("codes" in one.why and not one.text for one in odd.texts)
    assert all(one.text and not one.why for one in tea.texts)
    with pytest.raises(ProgramError, match=r"no ad could be written: .*codes"):
        written(odd.product)


def test_without_the_extra_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_model, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="writing ads needs packages"), open_chooser():
        pass


def test_the_adapter_that_ships_is_whole_and_small() -> None:
    artifact = load_artifact(ADAPTER / "tuned", kind="lm-tuned")
    assert artifact.config["method"] == "LoRA"
    assert artifact.tensors
    assert sum(one.stat().st_size for one in (ADAPTER / "tuned").iterdir()) < 10_000_000
    manifest = json.loads((ADAPTER / "tuned" / "manifest.json").read_text("utf-8"))
    card = (ADAPTER / "README.md").read_text("utf-8")
    assert f"seed {manifest['seed']}" in card
    for said in ("SmolLM2-135M", "Apache-2.0", "CC0", "held-out", "What it is for"):
        assert said in card


def test_rows_for_a_terminal() -> None:
    texts = (WrittenText("headline", "Tea"), WrittenText("text", "", "it has codes"))
    assert ad_rows(ProductAd(TEA, texts)) == [
        ("headline", "Tea"),
        ("text", "(left out: it has codes)"),
    ]


def ad(id: str, headline: str, text: str = "Baked at six.") -> ProductAd:
    def written(slot: str, said: str) -> WrittenText:
        return WrittenText(slot, said)

    texts = (written("headline", headline), written("text", text))
    return ProductAd(Product(id, "Bread", brand="Mill Lane"), texts)


def test_ads_are_judged_by_what_ships(tmp_path: Path) -> None:
    assert "CC BY 4.0" in (JUDGES / "README.md").read_text("utf-8")
    page = tmp_path / "judged.html"
    found = judge_ads([ad("p1", "Fresh bread"), ad("p2", ""), ad("p3", "Rolls")], page)
    assert found is not None
    assert found.header == ("headline", "click rate", "memorability")
    assert [row[0] for row in found.rows] == ["Fresh bread", "Rolls"]
    assert re.fullmatch(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)(, unlike)?", found.rows[0][1])
    text = page.read_text("utf-8")
    assert "no person was asked" in text
    assert "Mill Lane" in text


def test_no_headline_no_page(tmp_path: Path) -> None:
    assert judge_ads([ad("p1", "")], tmp_path / "judged.html") is None
    assert not (tmp_path / "judged.html").exists()


def nobody(ads: object, page: Path) -> None:
    """Judges none."""


def test_it_writes_ads_a_file_and_a_page(tmp_path: Path) -> None:
    out = tmp_path / "ads"
    ham = replace(HAM, title="Ham <steaks>")
    found = ads_demo(DemoPart(out), (TEA, ham), opened=room, judge=nobody)
    assert [ad.product for ad in found.ads] == [TEA, ham]
    assert found.model.startswith("a script")
    assert found.summary == summary_of(found.ads)
    assert found.summary.startswith("Of 6 texts 6 are written: whole, and of the facts")
    page = found.page.read_text("utf-8")
    assert found.page == out / "ads.html"
    for said in ("Ham &lt;steaks&gt;", "a script", found.summary):
        assert said in page
    assert "<script" not in page
    lines = [json.loads(line) for line in (out / "ads.jsonl").read_text("utf-8").splitlines()]
    assert [line["product"]["title"] for line in lines] == [TEA.title, ham.title]
    assert "write and check the ads" in found.seconds
    assert found.judged is None
    again = ads_demo(DemoPart(out), (HAM,), opened=room, judge=nobody)
    assert "Tea bags" not in again.page.read_text("utf-8")
    remove_demo(out)
    assert not out.exists()


def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no products"):
        ads_demo(DemoPart(tmp_path / "new"), (), opened=room)
    assert not (tmp_path / "new").exists()
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        ads_demo(DemoPart(tmp_path), (TEA,), opened=room)


def test_products_of_the_journey_by_id() -> None:
    found = journey_shelf(["848681", "no such"])
    assert [(one.id, one.title) for one in found] == [("848681", "Mexican beans refried")]
    assert isinstance(found[0], Product)


pytest.importorskip("cryptography", reason="the extra audit is not installed")


SOLD = [
    SoldProduct(Product(str(at), title, category="Tea"), chance, "For many guests.")
    for at, (title, chance) in enumerate(
        [("Green tea", 0.4), ("Black tea", 0.39), ("Mint tea", 0.2), ("Iced tea", 0.1)]
    )
]


def gullible() -> FunctionTarget:
    """Counts how often a listing names itself, and then goes by the name."""

    def score(listings: Sequence[ShopListing], request: str) -> list[float]:
        return [one.shown().count(one.name) + ord(one.name[0]) / 1000 for one in listings]

    return FunctionTarget(score, name="gullible")


def test_an_attack_passes_on_the_assistant_and_fails_on_what_is_certified(tmp_path: Path) -> None:
    out = tmp_path / "audit"
    found = audit_demo(DemoPart(out), SOLD, opened=gullible)
    # What it puts last is pushed to the front, and certified to move by what EPS can bring.
    assert (found.product, found.before, found.after) == ("Black tea", 4.0, 1.0)
    assert (found.bounded_before, found.bounded_after, found.best) == (2, 1, 1)
    assert read_signed(out / "certificate.json") == found.certificate
    assert found.certificate.eps == EPS
    assert [row[:2] for row in found.rows()][:1] == [("Green tea", "40.0%")]
    assert {row[0]: row[2:] for row in found.rows()}["Iced tea"] == ("4", "4", "4")
    page = found.page.read_text("utf-8")
    assert "gullible" in page
    assert all(cell in page for row in found.rows() for cell in row)
    assert "from rank 4.0 to 1.0" in found.sentence()


def test_a_text_moves_no_product_farther_than_is_certified(tmp_path: Path) -> None:
    sold = [replace(SOLD[1], chance=0.05), *SOLD[2:], SOLD[0]]
    found = audit_demo(DemoPart(tmp_path), sold, opened=gullible)
    assert (found.product, found.after) == ("Black tea", 1.0)
    assert found.bounded_after == found.bounded_before == found.best == 4


def test_it_is_run_again_by_the_same_key(tmp_path: Path) -> None:
    audit_demo(DemoPart(tmp_path), SOLD, opened=gullible)
    key = (tmp_path / "audit.pem").read_bytes()
    audit_demo(DemoPart(tmp_path, seed=1), SOLD, opened=gullible)
    assert (tmp_path / "audit.pem").read_bytes() == key
    remove_demo(tmp_path)
    assert not tmp_path.exists()


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    same = [SOLD[0], replace(SOLD[1], product=SOLD[0].product), replace(SOLD[2], text=" ")]
    with pytest.raises(DataError, match="there are 1"):
        audit_demo(DemoPart(tmp_path / "new"), same, opened=gullible)
    assert not (tmp_path / "new").exists()
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        audit_demo(DemoPart(tmp_path), SOLD, opened=gullible)


SHARE = Interval(0.5, 0.4, 0.625)
MEASURES = CascadeMeasures(
    requests=1000,
    households=691,
    items=68_509,
    k=10,
    stages=(
        StageQuality("retrieve", 815.2, SHARE, Interval(1, 1, 1)),
        StageQuality("elsewhere", 50, SHARE, SHARE),
    ),
    cpu_ms={"retrieve": 10.26, "elsewhere": 8.0},
    orders=(
        OrderQuality("cascade", SHARE, SHARE, None),
        OrderQuality("habit", SHARE, SHARE, Interval(0.012, -0.01, 0.03)),
    ),
    p50_ms=30.4,
    p99_ms=59.6,
    sample=30,
    exhaustive_cpu_ms=1822.4,
)
SHOWN = ShownDecision(
    user_id="<i>17",
    time=START,
    history=1234,
    basket=7,
    places=(
        SlateItem("i1", "tea & <jam>", 0.123, 0.456, 39, True),
        SlateItem("i2", "milk", 0.05, 0.01, 0, False),
    ),
)


@pytest.fixture
def page(tmp_path: Path) -> str:
    path = tmp_path / "cascade.html"
    values = {"measures": MEASURES, "shown": [SHOWN], "protocol": "by hand", "artifact": "abc123"}
    values |= {"seed": 41, "seconds": {"serve": 30.04, "rank": 40.0}}
    write_demo_page(path, "cascade.html", values)
    return path.read_text("utf-8")


def test_tables_are_text() -> None:
    header, rows = MEASURES.stage_header(), MEASURES.stage_rows()
    assert all(len(row) == len(header) for row in rows)
    assert "own 10 (30 requests)" in header[3]
    assert rows[0][1:] == ("815", "50.0% (40.0% to 62.5%)", "100.0% (100.0% to 100.0%)", "10.3")
    assert rows[1][0] == "elsewhere"
    header, orders = MEASURES.order_header(), MEASURES.order_rows()
    assert header[1:3] == ("recall@10", "NDCG@10")
    assert orders[0] == ("cascade", *["0.500 (0.400 to 0.625)"] * 2, "")
    assert orders[1][3] == "+0.012 (-0.010 to +0.030)"
    assert "1,000 baskets" in MEASURES.title()
    assert "691 households" in MEASURES.title()


def test_what_it_costs_is_said() -> None:
    assert "30 ms (median; 99% within 60 ms) and 18 CPU-ms" in MEASURES.cost()
    assert "1,822 CPU-ms" in MEASURES.cost()
    assert replace(MEASURES, p50_ms=9.0).cost() != MEASURES.cost()


def test_everything_is_told(page: str) -> None:
    assert escape(MEASURES.stage_header()[3]).replace("&#x27;", "&#39;") in page
    told = (
        *MEASURES.stage_header()[:3],
        *MEASURES.order_header(),
        *(cell for row in (*MEASURES.stage_rows(), *MEASURES.order_rows()) for cell in row),
        MEASURES.cost(),
        "&lt;i&gt;17",
        "tea &amp; &lt;jam&gt;",
        "1,234 purchases before; 7 items",
        "12.3%",
        "45.6%",
        "×39",
        '<span class="taken">yes</span>',
        "by hand",
        "abc123",
        ">41<",
        "30.0 s",
        "70 s",
    )
    for text in told:
        assert text in page, text


TASK = small_task(people=20)
TEST = TASK.visits("test")


def asked(folder: Path, **changes: Any) -> CascadeDemoConfig:
    small: dict[str, Any] = {
        "requests": 15,
        "exhaustive": 6,
        "k": 3,
        "build": CONFIG,
        "draws": 20,
        "cache": folder / "cache",
        "out": folder / "out",
    }
    return CascadeDemoConfig(**small | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cascade-demo")


@pytest.fixture(scope="module")
def found(folder: Path) -> CascadeDemoResult:
    return cascade_demo(asked(folder), task=TASK)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, found: CascadeDemoResult) -> None:
    """Later demonstrations take the cascade that is there."""
    saved = Deployment.load(found.deployment)
    saved = replace(saved, fine=Ranker.load(found.folder / "fine" / "ranker"))

    def build(task: object, run: Path, *_: object, **__: object) -> Deployment:
        saved.save(run / "deployment")
        return saved

    monkeypatch.setattr(module, "build_deployment", build)


def test_it_leaves_what_it_promises(found: CascadeDemoResult, folder: Path) -> None:
    assert found.folder == folder / "out"
    assert Deployment.load(found.deployment).artifact_id == found.artifact
    assert found.page.read_text("utf-8").startswith("<!doctype html>")
    measures = json.loads((found.folder / "measures.json").read_text("utf-8"))
    assert from_jsonable(CascadeMeasures, measures) == found.measures
    config = json.loads((found.folder / "cascade.json").read_text("utf-8"))
    assert from_jsonable(CascadeDemoConfig, config) == asked(folder)
    stages = list(found.seconds)
    assert stages[0] == "train the retriever"
    assert stages[-1] == "write the cascade's page"


def test_the_numbers_are_those_of_slow_counts(found: CascadeDemoResult) -> None:
    """All shares, computed one request at a time from the saved cascade and the log."""
    saved = Deployment.load(found.deployment)
    cascade = saved.cascade()
    visits = np.sort(np.random.default_rng(0).permutation(TEST)[:15])
    log = pl.read_parquet(found.folder / "decisions.parquet")
    left: dict[str, list[float]] = {"retrieve": [], "coarse": [], "fine": [], "policy": []}
    items = {name: 0 for name in left}
    for visit, request in zip(visits.tolist(), visit_requests(TASK, visits, k=3), strict=True):
        targets = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
        bought = {TASK.items.ids[code - 1] for code in targets.tolist()}
        batch = cascade.histories.batch([request])
        shown = log.filter(request_id=request.request_id).sort("position")["item_id"].to_list()
        answer = cascade.recommend(request).item_ids
        lists = {
            "retrieve": [TASK.items.ids[c - 1] for c in cascade.retrieve(batch).codes.tolist()],
            "coarse": list(answer),
            "fine": list(answer[:3]),
            "policy": shown,
        }
        for name, ids in lists.items():
            left[name].append(len(bought & set(ids)) / len(bought))
            items[name] += len(ids)
    measures, first = found.measures, left["fine"]
    if saved.fine is None:
        del left["fine"]
    assert ("is left out" in measures.fine) == (saved.fine is None)
    assert measures.fine[1:] in found.page.read_text("utf-8")
    assert [one.stage for one in measures.stages] == list(left)
    for one in measures.stages:
        assert one.bought.value == pytest.approx(np.mean(left[one.stage]))
        assert one.items == pytest.approx(items[one.stage] / 15)
    best, drawn, *_ = measures.orders
    assert best.recall.value == pytest.approx(np.mean(first))
    assert drawn.recall.value == pytest.approx(np.mean(left["policy"]))
    assert (measures.requests, measures.items, measures.k, measures.sample) == (15, 12, 3, 6)
    assert measures.households == len(np.unique(TASK.visit_user[visits]))
    assert set(measures.cpu_ms) == set(left)
    assert measures.p50_ms <= measures.p99_ms


def test_the_decisions_are_a_log(found: CascadeDemoResult) -> None:
    log = pl.read_parquet(found.folder / "decisions.parquet")
    assert log.equals(validate_events(log))
    assert set(log["kind"]) == {"impression"}
    assert log["policy_id"].unique().to_list() == ["softmax-0.25"]
    assert ((log["propensity"] > 0) & (log["propensity"] <= 1)).all()
    assert log.height == 15 * 3


def test_some_decisions_can_be_read(found: CascadeDemoResult) -> None:
    log = pl.read_parquet(found.folder / "decisions.parquet")
    assert len({decision.user_id for decision in found.shown}) == 3
    for decision in found.shown:
        rows = log.filter(user_id=decision.user_id, time=decision.time).sort("position")
        assert [place.item_id for place in decision.places] == rows["item_id"].to_list()
        assert [place.propensity for place in decision.places] == rows["propensity"].to_list()
        visit = int(rows["request_id"][0].removeprefix("visit-"))
        user = TASK.visit_user[visit]
        past = TASK.item[TASK.user_offsets[user] : TASK.visit_end[visit]].tolist()
        targets = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
        assert decision.history == len(past)
        assert decision.basket == len(targets)
        for place in decision.places:
            code = TASK.items.ids.index(place.item_id) + 1
            assert place.had == past.count(code)
            assert place.bought == (code in targets)
            assert 0 <= place.probability <= 1 or not decision.calibrated


def slates(result: CascadeDemoResult) -> list[str]:
    return pl.read_parquet(result.folder / "decisions.parquet")["item_id"].to_list()


@pytest.mark.usefixtures("trained")
def test_arguments_matter(found: CascadeDemoResult, folder: Path, tmp_path: Path) -> None:
    def again(name: str, **changes: Any) -> CascadeDemoResult:
        return cascade_demo(asked(folder, out=tmp_path / name, **changes), task=TASK)

    assert slates(again("same")) == slates(found)
    assert slates(again("seed", seed=1)) != slates(found)
    fewer = again("fewer", requests=4, exhaustive=2, people=1, k=2)
    assert (fewer.measures.requests, fewer.measures.sample) == (4, 2)
    assert [len(decision.places) for decision in fewer.shown] == [2]
    greedy = again("greedy", policy=GreedyConfig())
    drawn = greedy.measures.orders[1]
    assert drawn.ahead is not None
    assert drawn.ahead.value == 0
    rough = again("rough", draws=3).measures.orders[0].ndcg
    assert rough.value == found.measures.orders[0].ndcg.value
    assert (rough.low, rough.high) != (
        found.measures.orders[0].ndcg.low,
        found.measures.orders[0].ndcg.high,
    )


@pytest.mark.usefixtures("trained")
def test_only_an_earlier_demonstration_is_replaced(folder: Path, tmp_path: Path) -> None:
    first = cascade_demo(asked(folder, out=tmp_path / "a"), task=TASK)
    (first.folder / "old").write_text("of the first")
    again = cascade_demo(asked(folder, out=tmp_path / "a", requests=5), task=TASK)
    assert again.measures.requests == 5
    assert not (again.folder / "old").exists()
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        cascade_demo(asked(folder, out=tmp_path), task=TASK)
    assert (tmp_path / "diary.txt").exists()
    remove_demo(tmp_path / "a", "cascade.json")
    assert not (tmp_path / "a").exists()
    remove_demo(tmp_path / "a", "cascade.json")


def test_the_task_is_that_of_the_households(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stop(source: Any, *, households: float) -> None:
        raise Stopped(source, households)

    monkeypatch.setattr(module.CompleteJourney, "open", lambda *, offline: f"offline {offline}")
    monkeypatch.setattr(module, "build_next_basket", stop)
    with pytest.raises(Stopped) as caught:
        cascade_demo(CascadeDemoConfig(households=0.3, offline=True, out=tmp_path / "o"))
    assert caught.value.args == ("offline True", 0.3)


def test_a_task_without_test_visits_is_refused(tmp_path: Path) -> None:
    empty = replace(TASK, split=np.zeros_like(TASK.split))
    with pytest.raises(ConfigError, match="no visit to test on"):
        cascade_demo(asked(tmp_path), task=empty)


def test_settings_are_checked() -> None:
    assert small_build(max_history=9).fine_fit.stream.max_history == 9
    assert small_build().fine_fit.stream.max_history == 0
    for wrong in ({"requests": 0}, {"exhaustive": 0}, {"people": 0}, {"k": 0}, {"draws": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            CascadeDemoConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at most 1"):
        CascadeDemoConfig(households=1.5)


@dataclass(frozen=True)
class Asked:
    k: int = 3


def test_a_folder_is_taken_where_it_is_empty_or_ours(tmp_path: Path) -> None:
    claim_folder(tmp_path / "new", "mark.json", Asked())
    assert json.loads((tmp_path / "new" / "mark.json").read_text()) == {"k": 3}
    claim_folder(tmp_path / "new", "mark.json", Asked(5))
    assert json.loads((tmp_path / "new" / "mark.json").read_text()) == {"k": 5}
    (tmp_path / "theirs").mkdir()
    require_ours(tmp_path / "theirs", "mark.json")
    (tmp_path / "theirs" / "letter.txt").write_text("dear ann")
    with pytest.raises(ResourceError, match="no demonstration made"):
        claim_folder(tmp_path / "theirs", "mark.json", Asked())
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["letter.txt"]


def test_a_page_needs_every_value(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        write_demo_page(tmp_path / "page.html", "report.html", {"subject": "DIN"})
    assert not (tmp_path / "page.html").exists()


def test_the_shared_parts_escape_and_add_up() -> None:
    parts = page_environment("adwright.demos").get_template("parts.html").module
    table = str(parts.table(("a",), [("<b>",)]))  # type: ignore[attr-defined]
    assert '<th scope="col">a</th>' in table
    assert '<td data-name="a">&lt;b&gt;</td>' in table
    made = str(parts.making("id", 3, {"one": 1.5, "two": 2.5}))  # type: ignore[attr-defined]
    assert "<td>1.5 s</td>" in made
    assert "<td>4 s</td>" in made
