"""Find what a log should not have known: features that give the label away, or the future.

Three kinds of leaks make a model look perfect and fail when it is served:

    a response that is dated before its impression, and so lies in its own history: a log's task
        sees to that itself (`adwright.data.tasks.from_log`)
    a copy of the label in a column: `find_leaks`, the AUC of each feature alone
    a count of what was still to come, such as sales of the whole year: `find_future_counts`, of the
        columns of the items and of what rows say of their item (`item_numbers`)

The AUC of a number is that of its order, whichever way round; that of a category or a list is of
the rate of positives that the other half of the rows has for the value, so that a value that
stands once tells nothing of itself.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.data.features import Feature
from adwright.data.hashing import hash_order

#: Alone, nothing that is known before a response separates so well. The strongest honest feature
#: that we know of, popularity in a shop of groceries, reaches .89.
ALONE = 0.97
#: Rank correlation of a column with a count, from which on it is that count.
SAME = 0.98
#: Positives and negatives, or items, below which nothing can be said.
FEWEST = 20
_SMOOTH = 10.0

_log = logging.getLogger("adwright")


@dataclass(frozen=True)
class Leak:
    """column: a feature that alone separates the labels. auc: how well, from .5 to 1."""

    column: str
    auc: float


@dataclass(frozen=True)
class FutureCount:
    """column: that says it of each item. kind: of the events that it counts over the whole log,
    those after the end of training included. correlation: of their ranks."""

    column: str
    kind: str
    correlation: float


def find_leaks(
    rows: pl.DataFrame,
    items: pl.DataFrame,
    features: Sequence[Feature],
    *,
    sample: int = 200_000,
    least: float = ALONE,
) -> tuple[Leak, ...]:
    """The features that alone separate the labels with an AUC of `least` or more, the best first.

    rows: training rows of a task with item_id, label and the columns of the user's and context's
    features. items: with those of the items'. sample: rows looked at, chosen by a hash.
    Ids and histories are passed over: which item it is may well say a lot.
    """
    rows = _sampled(rows, sample)
    label = rows["label"].cast(pl.Int8).to_numpy() > 0
    if min(label.sum(), (~label).sum()) < FEWEST:
        return ()
    found = []
    for feature in features:
        if feature.kind == "sequence" or feature.name in ("user_id", "item_id"):
            continue
        column = _values(feature, rows, items)
        if column is not None:
            auc = rank_auc(_scores(column, feature, label), label)
            auc = max(auc, 1 - auc) if feature.kind in ("numeric", "bucketised") else auc
            if auc >= least:
                found.append(Leak(feature.name, auc))
    return tuple(sorted(found, key=lambda leak: -leak.auc))


def find_future_counts(
    items: pl.DataFrame,
    events: pl.LazyFrame,
    until: datetime | pl.Expr,
    *,
    same: float = SAME,
) -> tuple[FutureCount, ...]:
    """The columns of the items that count events of the whole log, and so know what came after
    training.

    items: item_id and columns of any type. events: item_id and kind. until: the end of training, or
    whether an event is of the training.
    A column counts the events of a kind where its ranks over the items agree with their numbers in
    the whole log to a correlation of `same`, and better than with those before `until`.
    """
    items = _with_numbers(items)
    numbers = [name for name in items.columns if name != "item_id"]
    if not numbers:
        return ()
    trains = until if isinstance(until, pl.Expr) else pl.col("time") < until
    counted = (
        events.group_by("item_id", "kind")
        .agg(all=pl.len(), before=trains.sum())
        .collect(engine="streaming")
    )
    found = []
    for kind in sorted(counted["kind"].unique()):
        mine = counted.filter(pl.col("kind") == kind)
        table = items.join(mine, on="item_id", how="left", maintain_order="left")
        if mine.height < FEWEST or (mine["all"] == mine["before"]).all():
            continue
        for name in numbers:
            known = table.filter(pl.col(name).is_not_null()).fill_null(0)
            whole, before = (_rank_correlation(known[name], known[n]) for n in ("all", "before"))
            if whole >= same and whole > before:
                found.append(FutureCount(name, kind, whole))
    return tuple(found)


def item_numbers(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """item_id, and those of the columns `names` of rows that say the same of an item wherever they
    say something: a row each item."""
    ids = rows.select(pl.col("item_id").cast(pl.String), *names)
    pairs = {name: ids.select("item_id", name).drop_nulls().unique() for name in names}
    kept = [name for name, pair in pairs.items() if pair["item_id"].is_unique().all()]
    return ids.group_by("item_id").agg(pl.col(kept).drop_nulls().first())


def warn_of_leaks(leaks: Collection[Leak], counts: Collection[FutureCount] = ()) -> None:
    """Say each of them to the logger "adwright", with what to do."""
    for leak in leaks:
        _log.warning(
            "%s alone tells positives from negatives (AUC %.3f): a copy of the label, or known "
            "only after the response? Leave it out, unless it is known before",
            leak.column,
            leak.auc,
        )
    for count in counts:
        _log.warning(
            "%s counts the events of kind %s in the whole log (rank correlation %.3f), those after "
            "training included: it knows the future. Count what came before, or leave it out",
            count.column,
            count.kind,
            count.correlation,
        )


def rank_auc(score: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    """The share of pairs of a positive and a negative in which the positive scores higher; ties
    count half. score, label: [N], with both labels among them."""
    ranks = pl.Series(score).rank("average").to_numpy()
    positives = int(label.sum())
    above = ranks[label].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(label) - positives)))


def _sampled(rows: pl.DataFrame, sample: int) -> pl.DataFrame:
    if rows.height <= sample:
        return rows
    order = hash_order(rows, ["user_id", "request_id", "item_id"], 0)
    limit = int(sample / rows.height * (2**64 - 1))
    return rows.filter(order <= limit)


def _values(feature: Feature, rows: pl.DataFrame, items: pl.DataFrame) -> pl.Series | None:
    if feature.of != "item":
        return rows[feature.name] if feature.name in rows.columns else None
    if feature.name not in items.columns:
        return None
    ids = items.select(pl.col("item_id").cast(pl.String), feature.name)
    mine = rows.select(pl.col("item_id").cast(pl.String))
    return mine.join(ids, on="item_id", how="left", maintain_order="left")[feature.name]


def _scores(column: pl.Series, feature: Feature, label: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[N], higher where the column speaks for a positive."""
    if feature.kind in ("numeric", "bucketised"):
        numbers = column.cast(pl.Float64, strict=False)
        numbers = numbers.set(~numbers.is_finite().fill_null(value=False), None)
        low = numbers.min()
        # What is not known is in a place of its own, below all.
        filled = numbers.fill_null(float(low) - 1.0 if isinstance(low, float) else 0.0)
        return filled.to_numpy()
    if isinstance(column.dtype, pl.List):
        column = column.list.eval(pl.element().cast(pl.String)).list.sort().list.join("\n")
    return _other_half(column.cast(pl.String), label)


def _other_half(values: pl.Series, label: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The rate of positives that each row's value has in the other half of the rows."""
    half = np.arange(len(label)) % 2
    table = pl.DataFrame({"value": values, "label": label, "half": half})
    rates = table.group_by("value", half=1 - pl.col("half")).agg(
        positives=pl.col("label").sum(), rows=pl.len()
    )
    mean = float(label.mean())
    rate = (pl.col("positives") + _SMOOTH * mean) / (pl.col("rows") + _SMOOTH)
    joined = table.join(
        rates, on=["value", "half"], how="left", maintain_order="left", nulls_equal=True
    )
    return joined.select(rate.fill_null(mean)).to_series().to_numpy()


def _with_numbers(items: pl.DataFrame) -> pl.DataFrame:
    """The items with their columns of numbers, those that are written as text included."""
    columns = [items["item_id"].cast(pl.String)]
    for column in items.drop("item_id").iter_columns():
        plain = column.dtype.is_numeric() or column.dtype == pl.String
        number = column.cast(pl.Float64, strict=False) if plain else None
        if number is not None and number.null_count() == column.null_count():
            columns.append(number)
    return pl.DataFrame([one for one in columns if one.name == "item_id" or one.n_unique() > 2])


def _rank_correlation(one: pl.Series, other: pl.Series) -> float:
    """Spearman's correlation; 0 where one of the two is constant."""
    if len(one) < FEWEST or one.n_unique() < 2 or other.n_unique() < 2:
        return 0.0
    ranks = np.stack([one.rank().to_numpy(), other.rank().to_numpy()])
    return float(np.corrcoef(ranks)[0, 1])
