"""Popularity and item-item, counted anew.

What serves is counted from everything, also from what users did last. What is compared is counted
without that, or the new model would know the answers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.core.artifacts import Artifact
from adwright.data.sequences.pasts import moment_numbers
from adwright.data.sources.log import save_log
from adwright.data.time import MICROSECONDS_PER_SECOND
from adwright.delivery import popularity
from adwright.delivery.item_item import item_table
from adwright.delivery.item_item_run import train_item_item
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.popularity import Popularity, load_popularity, save_popularity
from adwright.delivery.recommend.item_item_top import ItemItemTop
from adwright.delivery.recommend.models import PopularityTop
from adwright.delivery.recommend.newest import NewestVisits, newest_visits
from adwright.delivery.recommend.opened import Wanted, open_model
from adwright.delivery.recommend.people import People, people_of_log
from adwright.delivery.retraining.retrained import NEW, OLD, RetrainedModel, measured, taken_of
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.neighbours import count_neighbours
from adwright.training.retrieval.item_item_artifact import KIND as ITEM_ITEM
from adwright.training.retrieval.item_item_artifact import ItemItemArtifact
from adwright.training.retrieval.rules import decayed_counts
from adwright.training.sequential.runfile import SequenceDataConfig, open_sequences

__all__ = ["before_asked", "retrain_item_item", "retrain_popularity"]


def retrain_popularity(
    folder: Path, config: dict[str, Any], joined: JoinedLog, out: Path
) -> RetrainedModel:
    """The most popular items, lately where the run says so."""
    save_log(out / "log", joined.log)
    taken, ids = taken_of(joined.log)
    days = config.get("half_life")
    half_life = float(days) if isinstance(days, int | float) else None
    everybody = people_of_log(taken, item_table(ids))
    weight = _weights(everybody, len(ids), half_life)
    # What a place is worth does not follow the counts: it is that of the model before.
    before, _, _ = load_popularity(folder)
    save_popularity(out / "model", ids, weight, calibration=before.calibration)
    visits = _with_advantage(newest_visits(taken, ids, joined.since))
    past = _weights(before_asked(everybody, visits), len(ids), half_life)
    asking = Wanted(log=str(out / "log"), unseen=visits.unseen)
    models = {
        NEW: PopularityTop(Popularity(ids, past), unseen=visits.unseen),
        OLD: open_model(folder, asking).top,
    }
    return measured(popularity.KIND, out / "model", models, visits, out, 0)


def retrain_item_item(
    folder: Path, artifact: Artifact, config: dict[str, Any], joined: JoinedLog, out: Path
) -> RetrainedModel:
    """Item-item, with settings that are searched again, as in every training of it."""
    save_log(out / "log", joined.log)
    source = out / "log"
    repeats = ItemItemArtifact.load(artifact).repeats
    data = open_sequences(SequenceDataConfig(kind="events", path=source, allow_repeats=repeats))
    seed = int(config.get("seed", artifact.seed))
    taken, _ = taken_of(joined.log)
    new = train_item_item(data, out, log=str(source), events=taken.events, seed=seed).artifact
    visits = _with_advantage(newest_visits(taken, new.ids, joined.since, unseen=not repeats))
    people = before_asked(people_of_log(taken, item_table(new.ids)), visits)
    known = replace(new, model=_counted(people, len(new.ids), new.model.config))
    models = {
        NEW: ItemItemTop(known, unseen=visits.unseen),
        OLD: open_model(folder, Wanted(log=str(source), unseen=visits.unseen)).top,
    }
    return measured(ITEM_ITEM, out / "model", models, visits, out, seed)


def before_asked(people: People, visits: NewestVisits) -> People:
    """Everybody, and of those who are asked only what they did before that; codes as before."""
    asked = pl.DataFrame({"user_id": visits.people.users, "end": visits.people.at})
    ends = (
        people.users.alias("user_id")
        .to_frame()
        .join(asked, on="user_id", how="left", maintain_order="left")["end"]
    )
    end = ends.fill_null(np.iinfo(np.int64).max).to_numpy()
    kept = people.time < end[people.owner]
    total = np.concatenate(([0], np.cumsum(kept)))
    return replace(
        people, item=people.item[kept], time=people.time[kept], offsets=total[people.offsets]
    )


def _weights(people: People, items: int, half_life: float | None) -> np.ndarray:
    """Events of each item [N], or those that count for more the later they are."""
    if half_life is None:
        return np.bincount(people.item, minlength=items + 1)[1:].astype(np.float64)
    seconds = people.time // MICROSECONDS_PER_SECOND
    return decayed_counts(people.item, seconds, items, half_life)[1:]


def _counted(people: People, items: int, config: ItemItemConfig) -> ItemItem:
    """The rule of what these people did."""
    moment = moment_numbers(people.offsets, people.time)
    table = count_neighbours(people.item, moment, people.offsets, items, config.neighbours)
    return ItemItem(config, table, np.bincount(people.item, minlength=items + 1))


def _with_advantage(visits: NewestVisits) -> NewestVisits:
    """Says where the old model was counted from what is asked."""
    if visits.late:
        return visits
    return replace(visits, about=f"{visits.about}, from which the old model was counted")
