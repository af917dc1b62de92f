from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.delivery.popularity import Popularity
from adwright.delivery.recommend.models import PopularityTop
from adwright.delivery.recommend.newest import newest_visits, ranks_of
from adwright.delivery.retraining.retrained import RetrainedModel, measured, taken_of
from adwright.metrics.ranking import ndcg
from adwright.metrics.ranks import Ranks
from adwright.metrics.reports.comparison import Comparison, RankingComparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol
from tests.support.delivery.joined import world


def test_both_models_are_asked_the_same(tmp_path: Path) -> None:
    joined = world(tmp_path)
    taken, ids = taken_of(joined.log)
    assert taken.events.height == joined.old + joined.served
    visits = newest_visits(taken, ids, joined.since)
    weights = {"new": np.arange(40.0), "old": np.arange(40.0)[::-1].copy()}
    models = {
        name: PopularityTop(Popularity(ids, weight), unseen=False)
        for name, weight in weights.items()
    }
    found = measured("popularity", tmp_path / "model", models, visits, tmp_path, 3)
    text = (tmp_path / "retrained.json").read_text()
    assert RankingComparison.from_json(text) == found.comparison
    for name, top in models.items():
        report = found.comparison.reports[name]
        assert report.metrics["ndcg@10"].value == pytest.approx(ndcg(ranks_of(top, visits), 10))
        assert (report.seed, report.users) == (3, len(visits.people))
    assert found.measured == visits.about == report.protocol.split


def test_impressions_are_not_taken(tmp_path: Path) -> None:
    log = world(tmp_path).log
    kind = log.events.collect_schema()["kind"]
    every = log.events.with_columns(kind=pl.lit("impression").cast(kind))
    shown = replace(log, events=pl.concat([log.events, every]))
    assert taken_of(shown)[0].events.height == log.events.collect().height


def told(new: float, old: float, *, unseen: bool = True) -> RetrainedModel:
    def ranks(rank: float) -> Ranks:
        number = 60
        return Ranks(np.full(number, rank), np.arange(number + 1), np.zeros(number, bool), "hash")

    comparison: Comparison = compare_rankings(
        {"new": ranks(new), "old": ranks(old)},
        np.arange(60),
        subject="new",
        protocol=EvaluationProtocol(split="made up"),
        data_hash="",
        seed=0,
        draws=20,
    )
    return RetrainedModel("sequence", Path("model"), comparison, "made up", unseen)


@pytest.mark.parametrize(
    ("new", "old", "says", "worse"),
    [
        (1.0, 4.0, "the new model is better: ndcg@10 +", False),
        (4.0, 1.0, "the new model is worse", True),
        (2.0, 2.0, "no difference beyond chance", False),
    ],
)
def test_the_verdict_goes_by_the_interval(new: float, old: float, says: str, worse: bool) -> None:
    found = told(new, old)
    assert found.verdict().startswith(says)
    assert found.is_worse is worse


def test_what_the_old_model_has_seen_gives_no_verdict(tmp_path: Path) -> None:
    found = told(4.0, 1.0, unseen=False)
    assert found.verdict().startswith("no verdict: the old model may have been trained on")
    assert not found.is_worse
    joined = world(tmp_path, people=20)
    taken, ids = taken_of(joined.log)
    visits = newest_visits(taken, ids, joined.since)
    assert not visits.late
    top = PopularityTop(Popularity(ids, np.arange(40.0)), unseen=False)
    models = {"new": top, "old": top}
    assert not measured("popularity", tmp_path / "model", models, visits, tmp_path, 3).unseen
