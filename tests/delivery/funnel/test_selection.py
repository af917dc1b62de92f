"""Which sources are needed, and what serves."""

from __future__ import annotations

import numpy as np

from adwright.delivery.funnel.build import needed_sources, select_serving, serving_sources
from adwright.delivery.funnel.choice import FoundCandidates, TriedOrder
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.measure import SIZES
from tests.support.delivery.cascade_parts import histories, task
from tests.support.delivery.funnel_parts import funnel_parts

TARGETS = [np.array([1, 2]), np.array([3]), np.array([4])]


def found(**lists: list[list[int]]) -> FoundCandidates:
    named = {
        name.replace("_", "-"): [np.array(one, int) for one in given]
        for name, given in lists.items()
    }
    return FoundCandidates(np.arange(3), np.arange(3), TARGETS, named)  # type: ignore[arg-type]


def test_a_source_that_brings_nothing_is_left_out() -> None:
    kept, notes = needed_sources(
        found(
            item_item=[[1], [3], [9]],
            two_tower=[[1], [3], []],
            past=[[2], [], []],
            popularity=[[8], [8], [4]],
        )
    )
    assert kept in (("item-item", "past", "popularity"), ("two-tower", "past", "popularity"))
    assert len(notes) == 1
    assert "is left out" in notes[0]


def test_a_source_of_popular_items_stays() -> None:
    kept, _ = needed_sources(
        found(item_item=[[1, 2], [3], [4]], popularity=[[8], [8], [8]], lately=[[8], [8], [8]])
    )
    assert "item-item" in kept
    assert len({"popularity", "lately"} & set(kept)) == 1


def order(*names: str, fine: bool = False) -> TriedOrder:
    mixture = ScoreMixture(names, (1.0,) * len(names))  # type: ignore[arg-type]
    models = len({"sequence", "two-tower", "hcn"} & set(names)) + fine
    none = np.zeros(1)
    return TriedOrder("x", mixture, ScoreMixture.of("fine") if fine else None, models, none, none)


def test_no_model_is_asked_for_candidates_alone() -> None:
    kept = ("sequence", "two-tower", "item-item", "past", "popularity")
    pairs = [
        (order("item-item"), {"item-item", "popularity"}),
        (order("again"), {"past", "popularity"}),
        (order("popularity"), {"popularity"}),
        (order("category"), {"item-item", "past", "popularity"}),
        (order("item-item", "again"), {"item-item", "past", "popularity"}),
        (order("two-tower"), {"two-tower", "item-item", "past", "popularity"}),
        (order("sequence", "two-tower", "again"), set(kept)),
    ]
    for one, names in pairs:
        assert serving_sources(one, kept) == {n: SIZES[n] for n in kept if n in names}  # type: ignore[index]


def test_what_serves_is_chosen_on_validation() -> None:
    parts = funnel_parts().opened(histories())
    selected = select_serving(parts, task(), draws=20)
    names = [one.name for one in selected.orders]
    assert "Item-item" in names
    assert "rules + sequence + two-tower + hcn" in names
    assert names[-1].endswith("+ fine")
    kinds = {(one.name, one.kind) for one in selected.lines}
    assert {("Item-item", "rule"), ("sequence", "part"), ("past", "source")} <= kinds
    assert any("serves" in note for note in selected.notes)
    again = select_serving(funnel_parts().opened(histories()), task(), draws=20)
    assert again.serving == selected.serving
    assert set(selected.serving.sources) <= set(SIZES)
