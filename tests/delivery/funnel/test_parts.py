"""Parts of a funnel, opened with histories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.delivery.funnel.funnel import SOURCES
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sources import NeighbourSource, QueryVectors, VectorSource
from tests.support.delivery.cascade_parts import histories, request, task, two_tower
from tests.support.delivery.funnel_parts import funnel_parts
from tests.support.delivery.sequence_parts import hstu_ranker

EVERY = (
    *("popularity", "lately", "category", "frequency", "recent", "again", "item-item"),
    *("linear", "sequence", "two-tower", "hcn"),
)


def test_every_source_and_column_that_the_parts_allow() -> None:
    parts = funnel_parts().opened(histories())
    assert parts.sources == SOURCES
    assert parts.coarse_names == EVERY
    bare = replace(
        funnel_parts(repeats=False),
        linear=None,
        sequence=None,
        two_tower=None,
        hcn=None,
        fine=None,
        lately=None,
        category=None,
    ).opened(histories())
    assert bare.sources == ("item-item", "popularity")
    assert bare.coarse_names == ("popularity", "item-item")
    assert [c.names for c in bare.columns(("again", "fine", "hcn"))] == [("popularity",)]


def test_each_source_finds_something() -> None:
    parts = funnel_parts().opened(histories())
    batch = parts.histories.batch([request("u1")])
    for name in SOURCES:
        source = parts.source(name)
        assert source is not None
        (codes,) = source.find(batch, 4).lists()
        assert 0 < len(codes) <= 4
        assert codes.min() > 0


def test_columns_are_those_of_the_models() -> None:
    parts = funnel_parts().opened(histories())
    batch = parts.histories.batch([request("u1"), request("u2")])
    items = Shortlist.of([np.arange(1, 13), np.array([4, 7])])
    columns = {c.names[0]: c for c in parts.columns(EVERY)}
    expected = QueryVectors(two_tower(), histories()).scorer().score(batch, items)
    np.testing.assert_allclose(columns["two-tower"].values(batch, items)[:, 0], expected)
    item = columns["popularity"].values(batch, items)
    np.testing.assert_allclose(item[:, 0], np.log1p(task().count[items.codes]))
    # What is taken lately has the higher number.
    lately = funnel_parts().lately
    assert lately is not None
    order = np.argsort(lately[1:], kind="stable")
    assert (np.diff(item[:12, 1][order]) >= 0).all()


def test_a_fine_stage_of_either_kind_gives_logits() -> None:
    for fine in (funnel_parts().fine, hstu_ranker()):
        parts = replace(funnel_parts(), fine=fine).opened(histories(), kept=2)
        batch = parts.histories.batch([request("u1")])
        items = Shortlist.of([np.arange(1, 13)])
        _, column = parts.columns(("fine",))
        assert column.names == ("fine",)
        assert (column.values(batch, items) < 0).any()


def test_what_is_alike_is_said_by_vectors_or_else_by_item_item() -> None:
    parts = funnel_parts().opened(histories())
    assert isinstance(parts.similar, VectorSource)
    bare = replace(funnel_parts(), two_tower=None, sequence=None, hcn=None)
    source = bare.opened(histories()).similar
    assert isinstance(source, NeighbourSource)
    codes, score = source.similar(1, 3)
    assert len(codes) == len(score) <= 3
    with pytest.raises(ConfigError, match="item-item or a model"):
        _ = replace(bare, item_item=None).opened(histories()).similar


def test_without_histories_nobody_is_known() -> None:
    parts = funnel_parts().opened()
    assert len(parts.histories) == 0
    assert parts.histories.items.ids == funnel_parts().ids


def test_models_of_other_items_are_refused() -> None:
    with pytest.raises(ConfigError, match="different items"):
        replace(funnel_parts(), ids=tuple(f"other-{n}" for n in range(12)))
