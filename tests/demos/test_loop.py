"""The main demonstration: the life of ads, run small, and its page."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from typer.main import get_command

from adwright.cli import app
from adwright.cli.demo import run_verb
from adwright.core.errors import AssetError, ResourceError
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.demos import loop as loop_module
from adwright.demos.life import lives_of, write_life_page
from adwright.demos.loop import (
    LOOP,
    PLANTED,
    STATIC,
    SYSTEMS,
    AdLifeConfig,
    AdLifeResult,
    lift_of,
    loop_demo,
)

RUN = partial(run_verb, get_command(app))


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> AdLifeResult:
    """A small shop, whose ads are phrases."""
    try:
        CompleteJourney.open(offline=True)
    except AssetError:
        pytest.skip("Complete Journey is not on this machine")
    out = tmp_path_factory.mktemp("loop") / "out"
    config = AdLifeConfig(
        weeks=2, people=0.05, items=4, variants=2, places=2, planted=-3.0, offline=True, out=out
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "why_no_writer", lambda *, offline: "there is none")
        return loop_demo(config, RUN, told.append)


def test_the_loop_goes_round(result: AdLifeResult, told: list[str]) -> None:
    assert told[0].startswith("No language model, since there is none")
    assert set(result.ads["campaign_id"]) == {STATIC, LOOP}
    first = result.ads.filter(campaign_id=STATIC)
    assert first.height == 8
    # Each arm meets its own ads, and every impression is paid once.
    spent = dict(result.spend.select("campaign_id", "events").iter_rows())
    for arm in (STATIC, LOOP):
        assert spent[arm] == result.ads.filter(campaign_id=arm)["impressions"].sum() > 0
    names = [step.name for step in result.steps]
    assert names.count("stop") == 14
    assert names[-1] == "read the experiment"
    lines = (result.config.out / "steps.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["name"] for row in rows if "name" in row] == names
    assert len([row for row in rows if row.get("system") and row["said"]]) == len(SYSTEMS) == 13


def test_nothing_is_shown_that_was_not_made_live(result: AdLifeResult) -> None:
    shown = result.ads.filter(pl.col("impressions") > 0)["creative_id"]
    assert all("live" in [move.state for move in result.moves[one]] for one in shown)
    assert PLANTED in set(shown)


def test_its_page_tells_lives(result: AdLifeResult, tmp_path: Path) -> None:
    page = tmp_path / "life.html"
    write_life_page(result, page)
    text = page.read_text()
    lives = lives_of(result)
    assert lives
    assert all(life.text in text.replace("&#39;", "'") for life in lives)
    assert all(name.split(":")[0] in text for name, _, _ in SYSTEMS)
    assert "creatives wanted" in text
    states = [row[1] for row in lives[0].line]
    assert states[:3] == ["in review", "approved", "live"]


def test_the_lift_is_found_where_there_is_one() -> None:
    rows = [
        {"campaign_id": arm, "user_id": f"{arm}{user}", "kind": kind}
        for arm, clicks in ((STATIC, 2), (LOOP, 4))
        for user in range(100)
        for kind in ["impression"] * 10 + ["click"] * (clicks + user % 2)
    ]
    nothing = pl.DataFrame(
        {"user_id": [], "bought": []}, {"user_id": pl.String, "bought": pl.Float64}
    )
    found = lift_of(pl.DataFrame(rows), nothing)
    assert found.value == pytest.approx(4.5 / 2.5 - 1)
    assert found.low > 0.5


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        loop_demo(AdLifeConfig(out=tmp_path, offline=True), RUN, print)
