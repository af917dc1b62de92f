from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.data.features import Feature, FeatureSpec
from adwright.data.popularity import personal
from adwright.data.tasks.negatives import popular_share
from adwright.delivery.stages.histories import Histories, RequestBatch
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.row_ranker import FineRanker
from adwright.models.ranking.hstu_target import HSTUTarget, HSTUTargetConfig
from adwright.training.ranking.ranker import Ranker
from tests.support.delivery.cascade_parts import (
    DRAWS,
    EMBEDDING,
    histories,
    on_day,
    ranker,
    request,
    task,
)

PEOPLE = ["u1", "nobody", "u6", "u1"]


def batch_of(known: Histories) -> RequestBatch:
    days = [9, 9, 4, 3]
    return known.batch([request(u, time=on_day(day)) for u, day in zip(PEOPLE, days, strict=True)])


def items_of(sizes: list[int]) -> Shortlist:
    rng = np.random.default_rng(0)
    return Shortlist.of([rng.choice(np.arange(1, 13), size, replace=False) for size in sizes])


def as_tables(batch: RequestBatch, items: Shortlist) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same rows and events as a person would write them down for `Ranker.score_rows`; each
    request as a person of its own."""
    source, owner = task(), items.owner
    counts = personal(
        batch.item,
        batch.time,
        batch.offsets,
        owner=owner,
        asked=items.codes,
        end=batch.offsets[owner + 1],
        at=batch.at[owner],
    )
    towns = dict(histories().profiles.select("user_id", "town").iter_rows())
    user = pl.Series([f"request {n}" for n in owner])
    ids = pl.Series(["", *source.items.ids])
    rows = pl.DataFrame(
        {
            "user_id": user,
            "item_id": ids.gather(items.codes),
            "time": batch.at[owner],
            "town": [towns.get(PEOPLE[n]) for n in owner],
            "weekday": [str(batch.requests[n].time.isoweekday()) for n in owner],
            "hour": [str(batch.requests[n].time.hour) for n in owner],
            "popularity": histories().count[items.codes],
            "recent": counts.recent,
            "recency": pl.Series(counts.recency).fill_nan(None),
        }
    )
    whose = np.repeat(np.arange(len(batch)), np.diff(batch.offsets))
    events = pl.DataFrame(
        {
            "user_id": pl.Series([f"request {n}" for n in whose], dtype=pl.String),
            "item_id": ids.gather(batch.item),
            "time": batch.time,
        }
    )
    return rows, events


def hstu(**changes: object) -> Ranker:
    """A ranker of HSTU for the features of the other one."""
    like = ranker(**changes)
    config = HSTUTargetConfig(
        width=8,
        max_length=30,
        blocks=2,
        heads=2,
        qk_width=4,
        v_width=4,
        mlp_hidden=(8,),
        embedding=EMBEDDING,
        kernel="bucketed",
    )
    torch.manual_seed(3)
    return replace(like, model=HSTUTarget(config, like.spec, like.items))


@pytest.mark.parametrize("make", [ranker, hstu], ids=["din", "hstu"])
@pytest.mark.parametrize("limit", [0, 5])
def test_scores_are_those_of_the_ranker_on_a_table(limit: int, make: Callable[..., Ranker]) -> None:
    batch, items = batch_of(histories()), items_of([5, 3, 12, 1])
    trained = make(max_history=limit)
    found = FineRanker(trained, histories()).score(batch, items)
    np.testing.assert_allclose(found, trained.score_rows(*as_tables(batch, items)), rtol=1e-5)
    assert np.ptp(found) > 0


def test_the_draws_are_undone_item_by_item() -> None:
    known = histories()
    batch, items = batch_of(known), items_of([5, 3, 12, 1])
    raw = FineRanker(ranker(), known).score(batch, items)
    undone = FineRanker(ranker(), known, DRAWS).score(batch, items)
    share = popular_share(task().count)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past = set(batch.item[batch.offsets[owner] : batch.offsets[owner + 1]].tolist())
        term = DRAWS.log_expected(
            share[[code]],
            items=12,
            had=np.array([int(code) in past]),
            distinct=np.array([len(past)]),
        )[0]
        logit = np.log(raw[row] / (1 - raw[row])) + term
        assert undone[row] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


@pytest.mark.parametrize("make", [ranker, hstu], ids=["din", "hstu"])
def test_people_do_not_touch_each_other(make: Callable[..., Ranker]) -> None:
    known, items = histories(), items_of([5, 3, 12, 1])
    stage = FineRanker(make(), known, DRAWS)
    batch = batch_of(known)
    together = stage.score(batch, items)
    for n, (start, end) in enumerate(items.bounds()):
        alone = stage.score(batch.some([n]), items.some([n]))
        np.testing.assert_allclose(alone, together[start:end], rtol=1e-5)


@pytest.mark.parametrize("make", [ranker, hstu], ids=["din", "hstu"])
def test_a_person_without_candidates_is_passed_over(make: Callable[..., Ranker]) -> None:
    known = histories()
    stage = FineRanker(make(), known)
    assert len(stage.score(batch_of(known), items_of([0, 2, 0, 1]))) == 3
    assert len(stage.score(batch_of(known), items_of([0, 0, 0, 0]))) == 0


def test_numbers_of_the_request_reach_the_network() -> None:
    trained = ranker()
    price = Feature("hour", "bucketised", "context", edges=(1.0, 2.0))
    spec = FeatureSpec(tuple(price if f.name == "hour" else f for f in trained.spec.features))
    known = histories()
    stage = FineRanker(replace(trained, spec=spec), known)
    batch = known.batch([request("u1", context={"hour": 1.5}), request("u1")])
    inputs = stage.inputs(batch, Shortlist.of([np.array([1]), np.array([1])]))
    assert inputs.categorical["hour"].tolist() == [2, 0]


def test_what_a_request_cannot_supply_is_refused() -> None:
    trained = ranker()
    lists = Feature("tags", "multi", "context", ("a",))
    with pytest.raises(ConfigError, match="lists"):
        FineRanker(replace(trained, spec=FeatureSpec((*trained.spec.features, lists))), histories())
    fewer = replace(trained, catalogue=trained.catalogue.head(5))
    with pytest.raises(ConfigError, match="different items"):
        FineRanker(fewer, histories())
    spec = trained.spec.features
    plain = replace(trained, spec=FeatureSpec(tuple(f for f in spec if f.name != "popularity")))
    plain = replace(plain, catalogue=plain.catalogue.drop("popularity"))
    with pytest.raises(ConfigError, match="popularity"):
        FineRanker(plain, histories(), DRAWS)
