"""Saved models of every kind are measured on the visits of a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.artifacts import save_artifact
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.tasks.next_basket import reordered
from adwright.delivery.funnel.evaluate import evaluate_model
from adwright.delivery.funnel.measure import measure_funnel
from adwright.delivery.popularity import save_popularity
from adwright.delivery.served import ServedModel
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from tests.support.delivery.cascade_parts import deployment, hcn, task, two_tower
from tests.support.delivery.funnel_parts import funnel, funnel_parts, log, rules
from tests.support.delivery.sequence_parts import hstu, hstu_ranker
from tests.support.delivery.single_models import past

#: That a rule was counted from the training of the task.
ON_TRAINING: Any = {"fitted": task().fitted(), "data_hash": task().data_hash}


def evaluated(folder: Path, **changes: object):  # type: ignore[no-untyped-def]
    return evaluate_model(folder, task(), repeats=True, draws=20, **changes)  # type: ignore[arg-type]


def test_a_funnel_is_measured_as_it_was_built(tmp_path: Path) -> None:
    funnel().save(tmp_path / "run" / "deployment")
    report = evaluated(tmp_path / "run")
    expected = measure_funnel(funnel(), rules(), log(), task(), draws=20)
    assert report.served.ndcg == expected.served.ndcg
    assert report.line("two-tower", "part").ndcg == expected.line("two-tower", "part").ndcg


@pytest.mark.parametrize("name", ["two-tower", "hcn", "sequence", "item-item"])
def test_a_model_alone_is_measured_by_its_own_order(tmp_path: Path, name: str) -> None:
    item_item = funnel_parts().item_item
    models = {"two-tower": two_tower(), "hcn": hcn(), "sequence": hstu(), "item-item": item_item}
    model = models[name]
    assert model is not None
    model.save(tmp_path / "model")
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


def test_a_cascade_of_fixed_stages_is_measured(tmp_path: Path) -> None:
    deployment().save(tmp_path / "deployment")
    report = evaluated(tmp_path / "deployment")
    assert report.first.startswith("A cascade of fixed stages serves.")


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
