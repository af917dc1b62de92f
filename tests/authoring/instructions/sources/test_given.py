from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.authoring.instructions.sources import (
    DataSources,
    ProductColumns,
    given_examples,
    given_listings,
)
from adwright.core.errors import ConfigError

COLUMNS = ProductColumns(category="kind", description="text")
EVERY = ("classify", "intent", "attributes", "descriptions", "ads")


def catalogue(folder: Path) -> DataSources:
    count = 60
    table = pl.DataFrame(
        {
            "id": [f"s{n}" for n in range(count)],
            "title": [f"Thing {n}" for n in range(count)],
            "kind": ["tea" if n % 2 else "cup" for n in range(count - 1)] + ["pot"],
            "text": ["short" if n % 3 else f"{'A long text ' * 5}{n}" for n in range(count)],
        }
    )
    table.write_csv(folder / "shop.csv")
    return DataSources(catalogue=folder / "shop.csv", columns=COLUMNS)


def test_a_catalogue_gives_examples_of_what_it_has(tmp_path: Path) -> None:
    skipped: dict[str, Counter[str]] = {}
    found = list(given_examples(catalogue(tmp_path), EVERY, skipped=skipped))
    kinds = Counter(one.request.task.name for one in found)
    assert kinds == {"classify": 59, "descriptions": 20}
    assert skipped == {"catalogue": {"a rare category": 1}}
    labels = {one.request.labels for one in found if one.request.task.name == "classify"}
    assert labels == {("cup", "tea")}
    for one in found:
        if one.request.task.name == "descriptions":
            assert one.answer.startswith("A long text")
            assert one.request.product.description == ""


@pytest.mark.parametrize("task", ["classify", "descriptions"])
def test_only_tasks_that_are_asked_for(tmp_path: Path, task: str) -> None:
    found = list(given_examples(catalogue(tmp_path), (task,)))
    assert {one.request.task.name for one in found} == {task}
    assert list(given_examples(catalogue(tmp_path), ("ads",))) == []


def test_a_catalogue_gives_products(tmp_path: Path) -> None:
    found = list(given_listings(catalogue(tmp_path)))
    assert len(found) == 60
    assert found[0].source == "shop"


def test_nothing_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to make instruction data of"):
        DataSources()
    with pytest.raises(ConfigError, match="no data set that is known"):
        DataSources.in_folder(tmp_path)


def test_public_sets_are_found_by_their_names(shared_data: Path) -> None:
    sources = DataSources.in_folder(shared_data)
    assert sources.pricerunner == shared_data / "pricerunner" / "offers.csv"
    assert None not in (
        sources.intention,
        sources.attributes,
        sources.abt_buy,
        sources.walmart_amazon,
    )


def test_each_set_gives_its_task(shared_data: Path) -> None:
    sources = DataSources.in_folder(shared_data)
    one_each: dict[str, Any] = {}
    for task in EVERY[:4]:
        one_each[task] = Counter(
            one.source for one in islice(given_examples(sources, (task,)), 40_000)
        )
    assert {task: set(found) for task, found in one_each.items()} == {
        "classify": {"pricerunner", "walmart-amazon"},
        "intent": {"intention"},
        "attributes": {"attributes"},
        "descriptions": {"abt-buy"},
    }


def test_products_of_every_set(shared_data: Path) -> None:
    sources = DataSources(
        abt_buy=shared_data / "abt-buy",
        attributes=shared_data / "attributes",
        complete_journey=True,
    )
    found = Counter(one.source for one in islice(given_listings(sources), 5000))
    assert set(found) == {"abt-buy", "attributes", "complete-journey"}
