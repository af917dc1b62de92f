"""Spells of display: what they are, against a loop, and that nothing of them knows the future."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime import spells
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.spells import SpellConfig, build_spells, series_of, spells_of
from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.data.small_journey import N_PRODUCTS, transactions, write_journey

Spell = tuple[int, int, int, int]


def literal_spells(journey: CompleteJourney, *, chain: bool = False) -> list[Spell]:
    """(product, store, first week, last week), by loops."""
    rows = journey.promotions().collect().filter(pl.col("display_location") != "0")
    shown = {(p, 0 if chain else s, w) for p, s, w in rows.select(rows.columns[:3]).rows()}
    found = []
    for product, store, week in sorted(shown):
        if (product, store, week - 1) not in shown:
            last = week
            while (product, store, last + 1) in shown:
                last += 1
            found.append((product, store, week, last))
    return found


def units_of(table: SpellTable) -> list[tuple[int, int, int, float, float, int]]:
    """(product, store, start, entry, time, cause) of each unit."""
    columns = (table.owner, table.group, table.start, table.entry, table.time, table.cause)
    return list(zip(*(each.tolist() for each in columns), strict=True))


@pytest.mark.parametrize("where", ["store", "chain"])
@pytest.mark.parametrize("landmark", [1, 2])
def test_units_are_the_spells_that_reach_the_landmark(
    small_journey: CompleteJourney, where: spells.Where, landmark: int
) -> None:
    table = spells_of(small_journey, SpellConfig(where=where, landmark=landmark))
    expected = [
        (
            product,
            store,
            first,
            landmark - 1,
            last - first + (1 if last < 53 else 0.5),
            int(last < 53),
        )
        for product, store, first, last in literal_spells(small_journey, chain=where == "chain")
        if first > 1 and last - first + 1 >= landmark
    ]
    assert units_of(table) == expected
    assert table.landmark == landmark
    assert 0 < table.ended.mean() < 1


def test_what_ran_when_the_data_began_is_left_out_or_enters_late(
    small_journey: CompleteJourney, small_spells: SpellTable
) -> None:
    running = [each for each in literal_spells(small_journey) if each[2] == 1]
    assert len(running) > 5
    late = spells_of(small_journey, SpellConfig(running_age=3))
    assert len(late) == len(small_spells) + len(running)
    entered = [each for each in units_of(late) if each[2] < 1]
    # Taken to have lived three weeks before week 1: watched from age 3 on.
    assert entered == [(p, s, -2, 3, last + 3, int(last < 53)) for p, s, _, last in running]
    assert late.entry.max() == 3
    # At a landmark that it had passed before, its features are those of week 1.
    assert late.numbers[late.start < 1, 0].tolist() == [4] * len(running)


def test_what_runs_in_a_week_enters_at_the_age_that_it_has(
    small_journey: CompleteJourney,
) -> None:
    table = spells_of(small_journey, SpellConfig(as_of=30))
    expected = [
        (product, store, first, 30 - first, last - first + 1, int(last < 53))
        for product, store, first, last in literal_spells(small_journey)
        if 1 < first <= 30 <= last
    ]
    assert units_of(table) == expected
    assert len(set(table.entry)) > 1
    assert table.landmark == 0


def test_training_sees_no_end_of_later_weeks(small_spells: SpellTable) -> None:
    table = small_spells
    train = table.split_by_start(45, 49).train
    known = {each[:3]: each for each in units_of(table)}
    for product, store, start, _, time, cause in units_of(train):
        _, _, _, _, lived, ended = known[product, store, start]
        assert (time, cause) == ((lived, ended) if start + lived < 45 else (44.5 - start, 0))


@pytest.mark.parametrize("config", [SpellConfig(), SpellConfig(landmark=2, running_age=1)])
def test_features_of_the_first_weeks_are_counted_right(
    small_journey: CompleteJourney, config: SpellConfig
) -> None:
    table = spells_of(small_journey, config)
    promoted = small_journey.promotions().collect()
    place = {row[:3]: row[3:] for row in promoted.rows()}
    sold = small_journey.transactions().collect().to_dicts()
    lived = literal_spells(small_journey)
    assert len(table) > 100
    for row in range(0, len(table), 7):
        product, store, start = (int(each[row]) for each in (table.owner, table.group, table.start))
        at = start + int(table.entry[row])
        weeks = range(max(start, 1), at + 1)
        (spell,) = (s for s in lived if s[:2] == (product, store) and s[2] <= at <= s[3])
        numbers = dict(zip(table.number_names, table.numbers[row].tolist(), strict=True))
        assert numbers["weeks_so_far"] == at - start + 1
        displays, mailers = zip(*(place[product, store, week] for week in weeks), strict=True)
        assert numbers["display_changes_so_far"] == changes(displays)
        assert numbers["mailer_changes_so_far"] == changes(mailers)
        assert numbers["mailer_weeks_so_far"] == sum(code != "0" for code in mailers)
        assert text_of(table, "display", row) == displays[-1]
        assert text_of(table, "display_at_start", row) == displays[0]
        assert text_of(table, "mailer", row) == mailers[-1]
        assert text_of(table, "store", row) == str(store)
        width = sum(place.get((product, s, at), "0")[0] != "0" for s in (300, 301, 302))
        assert numbers["stores_now"] == width
        assert numbers["products_in_store"] == sum(
            place.get((p, store, at), "0")[0] != "0" for p in range(N_PRODUCTS)
        )
        spans = {"so_far": weeks, "now": [at], "before": range(max(start - 4, 1), start)}
        for name, span in spans.items():
            here = [x for x in sold if x["store_id"] == store and x["week"] in span]
            mine = [x for x in here if x["product_id"] == product]
            assert numbers[f"visits_{name}"] == households(here)
            assert numbers[f"buyers_{name}"] == households(mine)
            assert numbers[f"dollars_{name}"] == pytest.approx(sum(x["sales_value"] for x in mine))
            away = [
                x
                for x in sold
                if x["product_id"] == product and x["week"] in span and x["store_id"] != store
            ]
            assert numbers[f"buyers_elsewhere_{name}"] == households(away)
        gone = [s for s in lived if s[3] < at and s[2] > 1]
        for name, mates in (
            ("product", [s for s in gone if s[0] == product]),
            ("store", [s for s in gone if s[1] == store]),
            ("category_in_store", [s for s in gone if s[1] == store and (s[0] - product) % 2 == 0]),
        ):
            assert numbers[f"ended_of_{name}_before"] == len(mates)
            assert same(numbers[f"mean_weeks_of_{name}_before"], mean(lengths(mates)))
        earlier = [s for s in lived if s[:2] == (product, store) and s[2] < spell[2]]
        assert numbers["spells_here_before"] == len(earlier)
        known = lengths([s for s in earlier if s[2] > 1])
        assert same(numbers["mean_weeks_here_before"], mean(known))
        if earlier:
            assert numbers["weeks_since_spell_before"] == start - earlier[-1][3] - 1


def changes(codes: tuple[str, ...]) -> int:
    return sum(one != other for one, other in pairwise(codes))


def households(rows: list[dict[str, int]]) -> int:
    return len({(x["household_id"], x["week"]) for x in rows})


def lengths(found: list[Spell]) -> list[int]:
    return [last - first + 1 for _, _, first, last in found]


def mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else float("nan")


def same(one: float, other: float) -> bool:
    return one == pytest.approx(other, rel=1e-6, nan_ok=True)


def text_of(table: SpellTable, name: str, row: int) -> str:
    column = table.category_names.index(name)
    return table.category_values[column][table.categories[row, column]]


def test_the_catalogue_comes_with_its_words(small_spells: SpellTable) -> None:
    table = small_spells
    row = int(np.flatnonzero(table.owner == 3)[0])
    assert text_of(table, "brand", row) == "Private"
    assert text_of(table, "type", row) == "tea"
    words = table.words[table.offsets[row] : table.offsets[row + 1]]
    assert [table.vocabulary[word] for word in words] == ["1", "c1", "kg", "tea"]
    untyped = int(np.flatnonzero(table.owner == N_PRODUCTS - 1)[0])
    assert table.categories[untyped, table.category_names.index("type")] == -1
    shown = table.number_names.index("visits_so_far")
    assert table.shown is not None
    assert table.shown.tolist() == table.numbers[:, shown].tolist()


def everything_else_after(week: int, folder: Path) -> CompleteJourney:
    """The same data up to a week, and other data after it."""
    old, new = transactions(), transactions(seed=5)
    kept = (pl.col("week") <= week, pl.col("week") > week)
    bought = pl.concat([old.filter(kept[0]), new.filter(kept[1])])
    first, second = (
        write_journey(folder / str(seed), bought, seed).promotions().collect() for seed in (0, 5)
    )
    journey = write_journey(folder / "data", bought)
    mixed = pl.concat([first.filter(kept[0]), second.filter(kept[1])])
    mixed.write_parquet(journey.folder / "promotions.parquet")
    return journey


@pytest.fixture(scope="module")
def other_later(tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    """The small journey with other data after week 30."""
    return everything_else_after(30, tmp_path_factory.mktemp("other"))


@pytest.mark.parametrize(
    "config",
    [
        SpellConfig(),
        SpellConfig(landmark=2, running_age=2),
        SpellConfig(where="chain"),
        SpellConfig(as_of=30),
    ],
)
def test_features_are_equal_to_the_bit_whatever_comes_after_the_landmark(
    small_journey: CompleteJourney, other_later: CompleteJourney, config: SpellConfig
) -> None:
    before, after = (spells_of(each, config) for each in (small_journey, other_later))
    rows = [np.flatnonzero(each.start + each.entry <= 30) for each in (before, after)]
    one, two = before.take(rows[0]), after.take(rows[1])
    assert len(one) >= 5
    for name in ("owner", "group", "start", "entry", "categories", "words", "clicks", "shown"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert one.numbers.tobytes() == two.numbers.tobytes()
    # And the ends, which the features must not know, did change.
    assert (one.time != two.time).any()


def test_series_are_the_weeks_of_the_units(
    small_journey: CompleteJourney, small_spells: SpellTable
) -> None:
    series = series_of(small_journey)
    # Of who still ran it is not known that it survived its last week.
    assert np.diff(series.offsets).tolist() == np.ceil(small_spells.time).tolist()
    # In their first weeks they are what the units know.
    first = series.offsets[:-1]
    assert small_spells.clicks is not None
    assert small_spells.shown is not None
    assert series.clicks[first].tolist() == small_spells.clicks.tolist()
    assert series.shown[first].tolist() == small_spells.shown.tolist()
    last = small_spells.start + np.ceil(small_spells.time) - 1
    place = int(np.argmax(small_spells.time))
    sold = small_journey.transactions().collect().to_dicts()
    here = [x for x in sold if x["store_id"] == small_spells.group[place]]
    end = [x for x in here if x["week"] == last[place]]
    assert series.shown[series.offsets[place + 1] - 1] == households(end)


def test_a_lifetime_among_the_features_is_refused(small_spells: SpellTable) -> None:
    table = small_spells
    numbers = table.numbers.copy()
    numbers[:, 3] = table.time
    with pytest.raises(DataError, match=r"orders 100\.0% of the lives"):
        replace(table, numbers=numbers).check()


def test_a_table_is_built_once_a_config(
    small_journey: CompleteJourney, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build_spells(small_journey, tmp_path)
    again = build_spells(CompleteJourney(tmp_path / "nothing"), tmp_path)
    assert again.numbers.tobytes() == built.numbers.tobytes()
    assert again.category_values == built.category_values
    build_spells(small_journey, tmp_path, SpellConfig(landmark=2))
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(spells, "VERSION", 99)
    build_spells(small_journey, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"landmark": 0},
        {"landmark": 54},
        {"as_of": 0},
        {"as_of": 30, "landmark": 2},
        {"running_age": 0},
        {"where": "shop"},
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        SpellConfig(**wrong)  # type: ignore[arg-type]


def test_a_landmark_that_nothing_reaches_is_said(small_journey: CompleteJourney) -> None:
    with pytest.raises(DataError, match="no spell of display reaches"):
        spells_of(small_journey, SpellConfig(landmark=50))
