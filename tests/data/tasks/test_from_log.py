from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import read_log
from adwright.data.sources.mapping import LogMapping
from adwright.data.tasks.from_log import (
    LogTaskConfig,
    build_log_task,
    build_task_of_log,
    log_features,
)
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task

START = datetime(2024, 1, 1, 20, tzinfo=UTC)
CONFIG = LogTaskConfig(context=("device", "campaign_id"), numbers=("depth",))
Event = dict[str, Any]


def make_events(seed: int = 0) -> list[Event]:
    """Requests of 3 to 5 impressions, some of them clicked, some bought, some shown twice."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []

    def add(kind: str, user: int, request: str, item: int, time: datetime, **more: Any) -> None:
        events.append(
            {
                "event_id": f"e{len(events):05}",
                "time": time,
                "request_id": request,
                "user_id": f"u{user}",
                "kind": kind,
                "item_id": f"i{item}",
                **more,
            }
        )

    for user in range(12):
        for number in range(int(rng.integers(3, 12))):
            time = START + timedelta(hours=int(rng.integers(0, 500)))
            # Request ids are unique to a person only.
            request = f"r{number}"
            context = {
                "device": f"d{rng.integers(0, 3)}",
                "depth": int(rng.integers(0, 9)),
                "x": [1],
            }
            shown = rng.choice(10, int(rng.integers(3, 6)))
            for place, item in enumerate(shown.tolist()):
                add(
                    "impression",
                    user,
                    request,
                    item,
                    time + timedelta(seconds=place),
                    position=place,
                    campaign_id=f"c{item % 2}",
                    context=json.dumps(context) if rng.random() < 0.9 else None,
                )
                for kind, chance in (("view", 0.5), ("click", 0.3), ("purchase", 0.1)):
                    if rng.random() < chance:
                        # Between two impressions of the request, or after them.
                        add(
                            kind,
                            user,
                            request,
                            item,
                            time + timedelta(seconds=place, microseconds=5),
                        )
    return events


def as_log(events: list[Event]) -> pl.LazyFrame:
    return validate_events(pl.DataFrame(events, infer_schema_length=None)).lazy()


ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{n}" for n in range(11)],
        "brand": [f"b{n % 3}" for n in range(11)],
        "tags": [[f"t{n % 2}", "t9"][: n % 3] for n in range(11)],
        "price": [float(n) for n in range(11)],
        "new": [n % 2 == 0 for n in range(11)],
    },
    schema_overrides={"tags": pl.List(pl.String)},
)
CATALOGUE = Catalogue.checked(ITEMS)
EVENTS = make_events()


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return build_log_task(as_log(EVENTS), CATALOGUE, tmp_path_factory.mktemp("log"), CONFIG)


def rows_of(task: Task) -> dict[tuple[str, str, str], Event]:
    found: dict[tuple[str, str, str], Event] = {}
    for split in SPLITS:
        for row in task.rows(split).collect().to_dicts():
            key = (row.pop("user_id"), row.pop("request_id"), row.pop("item_id"))
            assert key not in found
            found[key] = {**row, "split": split}
    return found


def literal_rows(
    events: list[Event], config: LogTaskConfig, cuts: tuple[datetime, datetime]
) -> dict[tuple[str, str, str], Event]:
    """The task as its documentation puts it, by loops."""
    found: dict[tuple[str, str, str], Event] = {}

    def seen_from(event: Event) -> datetime:
        """When it counts: not before the first impression of its request."""
        request = (event["user_id"], event["request_id"])
        shown = [
            e["time"]
            for e in events
            if e["kind"] == "impression" and (e["user_id"], e["request_id"]) == request
        ]
        return max(event["time"], min(shown, default=event["time"]))

    since = {e["event_id"]: seen_from(e) for e in events if e["kind"] != "impression"}
    for event in sorted(events, key=lambda e: (e["time"], e["event_id"])):
        key = (event["user_id"], event["request_id"], event["item_id"])
        if event["kind"] != "impression" or key in found:
            continue
        start = min(
            e["time"]
            for e in events
            if e["kind"] == "impression" and (e["user_id"], e["request_id"]) == key[:2]
        )
        past = [
            e["item_id"]
            for e in events
            if e["user_id"] == key[0]
            and e["kind"] in config.history
            and since[e["event_id"]] < start
        ]
        taken = [e for e in events if e["kind"] in config.responses]
        context = json.loads(event.get("context") or "{}")
        found[key] = {
            "time": start,
            "label": int(any((e["user_id"], e["request_id"], e["item_id"]) == key for e in taken)),
            "popularity": sum(
                e["item_id"] == key[2] and since[e["event_id"]].date() < start.date() for e in taken
            ),
            "device": context.get("device"),
            "depth": context.get("depth"),
            "campaign_id": event["campaign_id"],
            "visible": len(past),
            "frequency": past.count(key[2]),
            "split": "train" if start < cuts[0] else "valid" if start < cuts[1] else "test",
        }
    return found


def cuts_of(events: list[Event], shares: tuple[float, float]) -> tuple[datetime, datetime]:
    times = sorted(e["time"] for e in events if e["kind"] == "impression")
    return tuple(times[int(len(times) * share)] for share in (shares[0], sum(shares)))  # type: ignore[return-value]


def test_the_task_equals_its_definition_by_loops(task: Task) -> None:
    expected = literal_rows(EVENTS, CONFIG, cuts_of(EVENTS, CONFIG.shares))
    found = rows_of(task)
    assert found == expected
    assert {row["split"] for row in found.values()} == set(SPLITS)
    assert task.popularity_kinds == ("click", "purchase")
    assert {row["label"] for row in found.values()} == {0, 1}


def test_the_own_request_is_never_in_the_history(tmp_path: Path) -> None:
    moment = START + timedelta(days=1)
    base = {"user_id": "u", "request_id": "r", "item_id": "i1"}
    events = [
        {**base, "event_id": "1", "time": moment, "kind": "impression"},
        {**base, "event_id": "2", "time": moment + timedelta(seconds=1), "kind": "click"},
        {
            **base,
            "event_id": "3",
            "time": moment + timedelta(seconds=2),
            "kind": "impression",
            "item_id": "i2",
        },
        {
            **base,
            "event_id": "4",
            "time": moment + timedelta(days=9),
            "kind": "impression",
            "request_id": "later",
        },
        {
            **base,
            "event_id": "5",
            "time": moment + timedelta(days=10),
            "kind": "impression",
            "request_id": "last",
        },
    ]
    # Another person, so that each split has both labels.
    for day in (1, 10, 11):
        other = {"user_id": "v", "request_id": f"r{day}", "time": START + timedelta(days=day)}
        for item, kinds in (("i3", ("impression", "click")), ("i4", ("impression",))):
            events += [
                {**other, "event_id": f"{day}{item}{kind}", "kind": kind, "item_id": item}
                for kind in kinds
            ]
    dates = LogTaskConfig(
        valid_from=moment + timedelta(days=8), test_from=moment + timedelta(days=10)
    )
    made = rows_of(build_log_task(as_log(events), CATALOGUE, tmp_path, dates))
    mine = [row for (user, _, _), row in made.items() if user == "u"]
    assert [row["visible"] for row in mine] == [0, 0, 1, 1]
    assert [row["popularity"] for row in mine] == [0, 0, 1, 1]


def test_a_response_before_its_impression_is_no_history_of_its_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    for n in range(8):
        # At midnight, so that a day's popularity may not tell either.
        shown = datetime(2024, 1, 1 + n, tzinfo=UTC)
        own = {"user_id": "u", "request_id": f"r{n}"}
        clicked = {**own, "event_id": f"c{n}", "kind": "click", "item_id": f"i{n % 2}"}
        events.append({**clicked, "time": shown - timedelta(seconds=1)})
        for item in range(2):
            impression = {**own, "event_id": f"s{n}-{item}", "kind": "impression"}
            # The second impression comes much later, and after the next request's click.
            time = shown + timedelta(days=2 * item)
            events.append({**impression, "item_id": f"i{item}", "time": time})
    dates = LogTaskConfig(
        valid_from=datetime(2024, 1, 6, tzinfo=UTC), test_from=datetime(2024, 1, 8, tzinfo=UTC)
    )
    with caplog.at_level("WARNING", "adwright"):
        task = build_log_task(as_log(events), CATALOGUE, tmp_path, dates)
    assert "8 of 8 responses are dated before the first impression" in caplog.text
    made = rows_of(task)
    assert sum(row["label"] for row in made.values()) == 8
    for (_, request, item), row in made.items():
        n = int(request[1:])
        # Of the requests before this one, all clicks; of this one, none.
        own = sum(before % 2 == int(item[1:]) for before in range(n))
        assert (row["visible"], row["frequency"], row["popularity"]) == (n, own, own)
    stored = pl.read_parquet(task.events_path("train"))
    assert stored["time"].to_list() == [datetime(2024, 1, 1 + n, tzinfo=UTC) for n in range(8)]


def test_clocks_that_differ_are_told_and_leak_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    early = [
        {**e, "time": e["time"] - timedelta(hours=3)} if e["kind"] == "click" else e for e in EVENTS
    ]
    with caplog.at_level("WARNING", "adwright"):
        made = build_log_task(as_log(early), CATALOGUE, tmp_path, CONFIG, rows_per_part=90)
    assert rows_of(made) == literal_rows(early, CONFIG, cuts_of(early, CONFIG.shares))
    number = sum(e["kind"] == "click" for e in EVENTS)
    responses = number + sum(e["kind"] == "purchase" for e in EVENTS)
    assert f"{number} of {responses} responses" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "adwright"):
        build_log_task(as_log(EVENTS), CATALOGUE, tmp_path, CONFIG)
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert "impressions show an item again in one request" in caplog.text


def test_the_parts_in_which_it_is_built_do_not_show(task: Task, tmp_path: Path) -> None:
    pieces = build_log_task(as_log(EVENTS), CATALOGUE, tmp_path, CONFIG, rows_per_part=40)
    assert pieces.data_hash == task.data_hash
    assert rows_of(pieces) == rows_of(task)


def test_a_task_is_built_once_a_log_and_setting(task: Task) -> None:
    cache = task.folder.parent
    assert build_log_task(as_log(EVENTS), CATALOGUE, cache, CONFIG) == task
    shuffled = as_log(EVENTS).collect().sample(fraction=1, shuffle=True, seed=1).lazy()
    assert build_log_task(shuffled, CATALOGUE, cache, CONFIG) == task
    others = [
        build_log_task(as_log(EVENTS[1:]), CATALOGUE, cache, CONFIG),
        build_log_task(as_log(EVENTS), Catalogue.checked(ITEMS[:10]), cache, CONFIG),
        build_log_task(as_log(EVENTS), CATALOGUE, cache, CONFIG, name="mine"),
    ]
    assert len({other.folder for other in [task, *others]}) == 4


CHANGES: dict[str, Any] = {
    "responses": ("purchase",),
    "history": ("view",),
    "valid_from": START + timedelta(days=5),
    "test_from": START + timedelta(days=9),
    "shares": (0.4, 0.3),
    "context": ("device",),
    "numbers": (),
    "item_features": ("brand",),
    "column_kinds": {"price": "category"},
    "min_count": 3,
}


@pytest.mark.parametrize("setting", [field.name for field in fields(LogTaskConfig)])
def test_each_setting_changes_the_task(task: Task, tmp_path: Path, setting: str) -> None:
    changes = {setting: CHANGES[setting]}
    if setting in ("valid_from", "test_from"):
        dates = {"valid_from": START + timedelta(days=6), "test_from": START + timedelta(days=8)}
        before = build_log_task(as_log(EVENTS), CATALOGUE, tmp_path, replace(CONFIG, **dates))
        config = replace(CONFIG, **{**dates, **changes})
    else:
        before, config = task, replace(CONFIG, **changes)
    other = build_log_task(as_log(EVENTS), CATALOGUE, tmp_path, config)
    found = rows_of(other)
    assert (found, other.spec) != (rows_of(before), before.spec)
    cuts = (
        (config.valid_from, config.test_from)
        if config.valid_from and config.test_from
        else cuts_of(EVENTS, config.shares)
    )
    literal = literal_rows(EVENTS, config, cuts)
    assert found == {key: {n: row[n] for n in found[key]} for key, row in literal.items()}


def test_features_follow_the_types_of_the_columns() -> None:
    kinds = {f.name: (f.kind, f.of) for f in log_features(ITEMS, CONFIG)}
    assert kinds == {
        "history": ("sequence", "user"),
        "user_id": ("categorical", "user"),
        "item_id": ("categorical", "item"),
        "brand": ("categorical", "item"),
        "tags": ("multi", "item"),
        "price": ("numeric", "item"),
        "new": ("categorical", "item"),
        "device": ("categorical", "context"),
        "campaign_id": ("categorical", "context"),
        "depth": ("numeric", "context"),
        "popularity": ("numeric", "context"),
        "visible": ("numeric", "user"),
        "frequency": ("numeric", "user"),
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shares": (0.9, 0.1)}, "leave a part for test"),
        ({"shares": (0.0, 0.5)}, "leave a part for test"),
        ({"valid_from": START}, "come together"),
        ({"valid_from": START, "test_from": START}, "before test"),
        ({"valid_from": datetime(2024, 1, 1), "test_from": datetime(2024, 2, 1)}, "time zone"),
        ({"responses": ()}, "kinds of events"),
        ({"history": ("impression",)}, "kinds of events"),
        ({"context": ("label",)}, "cannot have this name"),
        ({"column_kinds": {"price": "money"}}, "price cannot be 'money'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LogTaskConfig(**changes)


def test_logs_that_make_no_task_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    clicks = as_log([e for e in EVENTS if e["kind"] != "impression"])
    with pytest.raises(ValueInvalidError, match="no impressions"):
        build_log_task(clicks, CATALOGUE, tmp_path)
    with pytest.raises(ValueInvalidError, match="not in the items table"):
        build_log_task(as_log(EVENTS), Catalogue.checked(ITEMS[:5]), tmp_path)
    late = LogTaskConfig(valid_from=START - timedelta(days=9), test_from=START)
    with pytest.raises(ValueInvalidError, match="no training rows"):
        build_log_task(as_log(EVENTS), CATALOGUE, tmp_path, late)
    with pytest.raises(SchemaError, match="column colour"):
        build_log_task(
            as_log(EVENTS), CATALOGUE, tmp_path, LogTaskConfig(item_features=("colour",))
        )
    assert list(tmp_path.iterdir()) == []


def refused(events: list[Event], folder: Path, config: LogTaskConfig, words: str) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        build_log_task(as_log(events), CATALOGUE, folder, config)
    assert list(folder.iterdir()) == []


def test_what_a_log_lacks_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """Each lack has its test in test_log_checks."""
    shown = [e for e in EVENTS if e["kind"] in ("impression", "view")]
    refused(shown, tmp_path, CONFIG, "no event is a response")
    refused(EVENTS, tmp_path, replace(CONFIG, numbers=("store",)), r"no impression has.*'store'")
    late = datetime(2040, 1, 1, tzinfo=UTC)
    dates = LogTaskConfig(valid_from=late, test_from=late + timedelta(days=1))
    refused(EVENTS, tmp_path, dates, "no validation rows: validation begins 2040-01-01")


def test_codes_are_categories_and_what_is_said_wins() -> None:
    items = ITEMS.with_columns(
        category=pl.int_range(11) % 2, size=pl.int_range(11), title=pl.lit("a b")
    )
    kinds = {f.name: f.kind for f in log_features(items, LogTaskConfig())}
    assert (kinds["category"], kinds["size"], kinds["title"]) == (
        *("categorical", "numeric", "categorical"),
    )
    said = LogTaskConfig(column_kinds={"category": "number", "size": "category", "title": "text"})
    said = replace(said, column_kinds={**said.column_kinds, "brand": "none"})
    kinds = {f.name: f.kind for f in log_features(items, said)}
    assert (kinds["category"], kinds["size"]) == ("numeric", "categorical")
    assert kinds.keys().isdisjoint({"title", "brand"})
    with pytest.raises(SchemaError, match="column colour"):
        log_features(items, LogTaskConfig(column_kinds={"colour": "text"}))


def test_an_imported_log_brings_its_context_and_kinds(tmp_path: Path) -> None:
    rows = []
    for number in range(200):
        own = {"user": number % 9, "time": 1_700_000_000 + 3600 * number, "store": number % 3}
        own |= {"hour": number % 24 + 0.5, "order": number}
        for item in range(2):
            rows.append({**own, "item": item, "event": "impression"})
        rows.append({**own, "item": number // 3 % 2, "event": "click"})
    mapping = LogMapping(
        columns={"request_id": "order"},
        context=("store", "hour"),
        column_kinds={"year": "category"},
    )
    items = [{"item_id": n, "year": 1990 + n} for n in range(2)]
    log = read_log(rows, items=items, mapping=mapping)
    task = build_task_of_log(log, tmp_path)
    kinds = {f.name: (f.kind, f.of) for f in task.spec.features}
    assert kinds["store"] == ("categorical", "context")
    assert kinds["hour"] == ("numeric", "context")
    assert kinds["year"] == ("categorical", "item")
    other = build_task_of_log(log, tmp_path, LogTaskConfig(context=("hour",)))
    assert "store" not in {f.name for f in other.spec.features}


def test_labels_that_leak_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = itemgetter("user_id", "request_id", "item_id")
    clicked = {key(e) for e in EVENTS if e["kind"] in ("click", "purchase")}
    leaking = [{**e, "context": json.dumps({"sold": key(e) in clicked})} for e in EVENTS]
    config = LogTaskConfig(context=("sold",))
    with caplog.at_level("WARNING", "adwright"):
        build_log_task(as_log(leaking), CATALOGUE, tmp_path, config)
    assert "sold alone tells positives from negatives (AUC 1.000)" in caplog.text
