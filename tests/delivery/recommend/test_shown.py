from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.atomic import atomic_write_text
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, save_log
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.delivery.recommend import models as shown
from adwright.delivery.recommend.models import (
    PopularityTop,
    ShownTop,
    Wanted,
    open_model,
    stopped_in_log,
)
from adwright.delivery.recommend.people import People
from adwright.delivery.recommend.run import recommend_all, recommend_file
from tests.support.delivery.single_models import log

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def people(users: int) -> People:
    nothing = np.zeros(0, np.int64)
    names = pl.Series("user_id", [f"u{n}" for n in range(users)], pl.String)
    return People(names, nothing, nothing, np.zeros(users + 1, np.int64), np.zeros(users, np.int64))


def with_stops(folder: Path, *rows: tuple[str, str | None, datetime, float | None]) -> Path:
    """The log of the small task with stops in it; its item i has the creative i-only."""
    known = log()
    ids = known.catalogue.items["item_id"]
    creatives = pl.DataFrame({"creative_id": ids + "-only", "item_id": ids})
    stops = pl.DataFrame(
        [
            {
                **{"event_id": f"s{n}", "time": time, "request_id": "s", "user_id": "anna"},
                **{"kind": "stop", "item_id": item, "creative_id": creative, "value": value},
            }
            for n, (item, creative, time, value) in enumerate(rows)
        ],
        schema_overrides={"creative_id": pl.String, "value": pl.Float64},
    )
    events = pl.concat([known.events.collect(), validate_events(stops)])
    catalogue = Catalogue.checked(known.catalogue.items, creatives)
    save_log(folder / "log", Log(events.lazy(), catalogue, known.users))
    return folder / "log"


@pytest.mark.parametrize("places", [1 << 21, 4])
def test_what_is_hidden_is_passed_over_and_the_next_best_moves_up(
    places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "PLACES", places)
    top = PopularityTop(Popularity(list("abcd"), np.array([4.0, 3.0, 2.0, 1.0])), unseen=False)
    found = ShownTop(top, {"a", "c", "unknown"}).best(people(3), 2)
    assert found.codes.tolist() == [[2, 4]] * 3
    assert found.scores.tolist() == [[3.0, 1.0]] * 3
    short = ShownTop(top, {"b"}).best(people(1), 5)
    assert short.codes.tolist() == [[1, 3, 4, -1, -1]]
    assert short.scores[0, 3:].tolist() == [-np.inf, -np.inf]
    assert ShownTop(top, {"unknown"}).best(people(1), 2).codes.tolist() == [[1, 2]]
    assert ShownTop(top, set("abcd")).best(people(1), 2).codes.tolist() == [[-1, -1]]


def test_the_log_says_what_is_stopped_at_a_moment(tmp_path: Path) -> None:
    a, b, c = log().catalogue.items["item_id"].to_list()[:3]
    hour = timedelta(hours=1)
    source = with_stops(
        tmp_path,
        (a, None, NOW, None),
        (a, None, NOW + hour, 0.0),
        (b, f"{b}-only", NOW, 1.0),
        (c, "another", NOW, None),
    )
    assert stopped_in_log(source, NOW) == {a, b}
    assert stopped_in_log(source, NOW + hour) == {b}
    assert stopped_in_log(source, NOW - hour) == frozenset()
    sequences = tmp_path / "sequences"
    atomic_write_text(sequences / "sequences.txt", "")
    assert stopped_in_log(sequences, NOW) == frozenset()


def test_a_file_of_recommendations_holds_nothing_that_is_stopped(tmp_path: Path) -> None:
    ids = log().catalogue.items["item_id"].to_list()
    weight = np.arange(len(ids), dtype=float)
    save_popularity(tmp_path / "model", ids, weight)
    source = str(with_stops(tmp_path, (ids[-1], None, NOW, None)))
    wanted = Wanted(log=source)
    assert set(recommend_all(tmp_path / "model", wanted, k=2)["item_id"]) == {ids[-2], ids[-3]}
    written = recommend_file(tmp_path / "model", tmp_path / "out.parquet", wanted, k=2)
    assert written.stopped == 1
    assert ids[-1] not in pl.read_parquet(written.out)["item_id"]
    early = Wanted(log=source, at=NOW - timedelta(hours=1))
    assert open_model(tmp_path / "model", early).stopped == frozenset()
