"""A small catalogue, spec and batch that the tests of the models share."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from adwright.data.batches.batch import Batch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature, FeatureSpec, ItemTable, fit_spec

ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{n}" for n in range(12)],
        "type": ["tea", "tea", "milk", None, "milk", "rice", "rice", "tea", "jam", "jam", "x", "y"],
        "words": [["a"], ["a", "b"], [], None, ["c"], ["b"], ["a"], ["c"], ["b"], [], [], ["a"]],
        "weight": [1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0],
    }
)
ROWS = pl.DataFrame(
    {
        "item_id": [f"i{n}" for n in range(10)] * 2,
        "user_id": ["u", "v"] * 10,
        "price": np.linspace(1, 9, 20),
        "tags": [["new"], ["old", "new"]] * 10,
    }
)
FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("type", "categorical", "item"),
    Feature("words", "multi", "item"),
    Feature("weight", "numeric", "item"),
    Feature("user_id", "categorical", "user"),
    Feature("tags", "multi", "context"),
    Feature("price", "numeric", "context"),
)


def small_spec() -> tuple[FeatureSpec, ItemTable]:
    """The spec fitted on the tables above, and the catalogue in codes."""
    spec = fit_spec(FEATURES, ROWS.lazy(), ITEMS.lazy())
    return spec, spec.encode_items(ITEMS)


def small_batch() -> Batch:
    """Three people, one without history and one without rows to score; seven rows."""
    generator = torch.Generator().manual_seed(2)
    return Batch(
        history=Jagged(torch.tensor([1, 2, 1, 3, 9, 4, 5, 4, 12, 0]), torch.tensor([0, 5, 5, 10])),
        offsets=torch.tensor([0, 3, 4, 7]),
        item=torch.tensor([1, 7, 2, 3, 4, 11, 0]),
        begin=torch.tensor([0, 0, 1, 0, 0, 2, 2]),
        end=torch.tensor([2, 4, 5, 0, 3, 4, 5]),
        categorical={"user_id": torch.tensor([1, 1, 1, 2, 0, 0, 0])},
        multi={"tags": Jagged(torch.tensor([1, 2, 1, 1]), torch.tensor([0, 1, 1, 3, 3, 4, 4, 4]))},
        numeric=torch.randn(7, 1, generator=generator),
        label=torch.tensor([1.0, 0, 0, 1, 0, 1, 0]),
        row=torch.arange(7),
    )
