from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.cli.demo import show, show_ads, show_audit, show_cascade
from adwright.core.errors import MissingExtraError
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
from tests.delivery.cascade.test_build import CONFIG
from tests.demos.test_ads import HAM, TEA, room
from tests.demos.test_audited import gullible
from tests.support.data.ranking_task import shop_task
from tests.support.data.small_life_log import SmallLives
from tests.support.data.small_next_basket import small_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(folder: Path) -> DemoResult:
    task = shop_task(folder / "task", users=10)
    return demo(DemoConfig(out=folder / "out", negative_rate=0.5, k=2), task=task)


@pytest.fixture(scope="module")
def second(folder: Path) -> CascadeDemoResult:
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
def third(folder: Path) -> RetirementDemoResult:
    asked = DemoPart(folder / "out" / "retirement")
    return retirement_demo(asked, before=13, epochs=1, lives=SmallLives(200))


@pytest.fixture(scope="module")
def fourth(folder: Path) -> AdsDemoResult:
    return ads_demo(
        DemoPart(folder / "out" / "ads"),
        (TEA, HAM),
        opened=room,
        judge=lambda ads, page: None,
    )


@pytest.fixture(scope="module")
def fifth(folder: Path) -> AuditDemoResult:
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
    assert CliRunner().invoke(app, ["demo", *arguments, *more]).exit_code == 0
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
    result = CliRunner().invoke(app, ["demo", "--out", str(out)])
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
    result = CliRunner().invoke(app, ["demo", *without, "--out", str(tmp_path)])
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
    result = CliRunner().invoke(app, ["demo", *without, "--out", str(tmp_path)])
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
    asking = ["demo", "--no-cascade", "--no-retirement", "--out", str(folder / "out")]
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
    for decision in second.shown:
        assert f"Household {decision.user_id} on" in text
        for place in decision.places:
            assert place.name in text


def test_what_is_shown_of_the_ads(
    fourth: AdsDemoResult, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    show_ads(fourth)
    text = capsys.readouterr().out
    assert fourth.summary in text
    assert "[[5]]" in text
    for ad in fourth.ads:
        assert ad.product.title in text
        for row in ad_rows(ad):
            assert all(cell in text for cell in row)
