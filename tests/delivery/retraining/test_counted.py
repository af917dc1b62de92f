from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact
from adwright.data.sources.log import open_log
from adwright.delivery.counted import ItemItemRecommender, load_item_item, train_item_item
from adwright.delivery.popularity import load_popularity, save_popularity
from adwright.delivery.retraining.retrain import item_item_until, popularity_until, retrain
from adwright.training.sequential.runfile import SequenceDataConfig, open_sequences
from tests.support.delivery.joined import compared, world
from tests.support.store.small_world import ITEMS

IDS = ITEMS["item_id"].to_list()


def test_popularity_is_counted_anew_and_compared_without_what_is_asked(tmp_path: Path) -> None:
    joined = world(tmp_path)
    save_popularity(tmp_path / "a" / "model", IDS, np.arange(len(IDS), dtype=float))
    (tmp_path / "a" / "config.json").write_text('{"log": "log"}')
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    popular, _, _ = load_popularity(found.model)
    counts = joined.log.events.collect()["item_id"].value_counts(sort=True)
    assert popular.item_ids[0] == counts["item_id"][0]
    assert popular.weight.sum() == joined.old + joined.served
    assert compared(found).differences["old"]["ndcg@10"].value > 0


def test_a_half_life_is_kept(tmp_path: Path) -> None:
    joined = world(tmp_path)
    save_popularity(tmp_path / "a" / "model", IDS, np.arange(len(IDS), dtype=float))
    (tmp_path / "a" / "config.json").write_text('{"half_life": 7}')
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    popular, _, _ = load_popularity(found.model)
    events = joined.log.events.collect().filter(item_id="i03")
    latest = joined.log.events.collect()["time"].max()
    age = (latest - events["time"]).dt.total_seconds().to_numpy() / 86_400
    weight = popular.weight[list(popular.item_ids).index("i03")]
    assert weight == pytest.approx((0.5 ** (age / 7)).sum())


def test_item_item_is_counted_anew_with_what_the_service_wrote(tmp_path: Path) -> None:
    joined = world(tmp_path)
    data = open_sequences(SequenceDataConfig(kind="events", path=tmp_path / "log"))
    train_item_item(data, tmp_path / "a", log=str(tmp_path / "log"), seed=4, draws=20)
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    assert (found.kind, found.model) == ("item-item", tmp_path / "b" / "model")
    assert list(compared(found).reports) == ["new", "old"]
    new = load_item_item_of(found.model)
    assert new.model.count.sum() == joined.old + joined.served
    assert new.histories.events == joined.old + joined.served
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert (config["log"], config["seed"]) == (str(tmp_path / "b" / "log"), 4)
    # Every event of the service is known to its histories at its own time.
    served = joined.log.events.filter(time=joined.since).collect()
    assert not new.histories.unknown(served).height
    assert open_log(tmp_path / "b" / "log").events.collect().height == joined.old + joined.served


def test_what_is_asked_is_not_counted(tmp_path: Path) -> None:
    joined = world(tmp_path)
    time = joined.log.events.collect()["time"].dt.epoch("us").sort()
    cut = int(time[1500])
    popular = popularity_until(joined.log, cut)
    assert popular.weight.sum() == (time <= cut).sum()
    rule, search = item_item_until(joined.log, cut, repeats=True, seed=0)
    assert rule.model.count.sum() == (time <= cut).sum()
    assert rule.model.config == search.config


def load_item_item_of(folder: Path) -> ItemItemRecommender:

    return load_item_item(load_artifact(folder))
