from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact
from adwright.data.sources.log import save_log
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.delivery.recommend.models import PopularityTop
from adwright.delivery.recommend.run import newest_visits, ranks_of
from adwright.delivery.retraining.retrain import OldModel, RetrainedModel, judged, taken_of
from adwright.metrics.ranking import Ranks, ndcg
from adwright.metrics.reports.comparison import Comparison, RankingComparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol
from tests.support.delivery.joined import compared, world
from tests.support.store.small_world import ITEMS


def old_model(folder: Path, weight: np.ndarray, after: int) -> OldModel:
    ids = ITEMS["item_id"].to_list()
    save_popularity(folder / "old", ids, weight)
    return OldModel(folder / "old", load_artifact(folder / "old"), after)


def test_both_models_are_asked_the_same(tmp_path: Path) -> None:
    joined = world(tmp_path)
    taken, ids = taken_of(joined.log)
    assert taken.events.height == joined.old + joined.served
    visits = newest_visits(taken, ids, joined.until, unseen=False)
    models = {
        name: PopularityTop(Popularity(ids, weight), unseen=False)
        for name, weight in {"new": np.arange(40.0), "old": np.arange(40.0)[::-1].copy()}.items()
    }
    old = old_model(tmp_path, np.arange(40.0)[::-1].copy(), joined.until)
    found = judged("popularity", tmp_path / "model", [(models["new"], visits)], old, tmp_path, 3)
    text = (tmp_path / "retrained.json").read_text()
    assert RankingComparison.from_json(text) == found.comparison
    for name, top in models.items():
        report = compared(found).reports[name]
        assert report.metrics["ndcg@10"].value == pytest.approx(ndcg(ranks_of(top, visits), 10))
        assert (report.seed, report.users) == (3, visits.users)
    assert found.measured == visits.about == compared(found).reports["new"].protocol.split


def test_half_of_what_is_new_is_learned_from_and_half_is_asked(tmp_path: Path) -> None:
    joined = world(tmp_path)
    old = old_model(tmp_path, np.arange(40.0), joined.until)
    time = joined.log.events.collect()["time"].dt.epoch("us")
    cut = old.halfway(joined.log)
    assert cut is not None
    late = (time > cut).sum()
    assert 0.45 * joined.served <= late <= 0.55 * joined.served
    end = old_model(tmp_path / "later", np.arange(40.0), int(time.max()))  # type: ignore[arg-type]
    assert end.halfway(joined.log) is None
    assert end.cuts(joined.log) == ()
    cuts = old.cuts(joined.log)
    many = [((time > a) & (time <= b)).sum() for a, b in pairwise((joined.until, *cuts))]
    assert max(many) < 1.2 * min(many)
    assert sum(many) == joined.served
    told = end.nothing_new("popularity", tmp_path)
    assert told.verdict().startswith("no verdict: nobody did anything after 20")
    assert not told.publishable
    save_log(tmp_path / "joined", joined.log)
    found = old.task(tmp_path / "joined", joined.log).task
    assert found.visit_time[found.visits("test")].min() > joined.until


def test_impressions_are_not_taken(tmp_path: Path) -> None:
    log = world(tmp_path).log
    kind = log.events.collect_schema()["kind"]
    every = log.events.with_columns(kind=pl.lit("impression").cast(kind))
    shown = replace(log, events=pl.concat([log.events, every]))
    assert taken_of(shown)[0].events.height == log.events.collect().height


def told(leads: list[float], *, old: float = 0.6, margin: float = 0.02) -> RetrainedModel:
    """A model that is ahead by so much, user by user."""

    def ranks(gains: np.ndarray) -> Ranks:
        rank = np.where(gains > 0, 2 ** (1 / np.maximum(gains, 1e-9)) - 1, np.inf)
        return Ranks(rank, np.arange(len(rank) + 1), np.zeros(len(rank), bool), "hash")

    base = np.full(len(leads), old)  # of NDCG@10, for which no rank beyond 10 counts
    comparison: Comparison = compare_rankings(
        {"new": ranks(base + leads), "old": ranks(base)},
        np.arange(len(leads)),
        subject="new",
        protocol=EvaluationProtocol(split="made up"),
        data_hash="",
        seed=0,
        draws=200,
    )
    return RetrainedModel("sequence", Path("model"), comparison, "made up", margin)


@pytest.mark.parametrize(
    ("leads", "margin", "says", "publishable"),
    [
        ([0.3] * 60, 0.02, "the new model is better: ndcg@10 +", True),
        ([0.0] * 60, 0.02, "the new model is no worse: ndcg@10 +0.0000", True),
        ([-0.005] * 60, 0.02, "above -2.0% of the old one's value (-0.0120)", True),
        ([-0.005] * 60, 0.0, "the new model is worse", False),
        ([-0.02] * 60, 0.02, "the new model is worse", False),
        ([0.25, -0.25] * 30, 0.02, "the new model is not shown to be no worse", False),
        ([0.3] * 29, 0.02, "no verdict: 29 users", False),
    ],
)
def test_what_is_not_shown_to_be_no_worse_is_not_published(
    leads: list[float], margin: float, says: str, publishable: bool
) -> None:
    found = told(leads, margin=margin)
    assert says in found.verdict()
    assert found.publishable is publishable


def test_how_many_more_people_would_tell_is_said() -> None:
    rng = np.random.default_rng(0)
    few = told(rng.uniform(-0.2, 0.22, 50).tolist())
    assert few.decision == "not known"
    found = re.search(r"some ([\d,]+) more users than the 50", few.verdict())
    assert found is not None
    more = int(found[1].replace(",", ""))
    assert told(rng.uniform(-0.2, 0.22, 50 + 3 * more).tolist()).publishable
