from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.writer.drafts import Draft, Drafts, ReviewDecision
from adwright.console.pairwise.pairs import PairText, pairs_of_jobs, pairs_of_shop
from adwright.core.errors import DataError
from tests.support.review_page import drafts_of, write


def test_what_the_shop_has_meets_what_was_written(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        drafts.decide(ReviewDecision("tea-1", "headline", 0, "edit", "By a person"))
        pairs = {(one.product, one.slot): one for one in pairs_of_shop(drafts, sample=9, seed=1)}
    assert set(pairs) == {
        ("tea-1", "headline"),
        ("tea-1", "description"),
        ("mug/2", "headline"),
    }
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
