"""What gives the label away, or knows the future, is found and named; what is honest is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from adwright.data.features import Feature
from adwright.data.leaks import (
    FutureCount,
    Leak,
    find_future_counts,
    find_leaks,
    item_numbers,
    rank_auc,
    warn_of_leaks,
)
from adwright.data.schema import Catalogue, validate_events
from adwright.data.tasks.from_log import build_log_task

START = datetime(2024, 1, 1, tzinfo=UTC)


def rows(seed: int = 0, n: int = 2000) -> pl.DataFrame:
    """Impressions of 50 items, half of which are liked."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 50, n)
    label = (rng.random(n) < np.where(item % 2 == 0, 0.5, 0.1)).astype(np.int8)
    return pl.DataFrame(
        {
            "user_id": [f"u{one}" for one in rng.integers(0, 99, n)],
            "request_id": [f"r{one}" for one in range(n)],
            "item_id": [f"i{one}" for one in item],
            "label": label,
            "honest": rng.normal(0, 1, n) + 1.5 * label,
            "copy": np.where(label == 1, 3.0, -rng.random(n)),
            "turned": -label.astype(float),
            "status": np.where(label == 1, "sold", "open"),
            "request": [f"q{one}" for one in range(n)],
        }
    )


ITEMS = pl.DataFrame({"item_id": [f"i{n}" for n in range(50)], "good": ["yes", "no"] * 25})
FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("good", "categorical", "item"),
    Feature("honest", "numeric", "context"),
    Feature("request", "categorical", "context"),
    Feature("absent", "numeric", "context"),
)
LEAKING = (
    Feature("copy", "numeric", "context"),
    Feature("turned", "numeric", "context"),
    Feature("status", "categorical", "context"),
)


def test_copies_of_the_label_in_the_context_are_found() -> None:
    found = find_leaks(rows(), ITEMS, FEATURES + LEAKING)
    assert {leak.column for leak in found} == {"copy", "turned", "status"}
    assert all(leak.auc == 1 for leak in found)
    # A text of its own in each row tells nothing of other rows.
    assert find_leaks(rows(), ITEMS, FEATURES) == ()


def test_a_copy_of_the_label_in_an_item_column_is_found() -> None:
    table = rows().with_columns(label=(pl.col("item_id").str.slice(1).cast(pl.Int64) % 2 == 0))
    found = find_leaks(table.with_columns(pl.col("label").cast(pl.Int8)), ITEMS, FEATURES)
    assert found == (Leak("good", 1.0),)


def test_a_list_may_leak_too() -> None:
    tags = ITEMS.with_columns(tags=pl.when(pl.col("good") == "yes").then(pl.lit(["a", "b"])))
    even = (pl.col("item_id").str.slice(1).cast(pl.Int64) % 2 == 0).cast(pl.Int8)
    found = find_leaks(rows().with_columns(label=even), tags, [Feature("tags", "multi", "item")])
    assert [leak.column for leak in found] == ["tags"]


def test_the_bound_and_the_sample_count() -> None:
    table = rows()
    assert [x.column for x in find_leaks(table, ITEMS, FEATURES, least=0.8)] == ["honest"]
    assert find_leaks(table, ITEMS, LEAKING, sample=30) == ()
    assert len(find_leaks(table, ITEMS, LEAKING, sample=500)) == 3
    assert find_leaks(table.with_columns(label=pl.lit(0)), ITEMS, LEAKING) == ()


def test_the_auc_is_the_usual_one() -> None:
    rng = np.random.default_rng(1)
    label = rng.random(300) < 0.3
    score = np.round(rng.random(300) + 0.3 * label, 1)
    assert rank_auc(score, label) == pytest.approx(roc_auc_score(label, score))


def test_counts_of_what_was_still_to_come_are_found() -> None:
    rng = np.random.default_rng(0)
    likes = rng.gamma(1.0, 1.0, 60)
    chosen = rng.choice(60, 4000, p=likes / likes.sum())
    times = [START + timedelta(minutes=n) for n in range(4000)]
    events = pl.DataFrame({"item_id": [f"i{n}" for n in chosen], "time": times, "kind": "purchase"})
    until = times[2500]
    counts = np.bincount(chosen, minlength=60)
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(60)],
            "sold_this_year": counts,
            "sold_before": np.bincount(chosen[:2500], minlength=60),
            "known_from_elsewhere": likes + rng.gamma(1.0, 1.0, 60),
            "log_of_it": np.log1p(counts),
            "as_text": counts.astype(str),
            "name": [f"n{n}" for n in range(60)],
        }
    )
    found = find_future_counts(items, events.lazy(), until)
    assert found == (
        FutureCount("sold_this_year", "purchase", pytest.approx(1.0)),
        FutureCount("log_of_it", "purchase", pytest.approx(1.0)),
        FutureCount("as_text", "purchase", pytest.approx(1.0)),
    )
    assert find_future_counts(items, events.lazy(), times[-1] + timedelta(days=1)) == ()
    assert find_future_counts(items, events.lazy(), until, same=1.5) == ()


def test_events_may_say_whether_they_train() -> None:
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(30)], "sold": [*range(30)]})
    taken = [f"i{n}" for n in range(30) for _ in range(n)]
    events = pl.DataFrame({"item_id": taken, "kind": "purchase"})
    # What trains takes all items alike.
    events = events.with_columns(trains=pl.int_range(pl.len()).over("item_id") < 3)
    found = find_future_counts(items, events.lazy(), pl.col("trains"))
    assert found == (FutureCount("sold", "purchase", pytest.approx(1.0)),)
    assert find_future_counts(items.select("item_id"), events.lazy(), pl.col("trains")) == ()


def test_what_rows_say_of_their_item_is_found() -> None:
    rows = pl.DataFrame(
        {
            "item_id": ["a", "b", "a", "b"],
            "sold": [3, 7, 3, None],
            "price": [1.0, 2.0, 1.5, 2.0],
            "name": ["x", "y", "x", "y"],
        }
    )
    found = item_numbers(rows, ["sold", "price", "name"]).sort("item_id")
    assert found.to_dict(as_series=False) == {
        "item_id": ["a", "b"],
        "sold": [3, 7],
        "name": ["x", "y"],
    }
    assert item_numbers(rows, []).sort("item_id")["item_id"].to_list() == ["a", "b"]


def test_leaks_are_named_in_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "adwright"):
        warn_of_leaks([Leak("status", 0.99876)], [FutureCount("sold", "click", 1.0)])
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("status alone tells positives from negatives (AUC 0.999)")
    assert second.startswith("sold counts the events of kind click in the whole log")


def test_a_task_of_a_log_tells_of_the_future(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(3)
    events = []
    for number in range(600):
        # Items come and go, so that what sells in all differs from what sold before.
        item, time = (
            int(rng.integers(0, 15)) + 10 * (number // 200),
            START + timedelta(hours=number),
        )
        for place, kind in enumerate(["impression", "click"][: 1 + number % 2]):
            ids = (f"{number}-{place}", f"u{number % 20}", f"r{number}", f"i{item}")
            events.append((*ids, time, kind))
    names = ["event_id", "user_id", "request_id", "item_id", "time", "kind"]
    log = validate_events(pl.DataFrame(events, schema=names, orient="row"))
    clicks = log.filter(kind="click").group_by("item_id").len("sold")
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(35)]})
    items = items.join(clicks, on="item_id", how="left").fill_null(0)
    with caplog.at_level("WARNING", "adwright"):
        build_log_task(log.lazy(), Catalogue.checked(items), tmp_path)
    assert "sold counts the events of kind click in the whole log" in caplog.text
