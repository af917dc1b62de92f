from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.schema import ACTION_KINDS, RESPONSE_KINDS
from adwright.delivery.served import (
    ALONE,
    KIND,
    Alone,
    ServedModel,
    catalogue_of,
    history_kinds_of,
    load_alone,
)
from tests.support.delivery.cascade_parts import hcn, ranker, request, task, two_tower
from tests.support.delivery.sequence_parts import hstu, hstu_ranker, sasrec
from tests.support.delivery.single_models import past

MODELS: dict[str, Callable[[], Alone]] = {
    "two towers": two_tower,
    "HCN": hcn,
    "HSTU": hstu,
    "SASRec": sasrec,
    "DIN": ranker,
}


def served(name: str) -> ServedModel:
    return ServedModel.of_log(MODELS[name](), past().events, past().profiles)


@pytest.mark.parametrize("name", MODELS)
def test_it_recommends_as_before_after_it_was_saved(name: str, tmp_path: Path) -> None:
    model = served(name)
    assert not model.unseen, "people of the small task take things again"
    identity = model.save(tmp_path / "v1")
    loaded = ServedModel.load(tmp_path / "v1")
    assert loaded.artifact_id == identity
    assert load_artifact(tmp_path / "v1").kind == KIND
    for user in ("u1", "nobody"):
        found, again = (m.cascade().recommend(request(user)) for m in (model, loaded))
        assert found.item_ids == again.item_ids
        assert len(found) > 0


@pytest.mark.parametrize("name", ["HSTU", "two towers"])
def test_the_past_of_the_log_counts(name: str, tmp_path: Path) -> None:
    MODELS[name]().save(tmp_path / "v1")
    empty = ServedModel.load(tmp_path / "v1")
    assert len(empty.histories) == 0
    known = served(name).cascade().recommend(request("u1"))
    strange = empty.cascade().recommend(request("u1"))
    assert (known.score[:3] != strange.score[:3]).any()


def test_what_nobody_takes_twice_is_not_offered_again() -> None:
    once = past().events.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    for name in ("SASRec", "two towers", "DIN"):
        model = ServedModel.of_log(MODELS[name](), once, past().profiles)
        assert model.unseen
        had = set(once.filter(user_id="u1")["item_id"])
        cascade = model.cascade()
        for answer in (cascade.recommend(request("u1")),):
            assert not had & set(answer.item_ids)
        named = tuple(sorted(had))
        assert set(cascade.recommend(request("u1", candidates=named)).item_ids) == had


def test_a_ranker_orders_all_that_a_request_names() -> None:
    cascade = served("DIN").cascade()
    ids = task().items.ids
    found = cascade.recommend(request("u1", candidates=tuple(ids), k=2))
    assert set(found.item_ids) == set(ids)
    assert (found.stage, found.probability) == ("fine", True)


def test_events_that_come_in_are_history() -> None:
    model = served("SASRec")
    cascade = model.cascade()
    before = cascade.recommend(request("u1"))
    time = request().time - timedelta(hours=1)
    event = {"kind": "purchase", "user_id": "u1", "item_id": "i7", "time": time}
    model.histories.observe([event])
    assert (cascade.recommend(request("u1")).score != before.score).any()


def test_each_knows_its_catalogue_and_what_its_histories_are_made_of() -> None:
    for make in MODELS.values():
        assert catalogue_of(make()).ids == task().items.ids
    assert history_kinds_of(hstu()) == history_kinds_of(hcn()) == ACTION_KINDS
    assert history_kinds_of(ranker()) == RESPONSE_KINDS


def test_what_finds_nothing_or_is_no_model_is_refused(tmp_path: Path) -> None:
    model = ServedModel.of_log(hstu_ranker(), past().events)
    with pytest.raises(ConfigError, match="finds no items"):
        model.cascade()
    save_artifact(tmp_path / "other", kind="din", config={})
    with pytest.raises(ArtifactError, match="does not serve alone") as error:
        load_alone(load_artifact(tmp_path / "other"))
    assert all(kind in error.value.hint for kind in ALONE)
