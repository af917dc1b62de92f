"""Two texts side by side: which pairs there are, who sees which side, and what a rater says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.describe.review import JudgementFile
from adwright.authoring.writer.drafts import Draft, Drafts, ReviewDecision
from adwright.console.pairs import (
    PairTable,
    PairText,
    ReviewPair,
    pair_order,
    pairs_of_jobs,
    pairs_of_shop,
    sides,
)
from adwright.core.clock import FixedClock
from adwright.core.errors import DataError
from adwright.web.errors import ApiError
from tests.support.review_page import drafts_of, write

PAIRS = [
    ReviewPair(f"{n:020x}", f"p{n}", "headline", PairText("a", f"a{n}"), PairText("b", f"b{n}"))
    for n in range(400)
]


def left(rater: str, seed: int = 0) -> list[str]:
    return [sides(pair, rater, seed=seed)[0].source for pair in PAIRS]


def test_each_source_stands_on_each_side_equally_often() -> None:
    for rater in ("ann", "bob"):
        assert 160 < left(rater).count("a") < 240
    for pair in PAIRS[:20]:
        assert set(sides(pair, "ann", seed=0)) == {pair.first, pair.second}


def test_a_rater_meets_the_same_again_and_another_rater_something_else() -> None:
    assert left("ann") == left("ann")
    same = sum(a == b for a, b in zip(left("ann"), left("bob"), strict=True))
    assert 150 < same < 250
    assert left("ann") != left("ann", seed=1)
    order = pair_order(PAIRS, "ann", seed=0)
    assert sorted(order) == list(range(400))
    assert order == pair_order(PAIRS, "ann", seed=0)
    assert order != pair_order(PAIRS, "bob", seed=0)
    assert order != pair_order(PAIRS, "ann", seed=1)


def test_the_place_in_the_order_tells_nothing_of_the_side() -> None:
    order = pair_order(PAIRS, "ann", seed=0)
    sources = [left("ann")[at] for at in order]
    assert 70 < sources[:200].count("a") < 130


def test_what_the_shop_has_meets_what_was_written(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        drafts.decide(ReviewDecision("tea-1", "headline", 0, "edit", "By a person"))
        pairs = {(one.product, one.slot): one for one in pairs_of_shop(drafts, sample=9, seed=1)}
    assert set(pairs) == {("tea-1", "headline"), ("tea-1", "description"), ("mug/2", "headline")}
    tea = pairs["tea-1", "headline"]
    assert tea.first == PairText("shop", "Mill Lane Assam tea, 80 bags")
    assert tea.second == PairText("draft", "The best Assam tea, 80 bags of it")
    # The title would tell which text the shop has.
    assert "Mill Lane Assam tea, 80 bags" not in tea.facts
    assert "3.49 GBP" in tea.facts
    assert len({one.id for one in pairs.values()}) == 3


def test_two_jobs_meet_where_they_differ(tmp_path: Path) -> None:
    with drafts_of(tmp_path / "a") as drafts, closing(Drafts.open(tmp_path / "b")) as others:
        write(others, "lamp", "A  LAMP for reading")
        write(others, "tea-1", "Assam tea in bags")
        write(others, "vase", "A vase")
        (pair,) = pairs_of_jobs(drafts, others, ("small", "large"), sample=9, seed=1)
    assert (pair.first.source, pair.second.source) == ("small", "large")
    assert pair.second.text == "Assam tea in bags"
    assert "Mill Lane Assam tea, 80 bags" in pair.facts


def test_the_seed_draws_the_sample_and_another_text_is_another_pair(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        drawn = [pairs_of_shop(drafts, sample=1, seed=seed)[0].id for seed in range(12)]
        assert len(set(drawn)) == 3
        assert pairs_of_shop(drafts, sample=1, seed=5)[0].id == drawn[5]
        drafts.write([Draft("mug/2", "headline", 0, "Another text")], again=True)
        after = {one.id for one in pairs_of_shop(drafts, sample=9, seed=1)}
    assert len(after & set(drawn)) == 2


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with closing(Drafts.open(tmp_path)) as drafts:
        write(drafts, "lamp", "A lamp")
        with pytest.raises(DataError, match="--against"):
            pairs_of_shop(drafts, sample=9, seed=1)


TABLE_PAIRS = [
    ReviewPair(f"x{n}", f"p{n}", "headline", PairText("a", f"a{n}"), PairText("b", f"b{n}"))
    for n in range(6)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judgements.jsonl"


@pytest.fixture
def table(path: Path, clock: FixedClock) -> Iterator[PairTable]:
    with closing(JudgementFile(path)) as file:
        yield PairTable(TABLE_PAIRS, file, clock, seed=3)


def test_a_rater_goes_through_all_pairs(table: PairTable, path: Path) -> None:
    seen, number = [], table.next_open("ann")
    while number is not None:
        view = table.view("ann", number)
        seen.append(view.pair.id)
        assert {view.left[0], view.right[0]} == {"a", "b"}
        choice = "left" if view.left.startswith("a") else "right"
        table.judge("ann", number, view.pair.id, choice, {"policy": (1, 2)})
        number = table.next_open("ann", behind=number)
    assert sorted(seen) == [f"x{n}" for n in range(6)]
    assert table.progress("ann") == (6, 6)
    assert table.progress("bob") == (0, 6)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    # By the sources of each line, the rater chose the same one every time.
    assert {row[row["choice"]] for row in rows} == {"a"}
    assert {row["left"] for row in rows} == {"a", "b"}
    assert rows[0]["time"].startswith("2024-01-01T00:00:00")


def test_what_was_left_out_comes_again_and_can_be_changed(table: PairTable) -> None:
    table.judge("ann", 2, table.view("ann", 2).pair.id, "tie", {})
    assert table.next_open("ann", behind=1) == 3
    assert table.next_open("ann", behind=5) == 0
    given = table.view("ann", 2).given
    assert given is not None
    assert given.choice == "tie"
    table.judge("ann", 2, table.view("ann", 2).pair.id, "left", {})
    assert table.progress("ann") == (1, 6)


def test_a_judgement_under_another_name_is_refused(table: PairTable) -> None:
    numbers = [n for n in range(6) if table.view("ann", n).pair.id != table.view("bob", n).pair.id]
    with pytest.raises(ApiError) as error:
        table.judge("bob", numbers[0], table.view("ann", numbers[0]).pair.id, "left", {})
    assert error.value.status == 409
    with pytest.raises(ApiError, match="no pair"):
        table.view("ann", 6)


def test_many_made_up_names_do_no_harm(table: PairTable) -> None:
    first = table.view("ann", 0).pair.id
    for number in range(200):
        table.view(f"rater {number}", 0)
    assert table.view("ann", 0).pair.id == first
