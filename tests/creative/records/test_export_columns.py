"""The columns of an export are known by their names, and the platform by its columns."""

from __future__ import annotations

import pytest

from adwright.core.errors import AdwrightError, SchemaError
from adwright.creative.records.export_columns import (
    NamedExport,
    columns_known,
    known_names,
    name_export,
    status_cause,
)

META = (
    "Reporting starts,Reporting ends,Ad ID,Impressions,Link clicks,Clicks (all),Amount spent (EUR)"
)
API = "date_start,date_stop,ad_id,impressions,clicks,spend,account_currency"
GOOGLE = "Day,Ad ID,Impr.,Clicks,Cost,Currency code,Conversions"
GAQL = "segments.date,ad_group_ad.ad.id,metrics.impressions,metrics.cost_micros"
CAMEL = "segments.date,adGroupAd.ad.id,metrics.impressions,metrics.costMicros"
TIKTOK = "By Day,Ad ID,Cost,Impressions,Clicks (destination),Conversions"
TIKTOK_API = "ad_id,stat_time_day,spend,impressions,clicks,conversion"
OURS = "ad_id,day,impressions,spend"


def named(header: str, **settings: object) -> NamedExport:
    return name_export(header.split(","), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "source", "columns"),
    [
        (
            META,
            "meta",
            {"day": "Reporting starts", "clicks": "Link clicks", "spend": "Amount spent (EUR)"},
        ),
        (
            API,
            "meta",
            {"day": "date_start", "period_end": "date_stop", "currency": "account_currency"},
        ),
        (GOOGLE, "google", {"day": "Day", "impressions": "Impr.", "spend": "Cost"}),
        (GAQL, "google", {"ad_id": "ad_group_ad.ad.id", "micros": "metrics.cost_micros"}),
        (CAMEL, "google", {"ad_id": "adGroupAd.ad.id", "micros": "metrics.costMicros"}),
        (TIKTOK, "tiktok", {"day": "By Day", "clicks": "Clicks (destination)", "spend": "Cost"}),
        (TIKTOK_API, "tiktok", {"day": "stat_time_day", "conversions": "conversion"}),
        (OURS, "table", {"day": "day", "spend": "spend"}),
    ],
)
def test_platforms_and_columns(header: str, source: str, columns: dict[str, str]) -> None:
    found = named(header)
    assert found.source == source
    assert columns.items() <= found.columns.items()
    assert known_names(header.split(",")) >= 3
    # What is asked for wins over what is seen.
    assert named(header, source=source).columns == found.columns


def test_what_is_taken_and_what_is_left_is_said() -> None:
    found = named(META + ",Colour")
    assert found.currency == "EUR"
    assert found.left == ("Clicks (all)", "Colour")
    assert "Link clicks is taken as clicks (and not Clicks (all))" in found.said
    assert not any("Impressions" in one for one in found.said)


def test_a_day_wins_over_the_dates_of_the_report() -> None:
    found = named("Day," + META)
    assert found.columns["day"] == "Day"
    assert "period_end" not in found.columns
    assert {"Reporting starts", "Reporting ends"} <= set(found.left)
    assert "week" not in named("Day,Week," + META).columns
    assert named("Week,Ad ID,Impr.").columns["week"] == "Week"


def test_what_is_given_wins() -> None:
    found = named(META, given={"clicks": "clicks (ALL)", "audience": "Reporting ends"})
    assert found.columns["clicks"] == "Clicks (all)"
    assert found.columns["audience"] == "Reporting ends"
    assert "period_end" not in found.columns
    assert named("a,b,c", given={"ad_id": "a", "day": "b", "impressions": "c"}).source == "table"
    # Spend that is given is not in millionths.
    assert "micros" not in named(GAQL + ",x", given={"spend": "x"}).columns


@pytest.mark.parametrize(
    ("header", "settings", "parts"),
    [
        ("a,b,c", {}, ("platform",)),
        ("a,b,c", {"first_line": "a,b,c"}, ("header is missing", "'a,b,c'")),
        ("Ad ID,Impressions,Amount spent (USD)", {}, ("day", "by day")),
        ("Day,Ad name,Impressions,Amount spent (USD)", {}, ("ad_id", "Ad name")),
        ("Day,Ad ID,Impresions,Amount spent (USD)", {}, ("impressions=Impresions",)),
        ("Day,Ad ID,Impressions,Amount spent,Amount Spent (USD)", {}, ("read alike",)),
        (META, {"given": {"clics": "Link clicks"}}, ("'clics'", "clicks")),
        (META, {"given": {"clicks": "Link click"}}, ("'Link click'", "'Link clicks'")),
        (META + ",Currency code,Impr.,By Day,Primary status", {}, ()),
    ],
)
def test_what_cannot_be_told_is_refused(
    header: str, settings: dict[str, object], parts: tuple[str, ...]
) -> None:
    if not parts:
        assert named(header).source == "meta"
        return
    with pytest.raises(AdwrightError) as caught:
        named(header, file="e.csv", **settings)
    assert all(part in str(caught.value) for part in ("->", *parts)), str(caught.value)


def test_as_many_signs_of_two_platforms_are_none() -> None:
    with pytest.raises(SchemaError, match="which platform"):
        named("Day,Ad ID,Impressions,Amount spent,Currency code")


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("active", ""),
        ("Enabled", ""),
        ("STATUS_DELIVERY_OK", ""),
        ("Eligible", ""),
        ("Paused", "operator"),
        ("CAMPAIGN_PAUSED", "operator"),
        ("adset_off", "operator"),
        ("Removed", "operator"),
        ("AD_STATUS_DISABLE", "operator"),
        ("completed", "flight"),
        ("Campaign ended", "flight"),
        ("ADGROUP_STATUS_TIME_DONE", "flight"),
        ("CAMPAIGN_STATUS_BUDGET_EXCEED", "budget"),
        ("Account suspended", "account"),
        ("Disapproved", "refused"),
        ("Ad rejected", "refused"),
        ("Paused by rule", "automatic"),
    ],
)
def test_words_of_a_status(status: str, cause: str) -> None:
    assert status_cause(status) == cause


def test_the_names_are_ours() -> None:
    assert {"ad_id", "day", "week", "micros", "headline", "stop_cause"} - set(columns_known()) == {
        "stop_cause"
    }
    assert known_names(["Kosten"], ["kosten"]) == 1
    assert known_names(["Kosten"]) == 0
