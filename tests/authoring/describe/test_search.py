"""Search as a judge: which index wins is known, since the catalogue is made for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.authoring.describe.queries import (
    EchoConfig,
    GradedJudgement,
    Judged,
    SearchQuery,
    judged_by,
)
from adwright.authoring.describe.rankers import Bm25Ranker
from adwright.authoring.describe.search import INDEXES, SearchConfig, compare_search
from adwright.authoring.instructions.sources import read_matches
from adwright.authoring.tasks import Product
from adwright.core.errors import ConfigError, DataError

RANKER = Bm25Ranker()
FAST = SearchConfig(draws=60)
COUNT = 24


def catalogue() -> tuple[list[Product], dict[str, str], Judged]:
    """Products of one title, whose colour stands in the original description of every second one
    and in every written one; a query asks for a colour and a number that is an attribute."""
    products, written, queries, judged = [], {}, [], []
    for at in range(COUNT):
        mark = f"shade{at}"
        body = f"comes in {mark}" if at % 2 else ""
        known = (("colour", mark),)
        products.append(Product(f"p{at}", "plain cup", description=body, attributes=known))
        written[f"p{at}"] = f"a cup in {mark} for the table"
        queries.append(SearchQuery(f"q{at}", f"cup in {mark}"))
        judged.append(GradedJudgement(f"q{at}", f"p{at}", 2))
    return products, written, judged_by(queries, judged, [one.id for one in products])


def test_the_index_with_the_words_is_ahead() -> None:
    products, written, judged = catalogue()
    found = compare_search(products, [written], judged, [RANKER], FAST)
    ndcg = {index: found.row(RANKER.name, "unseen", index).ndcg.value for index in INDEXES}
    assert ndcg["written"] == ndcg["both"] == 1
    assert ndcg["title"] < ndcg["original"] < 1
    lead = found.row(RANKER.name, "unseen", "both").lead
    assert lead is not None
    assert lead.excludes(0)
    assert lead.value == pytest.approx(1 - ndcg["original"])
    assert found.row(RANKER.name, "unseen", "original").lead is None
    assert (found.products, found.cold, found.written, found.seen) == (COUNT, 12, (COUNT,), 0)
    with pytest.raises(KeyError):
        found.row("another", "unseen", "both")


def test_cold_products_stand_apart() -> None:
    products, written, judged = catalogue()
    found = compare_search(products, [written], judged, [RANKER], FAST)
    cold = found.row(RANKER.name, "cold", "original")
    assert cold.queries == 12
    assert cold.ndcg.value < found.row(RANKER.name, "unseen", "original").ndcg.value
    known = {f"p{at}" for at in range(0, COUNT, 3)}
    with_history = compare_search(products, [written], judged, [RANKER], FAST, history=known)
    assert with_history.cold == 20


def test_what_the_writer_had_seen_is_no_evidence() -> None:
    products, written, judged = catalogue()
    seen = [replace(one, seen=at < 5) for at, one in enumerate(judged.queries)]
    told = replace(judged, queries=tuple(seen))
    found = compare_search(products, [written], told, [RANKER], FAST)
    assert found.seen == 5
    assert found.row(RANKER.name, "unseen", "both").queries == COUNT - 5
    assert found.row(RANKER.name, "seen", "both").queries == 5
    whole = replace(judged, queries=tuple(replace(one, seen=True) for one in judged.queries))
    with pytest.raises(DataError, match="has seen every query"):
        compare_search(products, [written], whole, [RANKER], FAST)


def test_a_description_that_echoes_queries_wins_nothing() -> None:
    products, _, judged = catalogue()
    bare = [replace(one, attributes=(), description="") for one in products]
    echoing = {one.id: query.text for one, query in zip(products, judged.queries, strict=True)}
    # Every run of two words has one that no fact knows.
    guarded = compare_search(bare, [echoing], judged, [RANKER], FAST)
    assert len(guarded.echoes[0]) == COUNT
    assert guarded.written == (0,)
    title = guarded.row(RANKER.name, "unseen", "title").ndcg
    assert guarded.row(RANKER.name, "unseen", "written").ndcg.value == title.value
    kept = compare_search(bare, [echoing], judged, [RANKER], replace(FAST, echoes="keep"))
    assert kept.row(RANKER.name, "unseen", "written").ndcg.value == 1
    blind = replace(FAST, echo=EchoConfig(words=4))
    assert not compare_search(bare, [echoing], judged, [RANKER], blind).echoes[0]


def test_seeds_widen_the_interval() -> None:
    products, written, judged = catalogue()
    half = {key: text for key, text in written.items() if int(key[1:]) % 3}
    one = compare_search(products, [written], judged, [RANKER], FAST)
    three = compare_search(products, [written, half, half], judged, [RANKER], FAST)
    row = three.row(RANKER.name, "unseen", "written")
    assert one.row(RANKER.name, "unseen", "written").ndcg.seeds == 1
    assert row.ndcg.seeds == 3
    assert three.row(RANKER.name, "unseen", "original").ndcg.seeds == 0
    assert row.ndcg.width > one.row(RANKER.name, "unseen", "written").ndcg.width
    assert three.grades[RANKER.name, "written"].shape == (3, COUNT, 10)
    assert np.isnan(three.grades[RANKER.name, "title"]).sum() == 0


@pytest.mark.parametrize(
    "change", [{"k": 1}, {"gain": "linear"}, {"confidence": 0.5}, {"draws": 30}, {"seed": 3}]
)
def test_settings_change_the_table(change: dict[str, Any]) -> None:
    products, written, judged = catalogue()
    more = judged_by(
        judged.queries,
        [
            *(GradedJudgement(f"q{at}", f"p{at}", 2) for at in range(COUNT)),
            *(GradedJudgement(f"q{at}", f"p{(at + 1) % COUNT}", 1) for at in range(COUNT)),
        ],
        [one.id for one in products],
    )
    usual = compare_search(products, [written], more, [RANKER], FAST)
    other = compare_search(products, [written], more, [RANKER], replace(FAST, **change))
    assert usual.rows != other.rows


@pytest.mark.parametrize("change", [{"k": 0}, {"draws": 0}, {"confidence": 1.0}, {"gain": "x"}])
def test_other_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SearchConfig(**change)


def test_nothing_was_written() -> None:
    products, _, judged = catalogue()
    for written in ([], [{}], [{"p1": ""}]):
        with pytest.raises(DataError, match="no written descriptions"):
            compare_search(products, written, judged, [RANKER], FAST)


def test_on_abt_buy_the_right_descriptions_beat_those_of_other_products(
    shared_data: Path,
) -> None:
    """Buy's names are the queries, and Buy's descriptions the written ones."""
    records = list(read_matches(shared_data / "abt-buy" / "test.txt"))
    shop = {one.cluster: one for one in records if one.side == 0}
    asked = [one for one in records if one.side == 1 and one.cluster in shop]
    products = [
        Product(one.id, one.fields["name"], description=one.fields["description"])
        for one in shop.values()
    ]
    written = {
        shop[one.cluster].id: one.fields["description"]
        for one in asked
        if one.fields["description"]
    }
    judged = judged_by(
        [SearchQuery(one.id, one.fields["name"]) for one in asked],
        [GradedJudgement(one.id, shop[one.cluster].id, 1) for one in asked],
        [one.id for one in products],
    )
    turned = dict(
        zip(written, [*list(written.values())[1:], *list(written.values())[:1]], strict=True)
    )
    keep = replace(FAST, echoes="keep")
    right = compare_search(products, [written], judged, [RANKER], keep)
    wrong = compare_search(products, [turned], judged, [RANKER], keep)
    title = right.row(RANKER.name, "unseen", "title").ndcg
    assert title.value > 0.6
    for index in ("written", "both"):
        good = right.row(RANKER.name, "unseen", index).ndcg.value
        assert good > wrong.row(RANKER.name, "unseen", index).ndcg.value
