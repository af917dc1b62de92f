"""A funnel is saved, loaded, and serves as the cascade that it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.artifacts import save_artifact
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.tasks.next_basket import reordered
from adwright.delivery.cascade.build import Deployment
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.funnel.columns import ScoreMixture, standardised
from adwright.delivery.funnel.evaluate import evaluate_model
from adwright.delivery.funnel.funnel import SOURCES, Funnel, Serving, load_cascade
from adwright.delivery.funnel.measure import Asking, measure_funnel
from adwright.delivery.popularity import save_popularity
from adwright.delivery.served import ServedModel
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sources import NeighbourSource, VectorSource
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from tests.support.delivery.cascade_parts import (
    deployment,
    histories,
    ranker,
    request,
    task,
    two_tower,
)
from tests.support.delivery.funnel_parts import (
    MIXED,
    SERVING,
    funnel,
    funnel_parts,
    log,
    rules,
    without,
)
from tests.support.delivery.sequence_parts import hstu_ranker
from tests.support.delivery.single_models import past

FINE = replace(
    SERVING, fine=ScoreMixture(("two-tower", "fine"), (0.5, 1.0)), cascade=CascadeConfig(coarse=6)
)
ASKED = [request("u1", k=3), request("u4", k=3), request("nobody", k=3)]


def test_the_answer_is_the_mixture_of_what_the_sources_find() -> None:
    made = funnel()
    parts = made.parts.opened(made.histories)
    answers = made.cascade().recommend_many(ASKED)
    batch = parts.histories.batch(ASKED)
    for n, answer in enumerate(answers):
        lists = []
        for name, k in SERVING.sources.items():
            source = parts.source(name)
            assert source is not None
            lists.append(source.find(batch, k).lists()[n])
        items = Shortlist.of([np.unique(np.concatenate(lists))])
        columns = parts.columns(MIXED.names)
        values = np.concatenate([c.values(batch.some([n]), items) for c in columns], 1)
        names = [name for c in columns for name in c.names]
        z = standardised(values, items.offsets)
        score = sum(
            weight * z[:, names.index(name)]
            for name, weight in zip(MIXED.names, MIXED.weights, strict=True)
        )
        order = np.argsort(-(score + 1e-6 * z[:, 0]), kind="stable")
        ids = [made.parts.ids[code - 1] for code in items.codes[order]]
        assert list(answer.item_ids) == ids
        assert answer.stage == "coarse"


def test_the_fine_mixture_orders_what_the_coarse_one_lets_through() -> None:
    coarse = funnel(replace(FINE, fine=None)).cascade().recommend_many(ASKED)
    fine = funnel(FINE).cascade().recommend_many(ASKED)
    for one, other in zip(coarse, fine, strict=True):
        assert set(one.item_ids) == set(other.item_ids)
        assert len(other) <= 6
        assert (other.stage, other.probability) == ("fine", False)
    assert any(a.item_ids != b.item_ids for a, b in zip(coarse, fine, strict=True))


@pytest.mark.parametrize("serving", [SERVING, FINE])
def test_it_is_saved_and_loaded(tmp_path: Path, serving: Serving) -> None:
    made = funnel(serving).serving_alone()
    identity = made.save(tmp_path / "f")
    found = load_cascade(tmp_path / "f")
    assert isinstance(found, Funnel)
    assert found.artifact_id == identity
    assert (found.serving, found.data_hash, found.seed) == (serving, "hash", 3)
    assert ("fine" not in found.parts.models) == (serving.fine is None)
    assert not {"sequence", "hcn"} & set(found.parts.models)
    pairs = zip(
        made.cascade().recommend_many(ASKED), found.cascade().recommend_many(ASKED), strict=True
    )
    for one, other in pairs:
        assert one.item_ids == other.item_ids
        np.testing.assert_array_equal(one.score, other.score)
    assert found.cascade().similar("i3", 2) == made.cascade().similar("i3", 2)


def test_both_forms_of_a_cascade_are_opened(tmp_path: Path) -> None:
    deployment().save(tmp_path / "d")
    assert isinstance(load_cascade(tmp_path / "d"), Deployment)
    with pytest.raises(ArtifactError, match="three fixed stages"):
        Funnel.load(tmp_path / "d")
    save_artifact(tmp_path / "o", kind="other", config={}, files={"a": "b"})
    with pytest.raises(ArtifactError, match="kind 'other'"):
        load_cascade(tmp_path / "o")


def test_a_source_without_its_model_is_refused() -> None:
    made = funnel()
    bare = replace(made, parts=without(made.parts, "two-tower"))
    with pytest.raises(ConfigError, match="lacks its model"):
        bare.cascade()
    with pytest.raises(ConfigError, match="has a source"):
        Serving({}, MIXED)


def test_what_users_had_is_left_out_where_nothing_repeats() -> None:
    made = funnel()
    serving = Serving({"item-item": 5, "popularity": 8}, ScoreMixture.of("item-item"))
    new = replace(made, parts=replace(made.parts, repeats=False), serving=serving)
    cascade = new.cascade()
    batch = cascade.histories.batch(ASKED[:2])
    for n, answer in enumerate(cascade.recommend_many(ASKED[:2])):
        had = {made.parts.ids[c - 1] for c in batch.some([n]).item}
        assert had
        assert not set(answer.item_ids) & had


def test_item_vectors_are_none_where_no_model_has_any() -> None:
    made = funnel()
    assert made.cascade().item_vectors is not None
    bare = without(made.parts, "two-tower", "sequence", "sasrec", "hcn")
    alone = Serving({"item-item": 5, "popularity": 3}, ScoreMixture.of("item-item"))
    assert replace(made, parts=bare, serving=alone).cascade().item_vectors is None


EVERY = (
    *("popularity", "lately", "category", "frequency", "recent", "again", "item-item"),
    *("linear", "alike", "sequence", "sasrec", "two-tower", "hcn"),
)


def test_every_source_and_column_that_the_parts_allow() -> None:
    parts = funnel_parts().opened(histories())
    assert parts.sources == SOURCES
    assert parts.coarse_names == EVERY
    models = ("linear", "alike", "sequence", "sasrec", "two-tower", "hcn", "fine")
    bare = without(funnel_parts(repeats=False), *models)
    bare = replace(bare, lately=None, category=None)
    opened = bare.opened(histories())
    assert opened.sources == ("item-item", "popularity")
    assert opened.coarse_names == ("popularity", "item-item")
    assert [c.names for c in opened.columns(("again", "fine", "hcn"))] == [("popularity",)]


def test_a_fine_stage_of_either_kind_gives_logits() -> None:
    for fine in (ranker(), hstu_ranker()):
        parts = funnel_parts().with_models({"fine": fine}).opened(histories(), kept=2)
        batch = parts.histories.batch([request("u1")])
        items = Shortlist.of([np.arange(1, 13)])
        _, column = parts.columns(("fine",))
        assert column.names == ("fine",)
        assert (column.values(batch, items) < 0).any()


def test_what_is_alike_is_said_by_vectors_or_else_by_item_item() -> None:
    parts = funnel_parts().opened(histories())
    assert isinstance(parts.similar, VectorSource)
    bare = without(funnel_parts(), "two-tower", "sequence", "sasrec", "hcn")
    source = bare.opened(histories()).similar
    assert isinstance(source, NeighbourSource)
    codes, score = source.similar(1, 3)
    assert len(codes) == len(score) <= 3
    with pytest.raises(ConfigError, match="item-item or a model"):
        _ = without(bare, "item-item").opened(histories()).similar


def test_models_of_other_items_are_refused() -> None:
    with pytest.raises(ConfigError, match="different items"):
        replace(funnel_parts(), ids=tuple(f"other-{n}" for n in range(12)))


#: That a rule was counted from the training of the task.
ON_TRAINING: Any = {"fitted": task().fitted(), "data_hash": task().data_hash}


def evaluated(folder: Path, **changes: object):  # type: ignore[no-untyped-def]
    return evaluate_model(folder, task(), repeats=True, draws=20, **changes)  # type: ignore[arg-type]


def test_a_funnel_is_measured_as_it_was_built(tmp_path: Path) -> None:
    funnel().save(tmp_path / "run" / "deployment")
    report = evaluated(tmp_path / "run")
    expected = measure_funnel(funnel(), rules(), log(), task(), Asking(draws=20))
    assert report.served.ndcg == expected.served.ndcg
    assert report.line("two-tower", "part").ndcg == expected.line("two-tower", "part").ndcg


@pytest.mark.parametrize("name", ["two-tower", "hcn", "sequence", "item-item"])
def test_a_model_alone_is_measured_by_its_own_order(tmp_path: Path, name: str) -> None:
    funnel_parts().models[name].save(tmp_path / "model")
    report = evaluated(tmp_path, split="valid")
    assert report.split == "valid"
    assert report.served.ndcg is not None
    assert "alone serves" in report.first
    if name != "item-item":
        assert report.line(name, "part").ndcg == report.served.ndcg


def test_popularity_is_measured_by_its_own_order(tmp_path: Path) -> None:
    ids = log().ids
    weight = np.where(np.arange(len(ids)) == 4, 99.0, np.arange(len(ids)) / 100)
    save_popularity(tmp_path / "model", ids[::-1], weight[::-1], **ON_TRAINING)
    report = evaluated(tmp_path)
    assert report.first.startswith("Popularity alone serves. ")
    # Distinct, as the rule orders items of one count.
    save_popularity(tmp_path / "counts", ids, rules().places[1:], **ON_TRAINING)
    counted = evaluated(tmp_path / "counts")
    assert counted.served.ndcg == counted.line("Popularity", "rule").ndcg
    assert report.served.ndcg != counted.served.ndcg


def test_a_model_as_it_was_published_is_measured(tmp_path: Path) -> None:
    ServedModel.of_log(two_tower(), past().events).save(tmp_path / "shop" / "v1")
    two_tower().save(tmp_path / "model")
    served, alone = evaluated(tmp_path / "shop" / "v1"), evaluated(tmp_path / "model")
    assert served.served.ndcg == alone.served.ndcg


@pytest.mark.parametrize("known", [False, True])
def test_what_was_counted_from_the_test_is_refused(tmp_path: Path, known: bool) -> None:
    """known: whether it says what it was fitted on, which earlier versions did not."""
    whole = fit_item_item(log().whole, ItemItemConfig())
    said = {"fitted": task().fitted(whole=True)} if known else {}
    ItemItemArtifact(whole, log().ids, True, **said).save(tmp_path / "rule" / "model")  # type: ignore[arg-type]
    save_popularity(tmp_path / "popular", log().ids, whole.count[1:], **said)  # type: ignore[arg-type]
    later = replace(funnel(), fitted=task().fitted(whole=True))
    counted = replace(later.parts, count=np.bincount(task().item, minlength=len(task().items)))
    replace(later if known else funnel(), parts=counted).save(tmp_path / "funnel" / "deployment")
    for name in ("rule", "popular", "funnel"):
        with pytest.raises(ConfigError, match="has seen what it would be asked") as error:
            evaluated(tmp_path / name)
        assert "without --log" in error.value.hint
    lately = np.linspace(1, 2, len(log().ids))
    save_popularity(tmp_path / "lately", log().ids, lately, **said)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has seen"):
        evaluated(tmp_path / "lately")


def test_the_order_of_the_items_is_of_no_matter(tmp_path: Path) -> None:
    two_tower().save(tmp_path / "model")
    other = reordered(task(), task().items.ids[::-1])
    found = evaluate_model(tmp_path, other, repeats=True, draws=20)
    assert found.served.ndcg == evaluated(tmp_path).served.ndcg


def test_other_items_and_other_kinds_are_refused(tmp_path: Path) -> None:
    two_tower().save(tmp_path / "model")
    items = task().items
    other = replace(task(), items=replace(items, ids=tuple(f"x{i}" for i in items.ids)))
    with pytest.raises(ConfigError, match="12 items, and the log has 12 others"):
        evaluate_model(tmp_path, other, repeats=True)
    save_artifact(tmp_path / "x", kind="survival", config={}, files={"a": "b"})
    with pytest.raises(ArtifactError, match="'survival' is not measured"):
        evaluated(tmp_path / "x")
    hstu_ranker().save(tmp_path / "r")
    with pytest.raises(ConfigError, match="search the catalogue"):
        evaluated(tmp_path / "r")
    with pytest.raises(ArtifactError, match="no artifact"):
        evaluated(tmp_path / "nothing")
