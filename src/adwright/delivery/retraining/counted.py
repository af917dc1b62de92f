"""Popularity and item-item, counted anew.

What serves is counted from everything, also from what users did last. What is compared is counted
until each of some instants since the old model, and asked about what came then: a model that was
lucky once is not taken for a good one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.core.artifacts import Artifact, Fitted
from adwright.data.sources.log import Log, save_log
from adwright.data.tasks.own.next_item import NextItemConfig, build_next_item
from adwright.data.time import MICROSECONDS_PER_SECOND
from adwright.delivery import popularity
from adwright.delivery.item_item import item_table
from adwright.delivery.item_item_run import train_item_item
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.popularity import Popularity, load_popularity, save_popularity
from adwright.delivery.recommend.item_item_top import ItemItemTop
from adwright.delivery.recommend.models import PopularityTop
from adwright.delivery.recommend.newest import newest_visits
from adwright.delivery.recommend.people import People, people_of_log
from adwright.delivery.retraining.retrained import OldModel, RetrainedModel, judged, taken_of
from adwright.training.retrieval.item_item import KIND as ITEM_ITEM
from adwright.training.retrieval.item_item import (
    ItemItemArtifact,
    ItemItemSearch,
    fit_item_item,
    search_item_item,
)
from adwright.training.retrieval.rules import decayed_counts
from adwright.training.sequential.run import next_log
from adwright.training.sequential.runfile import SequenceDataConfig, open_sequences, sequence_data

__all__ = [
    "item_item_until",
    "log_until",
    "popularity_until",
    "retrain_item_item",
    "retrain_popularity",
]


#: Questions of a block, at most.
_MOST = 2_500


def retrain_popularity(
    artifact: Artifact, config: dict[str, Any], joined: JoinedLog, old: OldModel, out: Path
) -> RetrainedModel:
    """The most popular items, lately where the run says so."""
    save_log(out / "log", joined.log)
    taken, ids = taken_of(joined.log)
    days = config.get("half_life")
    half_life = float(days) if isinstance(days, int | float) else None
    everybody = people_of_log(taken, item_table(ids))
    fitted = Fitted.of(len(everybody.item), int(everybody.time.max(initial=0)))
    weight = _weights(everybody, len(ids), half_life)
    # What a place is worth does not follow the counts: it is that of the model before.
    before, _, _ = load_popularity(artifact)
    calibration = before.calibration
    save_popularity(out / "model", ids, weight, calibration=calibration, fitted=fitted)
    asked = []
    for cut, end in pairwise(old.cuts(joined.log)):
        visits = newest_visits(taken, ids, cut, until=end, most=_MOST)
        past = popularity_until(joined.log, cut, half_life)
        asked.append((PopularityTop(past, unseen=visits.unseen), visits))
    return judged(popularity.KIND, out / "model", asked, old, out, 0)


def retrain_item_item(
    artifact: Artifact, config: dict[str, Any], joined: JoinedLog, old: OldModel, out: Path
) -> RetrainedModel:
    """Item-item, with settings that are searched again, as in every training of it; those that
    were judged are those that serve."""
    save_log(out / "log", joined.log)
    source, cuts = out / "log", old.cuts(joined.log)
    repeats = ItemItemArtifact.load(artifact).repeats
    seed = int(config.get("seed", artifact.seed))
    taken, ids = taken_of(joined.log)
    asked, search = [], None
    for cut, end in pairwise(cuts):
        past, search = item_item_until(joined.log, cut, repeats=repeats, seed=seed, search=search)
        visits = newest_visits(taken, ids, cut, until=end, most=_MOST)
        asked.append((ItemItemTop(past, unseen=visits.unseen), visits))
    data = open_sequences(SequenceDataConfig(kind="events", path=source, allow_repeats=repeats))
    train_item_item(data, out, log=str(source), events=taken.events, seed=seed, search=search)
    return judged(ITEM_ITEM, out / "model", asked, old, out, seed)


def log_until(log: Log, cut: int) -> Log:
    """What happened until an instant, in microseconds since 1970."""
    return replace(log, events=log.events.filter(pl.col("time").dt.epoch("us") <= cut))


def popularity_until(log: Log, cut: int, half_life: float | None = None) -> Popularity:
    """The popularity of a log's items as it was at an instant."""
    taken, ids = taken_of(log_until(log, cut))
    people = people_of_log(taken, item_table(ids))
    return Popularity(ids, _weights(people, len(ids), half_life))


def item_item_until(
    log: Log, cut: int, *, repeats: bool, seed: int, search: ItemItemSearch | None = None
) -> tuple[ItemItemArtifact, ItemItemSearch]:
    """Item-item as it would have been trained at an instant, and what was found for it; search:
    whose settings are taken."""
    data = sequence_data(build_next_item(log_until(log, cut), NextItemConfig(repeats=repeats)))
    read = next_log(data)
    found = search or search_item_item(read, repeats=repeats, seed=seed)
    model = fit_item_item(read.whole, found.config)
    return ItemItemArtifact(model, read.ids, repeats, seed=seed), found


def _weights(people: People, items: int, half_life: float | None) -> np.ndarray:
    """Events of each item [N], or those that count for more the later they are."""
    if half_life is None:
        return np.bincount(people.item, minlength=items + 1)[1:].astype(np.float64)
    seconds = people.time // MICROSECONDS_PER_SECOND
    return decayed_counts(people.item, seconds, items, half_life)[1:]
