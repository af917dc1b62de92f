"""What is promised of these, and what is refused."""

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
from adwright.data.features import Feature
from adwright.data.leaks import FutureCount, Leak, find_future_counts, find_leaks, item_numbers
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import read_log
from adwright.data.sources.mapped import LogMapping
from adwright.data.tasks.from_log import (
    LogTaskConfig,
    build_log_task,
    build_task_of_log,
    check_context,
    check_kinds,
    check_splits,
    context_value,
    log_features,
)
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task
from tests.support.data.event_rows import event_row

START = datetime(2024, 1, 1, 20, tzinfo=UTC)
CONFIG = LogTaskConfig(context=("device", "campaign_id"), numbers=("depth",))
Event = dict[str, Any]


def make_events(seed: int = 0) -> list[Event]:
    """Requests of 3 to 5 impressions, some of them clicked, some bought, some shown twice."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []

    def add(kind: str, user: int, request: str, item: int, time: datetime, **more: Any) -> None:
        number = f"e{len(events):05}"
        events.append(event_row(number, time, request, f"u{user}", kind, f"i{item}", **more))

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
    events = [
        event_row("1", moment, "r", "u", "impression", "i1"),
        event_row("2", moment + timedelta(seconds=1), "r", "u", "click", "i1"),
        event_row("3", moment + timedelta(seconds=2), "r", "u", "impression", "i2"),
        event_row("4", moment + timedelta(days=9), "later", "u", "impression", "i1"),
        event_row("5", moment + timedelta(days=10), "last", "u", "impression", "i1"),
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


FIRST, VALID, TEST, LAST = (datetime(2024, 1, day, tzinfo=UTC) for day in (1, 10, 20, 30))
FULL = {(split, label): 3 for split in ("train", "valid", "test") for label in (0, 1)}


def of_kinds(*kinds: str) -> pl.LazyFrame:
    return pl.LazyFrame({"kind": kinds}, schema={"kind": pl.String})


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (
            ("click", "click", "purchase"),
            r"no impressions; it has click 2, purchase 1 .*cascade LOG",
        ),
        ((), "no impressions; it has no events"),
        (("impression", "view"), r'no event is a response; .*view 1.*responses = \["view"\]'),
        (("impression",), "add the clicks or purchases"),
    ],
)
def test_kinds_that_are_lacking(kinds: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        check_kinds(of_kinds(*kinds), ("click", "purchase"))


def test_keys_that_no_impression_has() -> None:
    context = ['{"store": 1, "none": null}', None]
    shown = pl.LazyFrame({"context": context, "campaign_id": ["c", None]})
    assert check_context(shown, ()) is None
    assert check_context(shown, ("store", "campaign_id")) is None
    for key in ("none", "colour"):
        with pytest.raises(ValueInvalidError, match=rf"no impression has .*'{key}'.*--context"):
            check_context(shown, ("store", key))
    found = shown.select(context_value("store"), context_value("campaign_id")).collect()
    assert found.rows() == [("1", "c"), (None, None)]


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ((("valid", 0), ("valid", 1)), "no validation rows: validation begins 2024-01-10"),
        ((("test", 1),), r"no test positives.*test 2024-01-20.*2024-01-01.* and 2024-01-30"),
        ((("train", 0),), "no training negatives"),
        (tuple(FULL), "no training rows"),
    ],
)
def test_splits_that_lack_something(lacking: tuple[tuple[str, int], ...], words: str) -> None:
    counts = {key: number for key, number in FULL.items() if key not in lacking}
    with pytest.raises(ValueInvalidError, match=words) as caught:
        check_splits(counts, VALID, TEST, (FIRST, LAST))
    assert "move the dates" in caught.value.hint


LEAKS_START = datetime(2024, 1, 1, tzinfo=UTC)


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


LEAKS_ITEMS = pl.DataFrame({"item_id": [f"i{n}" for n in range(50)], "good": ["yes", "no"] * 25})
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
    found = find_leaks(rows(), LEAKS_ITEMS, FEATURES + LEAKING)
    assert {leak.column for leak in found} == {"copy", "turned", "status"}
    assert all(leak.auc == 1 for leak in found)
    # A text of its own in each row tells nothing of other rows.
    assert find_leaks(rows(), LEAKS_ITEMS, FEATURES) == ()


def test_a_copy_of_the_label_in_an_item_column_is_found() -> None:
    table = rows().with_columns(label=(pl.col("item_id").str.slice(1).cast(pl.Int64) % 2 == 0))
    found = find_leaks(table.with_columns(pl.col("label").cast(pl.Int8)), LEAKS_ITEMS, FEATURES)
    assert found == (Leak("good", 1.0),)


def test_the_bound_and_the_sample_count() -> None:
    table = rows()
    assert [x.column for x in find_leaks(table, LEAKS_ITEMS, FEATURES, least=0.8)] == ["honest"]
    assert find_leaks(table, LEAKS_ITEMS, LEAKING, sample=30) == ()
    assert len(find_leaks(table, LEAKS_ITEMS, LEAKING, sample=500)) == 3
    assert find_leaks(table.with_columns(label=pl.lit(0)), LEAKS_ITEMS, LEAKING) == ()


def test_counts_of_what_was_still_to_come_are_found() -> None:
    rng = np.random.default_rng(0)
    likes = rng.gamma(1.0, 1.0, 60)
    chosen = rng.choice(60, 4000, p=likes / likes.sum())
    times = [LEAKS_START + timedelta(minutes=n) for n in range(4000)]
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


def test_a_task_of_a_log_tells_of_the_future(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(3)
    events = []
    for number in range(600):
        # Items come and go, so that what sells in all differs from what sold before.
        item, time = (
            int(rng.integers(0, 15)) + 10 * (number // 200),
            LEAKS_START + timedelta(hours=number),
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
