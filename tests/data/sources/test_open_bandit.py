"""The six Open Bandit logs: counts, propensities, and the same rows as events and as arrays."""

from __future__ import annotations

import json
import string
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adwright.core.errors import (
    AssetError,
    ConfigError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.schema import (
    CAMPAIGN_SCHEMA,
    KINDS,
    check_items_known,
    empty_events,
    validate_events,
)
from adwright.data.sources.atomic_files import read_atomic, write_atomic
from adwright.data.sources.complete_journey import STORE_TIME_ZONE, WEEKS, CompleteJourney
from adwright.data.sources.movielens import MovieLens
from adwright.data.sources.open_bandit import BanditCampaign, BanditPolicy, OpenBandit


@pytest.fixture(scope="module")
def journey() -> CompleteJourney:
    return CompleteJourney.open()


@pytest.fixture(scope="module")
def events(journey: CompleteJourney) -> pl.DataFrame:
    return journey.events().collect(engine="streaming")


def _rising(column: str) -> pl.Expr:
    return (pl.col(column) >= pl.col(column).shift(1)).all()


def test_tables_have_the_published_sizes(journey: CompleteJourney) -> None:
    sizes = {
        name: table.select(pl.len()).collect().item()
        for name, table in {
            "transactions": journey.transactions(),
            "products": journey.products(),
            "campaigns": journey.campaigns(),
            "campaign_descriptions": journey.campaign_descriptions(),
            "coupons": journey.coupons(),
            "coupon_redemptions": journey.coupon_redemptions(),
            "demographics": journey.demographics(),
        }.items()
    }
    assert sizes == {
        "transactions": 1_469_307,
        "products": 92_331,
        "campaigns": 6_589,
        "campaign_descriptions": 27,
        "coupons": 116_204 - 4_872,
        "coupon_redemptions": 2_102,
        "demographics": 801,
    }


def test_transactions_are_whole_sorted_and_in_utc(journey: CompleteJourney) -> None:
    table = journey.transactions()
    schema = table.collect_schema()
    assert schema["transaction_timestamp"] == pl.Datetime("us", "UTC")
    assert schema["household_id"] == schema["product_id"] == schema["basket_id"] == pl.Int64
    counts = table.select(
        households=pl.col("household_id").n_unique(),
        baskets=pl.col("basket_id").n_unique(),
        products=pl.col("product_id").n_unique(),
        stores=pl.col("store_id").n_unique(),
        weeks=pl.col("week").n_unique(),
        none=(pl.col("quantity") == 0).sum(),
        lines=pl.struct("basket_id", "product_id").n_unique(),
        ordered=_rising("transaction_timestamp"),
    ).collect()
    assert counts.row(0) == (2_469, 155_848, 68_509, 457, 53, 8_869, 1_469_307, True)
    per_basket = (
        table.group_by("basket_id")
        .agg(pl.col("household_id", "store_id", "week", "transaction_timestamp").n_unique())
        .select(pl.exclude("basket_id").max())
        .collect()
    )
    assert per_basket.row(0) == (1, 1, 1, 1)


def test_weeks_break_at_midnight_of_the_stores(journey: CompleteJourney) -> None:
    local = pl.col("transaction_timestamp").dt.convert_time_zone(STORE_TIME_ZONE)
    days = journey.transactions().select("week", day=local.dt.date()).unique().collect()
    # No local day lies in two weeks; in UTC the last hours of each Sunday would.
    assert days["day"].n_unique() == days.height
    mondays = (
        days.group_by("week").agg(pl.col("day").min()).filter(pl.col("week").is_between(2, 52))
    )
    assert mondays["day"].dt.weekday().unique().to_list() == [1]


def test_promotions_hold_each_shelf_once(journey: CompleteJourney) -> None:
    table = journey.promotions()
    keys = ["product_id", "store_id", "week"]
    assert table.collect_schema().names() == [*keys, "display_location", "mailer_location"]
    counts = table.select(
        rows=pl.len(),
        display=(pl.col("display_location") != "0").sum(),
        mailer=(pl.col("mailer_location") != "0").sum(),
        least=pl.col("week").min(),
        most=pl.col("week").max(),
        ordered=_rising("week"),
    ).collect(engine="streaming")
    assert counts.row(0) == (20_927_744, 9_002_801, 14_295_794, 1, 53, True)


def test_promotions_resolve_repeats_to_the_strongest(journey: CompleteJourney) -> None:
    raw = pl.scan_parquet(journey.folder / "promotions.parquet").filter(pl.col("week") == 25)
    keys = ["product_id", "store_id", "week"]

    def strongest(codes: list[str]) -> str:
        return min((code for code in codes if code != "0"), default="0")

    expected = {
        row[:3]: (strongest(row[3]), strongest(row[4]))
        for row in raw.group_by(keys)
        .agg("display_location", "mailer_location")
        .filter(pl.col("display_location").list.len() > 1)
        .collect()
        .iter_rows()
    }
    week = journey.promotions(weeks=[25]).collect()
    assert week.select(keys).is_unique().all()
    assert week.equals(week.sort(keys))
    found = {row[:3]: row[3:] for row in week.iter_rows() if row[:3] in expected}
    assert found == expected
    assert len(expected) > 100
    # A key of the duplicates that the data documentation would call ambiguous: 0 and 1.
    assert found[(1306422, 31582, 25)] == ("1", "D")


def test_promotions_of_some_weeks(journey: CompleteJourney) -> None:
    some = journey.promotions(weeks={7, 3}).collect()
    assert some["week"].unique(maintain_order=True).to_list() == [3, 7]
    none = journey.promotions(weeks=[]).collect()
    assert none.schema == some.schema
    assert none.height == 0
    assert list(WEEKS) == list(range(1, 54))


def test_promotions_of_some_stores(journey: CompleteJourney) -> None:
    whole = journey.promotions(weeks=[3]).collect()
    stores = whole["store_id"].unique().sort().gather([1, 4, 1])
    some = journey.promotions(weeks=[3], stores=stores).collect()
    assert some.equals(whole.filter(pl.col("store_id").is_in(stores.implode())))
    assert some["store_id"].n_unique() == 2
    assert journey.promotions(weeks=[3], stores=stores.clear()).collect().is_empty()


def test_events_pass_validation_in_strict_order(events: pl.DataFrame) -> None:
    validate_events(events, strict_time_order=True)
    kinds = dict(events["kind"].value_counts().iter_rows())
    assert kinds == {"purchase": 1_469_307, "redemption": 2_102}
    users = events.group_by("kind").agg(pl.col("user_id").n_unique()).sort("kind")
    assert users["user_id"].to_list() == [2_469, 410]


def test_a_purchase_in_full(events: pl.DataFrame) -> None:
    row = events.row(0, named=True)
    assert row["event_id"] == "p-31198570044-1095275"
    assert row["time"] == datetime(2017, 1, 1, 11, 53, 26, tzinfo=UTC)
    assert (row["request_id"], row["user_id"], row["item_id"]) == ("31198570044", "900", "1095275")
    assert row["value"] == pytest.approx(0.5)
    assert json.loads(row["context"]) == {"store": 330, "week": 1, "quantity": 1}
    assert row["propensity"] is row["policy_id"] is row["position"] is None


def test_redemptions_lie_in_a_basket_of_their_day(
    journey: CompleteJourney, events: pl.DataFrame
) -> None:
    redemptions = events.filter(pl.col("kind") == "redemption")
    local = pl.col("time").dt.convert_time_zone(STORE_TIME_ZONE).dt.date()
    day = pl.col("event_id").str.tail(10).str.to_date()
    assert redemptions.select((local == day).all()).item()
    bought = events.filter(pl.col("kind") == "purchase").select("request_id", "user_id", "time")
    inside = redemptions.join(bought.unique(), on=["request_id", "user_id", "time"], how="semi")
    assert inside.height == redemptions.height
    assert redemptions["item_id"].str.starts_with("coupon-").all()
    assert redemptions["campaign_id"].null_count() == 0
    # 1,130 of them have a covered and discounted product in a basket of the day: each of these
    # must have been given such a basket.
    paid = journey.transactions().filter(pl.col("coupon_disc") > 0)
    covered = (
        journey.coupons()
        .select("product_id", "campaign_id", item="coupon_upc")
        .join(paid.select("product_id", basket="basket_id"), on="product_id")
    )
    matched = redemptions.lazy().join(
        covered.select(
            request_id=pl.col("basket").cast(pl.String),
            item_id=pl.format("coupon-{}", "item"),
            campaign_id=pl.col("campaign_id").cast(pl.String),
        ).unique(),
        on=["request_id", "item_id", "campaign_id"],
        how="semi",
    )
    assert matched.select(pl.len()).collect().item() == 1_130


def test_catalogue_holds_every_product_that_was_sold(
    journey: CompleteJourney, events: pl.DataFrame
) -> None:
    catalogue = journey.catalogue()
    items = catalogue.items
    assert items.height == 92_331 + 17
    assert items.columns == [
        "item_id",
        "department",
        "category",
        "type",
        "brand",
        "manufacturer",
        "size",
    ]
    undescribed = items.filter(pl.col("department").is_null())
    assert undescribed.height == 17
    assert undescribed.equals(items.tail(17))
    assert sum(undescribed.select(pl.exclude("item_id").null_count()).row(0)) == 17 * 6
    check_items_known(events, items)
    assert catalogue.creatives.height == 0


def test_campaigns_begin_and_end_at_midnight_of_the_stores(journey: CompleteJourney) -> None:
    campaigns = journey.catalogue().campaigns
    assert campaigns.columns == CAMPAIGN_SCHEMA.names
    first = campaigns.filter(pl.col("campaign_id") == "1").row(0, named=True)
    assert first["start"] == datetime(2017, 3, 3, 5, tzinfo=UTC)  # winter time
    assert first["end"] == datetime(2017, 4, 10, 4, tzinfo=UTC)  # summer time, 9 April included
    described = journey.campaign_descriptions().filter(pl.col("campaign_id") == 1).collect()
    assert described.row(0) == (1, "Type B", date(2017, 3, 3), date(2017, 4, 9))


def test_a_missing_table_and_a_wrong_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileUnreadableError, match=r"table products is not there .*products\.parquet"
    ):
        CompleteJourney(tmp_path).products()
    with pytest.raises(AssetError, match="completejourney"):
        CompleteJourney.open(tmp_path)


def test_open_takes_an_unpacked_folder(journey: CompleteJourney) -> None:
    unpacked = journey.folder.parent.parent
    assert CompleteJourney.open(unpacked, offline=True).folder == journey.folder


# Clicks among the 10,000 impressions of each log, and the items of each campaign.
CLICKS: dict[tuple[BanditPolicy, BanditCampaign], int] = {
    ("random", "all"): 38,
    ("random", "men"): 46,
    ("random", "women"): 46,
    ("bts", "all"): 42,
    ("bts", "men"): 69,
    ("bts", "women"): 46,
}
ITEMS: dict[BanditCampaign, int] = {"all": 80, "men": 34, "women": 46}


@pytest.fixture(scope="module")
def bandit() -> OpenBandit:
    return OpenBandit.open()


@pytest.mark.parametrize(("policy", "campaign"), CLICKS)
def test_events_are_valid_and_complete(
    bandit: OpenBandit, policy: BanditPolicy, campaign: BanditCampaign
) -> None:
    events = validate_events(bandit.events(policy, campaign).collect(), strict_time_order=True)
    shown = events.filter(pl.col("kind") == "impression")
    clicks = events.filter(pl.col("kind") == "click")
    assert (shown.height, clicks.height) == (10_000, CLICKS[policy, campaign])
    assert shown["propensity"].null_count() == 0
    assert clicks["propensity"].null_count() == clicks.height
    assert set(shown["position"].unique()) == {1, 2, 3}
    assert events["policy_id"].unique().to_list() == [policy]
    assert events["campaign_id"].unique().to_list() == [campaign]
    catalogue = bandit.catalogue(campaign)
    assert catalogue.items.height == ITEMS[campaign]
    check_items_known(events, catalogue.items)
    # Each click follows the impression of its request, and shares all but the choice with it.
    same = ["request_id", "user_id", "item_id", "time", "position"]
    assert clicks.join(shown, on=same, how="semi").height == clicks.height
    before = events.with_columns(pl.col("request_id").shift(1).alias("before"))
    followed = before.filter(pl.col("kind") == "click")
    assert followed["before"].equals(followed["request_id"], check_names=False)


def test_an_impression_in_full(bandit: OpenBandit) -> None:
    row = bandit.events("random", "all").first().collect().row(0, named=True)
    assert row["event_id"] == "random-all-0-impression"
    assert row["time"] == datetime(2019, 11, 24, 0, 0, 34, 762830, tzinfo=UTC)
    assert row["request_id"] == row["user_id"] == "random-all-0"
    assert (row["item_id"], row["position"]) == ("all-14", 3)
    assert row["propensity"] == pytest.approx(1 / 80)
    context = json.loads(row["context"])
    assert list(context) == [f"user_feature_{k}" for k in range(4)]
    assert all(len(value) == 32 for value in context.values())


def test_item_categories_group_items_alike_in_both_logs(bandit: OpenBandit) -> None:
    ours = bandit.catalogue("women").items
    assert ours["feature_0"].dtype == pl.Float64
    assert ours["feature_1"][0] == "0"
    for policy in ("random", "bts"):
        raw = pl.read_csv(bandit.folder / policy / "women" / "item_context.csv").sort("item_id")
        assert raw["item_feature_0"].equals(ours["feature_0"], check_names=False)
        for k in (1, 2, 3):
            pairs = pl.DataFrame({"raw": raw[f"item_feature_{k}"], "ours": ours[f"feature_{k}"]})
            assert pairs.unique().height == pairs["raw"].n_unique() == pairs["ours"].n_unique()


def test_wrong_names_and_missing_files(bandit: OpenBandit, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such log .*policy 'ucb'"):
        bandit.events("ucb", "all")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"campaign '\.\.'"):
        bandit.log("bts", "..")  # type: ignore[arg-type]
    with pytest.raises(FileUnreadableError, match=r"not there .*all\.csv"):
        OpenBandit(tmp_path).events("bts", "all")
    with pytest.raises(AssetError, match="obp"):
        OpenBandit.open(tmp_path)
    unpacked = bandit.folder.parent.parent.parent
    assert OpenBandit.open(unpacked, offline=True).folder == bandit.folder


@pytest.fixture(scope="module")
def movielens() -> MovieLens:
    return MovieLens.open()


def test_ratings(movielens: MovieLens) -> None:
    events = movielens.events().collect()
    assert events.height == 100_000
    assert events["user_id"].n_unique() == 943
    assert events["item_id"].n_unique() == 1_682
    assert events["kind"].unique().to_list() == ["rating"]
    assert sorted(events["value"].unique()) == [1, 2, 3, 4, 5]
    first = events.row(0, named=True)
    assert (first["user_id"], first["item_id"], first["value"]) == ("196", "242", 3.0)
    assert first["time"] == datetime.fromtimestamp(881250949, UTC)
    assert first["request_id"] == "196-881250949"
    assert events["context"].null_count() == 100_000


def test_films(movielens: MovieLens) -> None:
    films = movielens.catalogue().items
    assert films.height == 1_682
    assert films.schema == {
        "item_id": pl.String,
        "title": pl.String,
        "year": pl.Int64,
        "genres": pl.List(pl.String),
    }
    by_id = {row["item_id"]: row for row in films.iter_rows(named=True)}
    assert by_id["1"] == {
        "item_id": "1",
        "title": "Toy Story",
        "year": 1995,
        "genres": ["Animation", "Children's", "Comedy"],
    }
    assert by_id["267"] == {"item_id": "267", "title": None, "year": None, "genres": []}
    assert by_id["1412"]["title"] == "Land Before Time III: The Time of the Great Giving"
    assert by_id["1412"]["year"] == 1995
    assert films["year"].null_count() == 1
    assert films["genres"].explode().drop_nulls().n_unique() == 18
    check_items_known(movielens.events(), films)


def test_wrong_folders_are_named(movielens: MovieLens, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="recbole"):
        MovieLens.open(tmp_path)
    with pytest.raises(FileUnreadableError, match=r"no such file .*ml-100k\.inter"):
        MovieLens(tmp_path).events()
    unpacked = movielens.folder.parent.parent.parent
    assert MovieLens.open(unpacked, offline=True).folder == movielens.folder


_characters = st.characters(codec="utf-8", exclude_characters="\t\n\r")
_text = st.text(_characters, min_size=1, max_size=6)
_ids = _text.filter(lambda text: text.strip() and text not in ("nan", "NaN", "None", "<NA>"))
_word = st.text(string.ascii_letters + "é'\",", min_size=1, max_size=4)
_number = st.floats(allow_nan=False, allow_infinity=False)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), strategy)


_event = st.fixed_dictionaries(
    {
        "time": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
        "request_id": _ids,
        "user_id": _ids,
        "kind": st.sampled_from(KINDS),
        "item_id": _ids,
        "creative_id": maybe(_ids),
        "campaign_id": maybe(_ids),
        "position": maybe(st.integers(0, 2**31 - 1)),
        "propensity": maybe(st.floats(0, 1, exclude_min=True)),
        "policy_id": maybe(_ids),
        "value": maybe(_number),
        "context": maybe(st.dictionaries(_text, _text, max_size=2).map(json.dumps)),
    }
)
_features = st.fixed_dictionaries(
    {
        "brand": maybe(_text),
        "price": maybe(_number),
        "tags": st.lists(_word, max_size=3),
        "vector": st.lists(_number, max_size=3),
    }
)
_FEATURES = {
    "brand": pl.String,
    "price": pl.Float64,
    "tags": pl.List(pl.String),
    "vector": pl.List(pl.Float64),
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(_event, max_size=4),
    features=st.lists(_features, max_size=3),
    people=st.dictionaries(_ids, maybe(_text), max_size=3),
)
def test_round_trip(
    tmp_path: Path,
    rows: list[dict[str, object]],
    features: list[dict[str, object]],
    people: dict[str, object],
) -> None:
    schema = empty_events().schema
    events = pl.DataFrame([{"event_id": f"x{i}", **r} for i, r in enumerate(rows)], schema=schema)
    items = pl.DataFrame(
        [{"item_id": f"i{i}", **f} for i, f in enumerate(features)],
        schema={"item_id": pl.String, **_FEATURES},
    )
    users = pl.DataFrame({"user_id": list(people), "name": list(people.values())}).cast(pl.String)
    write_atomic(tmp_path, "set", events.lazy(), items, users)
    back = read_atomic(tmp_path, "set")
    assert back.events.collect().equals(events)
    assert back.items.equals(items)
    assert back.users.equals(users)


def _write(folder: Path, **files: str) -> Path:
    for ending, content in files.items():
        (folder / f"set.{ending}").write_text(content, encoding="utf-8")
    return folder


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def test_a_file_as_recbole_users_have_it(tmp_path: Path) -> None:
    _write(
        tmp_path,
        inter=INTER + "u1\ti1\t4\t881250949\nu2\ti2\t\t881250949.5\n",
        item='item_id:token\ttitle:token_seq\tprice:float\temb:float_seq\ni1\tA "b\t\t1 2.5\n',
    )
    events, items, users = read_atomic(tmp_path, "set")
    log = events.collect()
    assert log["event_id"].to_list() == ["e0", "e1"]
    assert log["request_id"].to_list() == ["u1-881250949", "u2-881250949.5"]
    assert log["kind"].to_list() == ["rating", "rating"]
    assert log["value"].to_list() == [4.0, None]
    assert log["time"][1] == datetime.fromtimestamp(881250949.5, UTC)
    assert items.rows() == [("i1", ["A", '"b'], None, [1.0, 2.5])]
    assert users.rows() == [("u1",), ("u2",)]  # no file, so the ids of the log


def test_clicks_and_further_columns(tmp_path: Path) -> None:
    header = (
        "user_id:token\titem_id:token\ttimestamp:float\tdevice:token\tage:float\ttags:token_seq\n"
    )
    _write(tmp_path, inter=header + "u\ti\t0\tphone\t3\ta b\nu\tj\t0\t\t\t\n")
    log = read_atomic(tmp_path, "set").events.collect()
    assert log["kind"].to_list() == ["click", "click"]
    assert [json.loads(text) for text in log["context"]] == [
        {"device": "phone", "age": 3.0, "tags": ["a", "b"]},
        {"device": None, "age": None, "tags": []},
    ]
    assert log["request_id"].n_unique() == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"no such file .*set\.inter"),
        ({"inter": "u\ti\t3\n"}, r"header is missing"),
        ({"inter": "user_id:token\titem_id:token\nu\ti\n"}, r"needed column timestamp is missing"),
        ({"inter": INTER.replace("rating:float", "rating")}, r"no known type .*column rating"),
        ({"inter": INTER.replace("rating:float", "rating:int")}, r"no known type .*rating:int"),
        ({"inter": INTER.replace("rating", "item_id")}, r"two header fields share a name"),
        ({"inter": INTER + "u\ti\tgood\t0\n"}, r"rating cannot be read as a number.*'good'"),
        ({"inter": INTER + "u\ti\t1\t12:00 h\n"}, r"timestamp cannot be read .*row 0"),
        ({"inter": INTER + "u\ti\t1\t\n"}, r"timestamp must not be empty"),
        ({"inter": INTER + "u\t\t1\t0\n"}, r"item_id must not be empty"),
        ({"inter": INTER, "item": "title:token\nx\n"}, r"header is missing.*set\.item"),
        ({"inter": INTER, "item": "item_id:token\ti:float\na\tx\n"}, r"set\.item, row 0, column i"),
        ({"inter": INTER, "item": "item_id:token\tv:float_seq\na\t1 x\n"}, r"column v, .*'1 x'"),
        ({"inter": INTER, "user": "user_id:token\na\na\n"}, r"user_id must be unique.*set\.user"),
        (
            {"inter": INTER.replace("rating:float", "context:token\tx:token") + "u\ti\t{}\t1\t0\n"},
            r"columns beside a context .*: x",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises((FileUnreadableError, SchemaError, ValueInvalidError), match=words):
        read_atomic(_write(tmp_path, **files), "set")


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (
            {"item_id": ["a", "b"], "note": ["x", "y\tz"]},
            r"tab or a line break.*row 1, column note",
        ),
        ({"item_id": ["a\n"]}, r"tab or a line break.*column item_id"),
        ({"item_id": ["a"], "tags": [["x y"]]}, r"blank or nothing inside a list.*column tags"),
        ({"item_id": ["a"], "tags": [["x", ""]]}, r"blank or nothing inside a list"),
    ],
)
def test_what_the_format_cannot_hold_is_not_written(
    tmp_path: Path, items: dict[str, list[object]], words: str
) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        write_atomic(tmp_path, "set", empty_events(), pl.DataFrame(items))
    assert list(tmp_path.iterdir()) == []


def test_other_types_come_back_as_floats(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": [1], "count": [3], "new": [True]})
    write_atomic(tmp_path, "set", empty_events(), items)
    assert read_atomic(tmp_path, "set").items.rows() == [("1", 3.0, 1.0)]
    assert not (tmp_path / "set.user").exists()
