"""Complete Journey as published: counts, times, the resolved promotions, events, catalogue."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import AssetError, FileUnreadableError
from adwright.data.schema import CAMPAIGN_SCHEMA, check_items_known, validate_events
from adwright.data.sources.complete_journey import STORE_TIME_ZONE, WEEKS, CompleteJourney


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
