"""The six Open Bandit logs: counts, propensities, and the same rows as events and as arrays."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import AssetError, ConfigError, FileUnreadableError
from adwright.data.schema import check_items_known, validate_events
from adwright.data.sources.open_bandit import BanditCampaign, BanditPolicy, OpenBandit

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


@pytest.mark.parametrize(("policy", "campaign"), CLICKS)
def test_arrays_hold_the_same_log(
    bandit: OpenBandit, policy: BanditPolicy, campaign: BanditCampaign
) -> None:
    arrays = bandit.arrays(policy, campaign)
    shown = bandit.events(policy, campaign).filter(pl.col("kind") == "impression").collect()
    items = shown["item_id"].str.split("-").list.last().cast(pl.Int64)
    assert np.array_equal(arrays.item, items)
    assert np.array_equal(arrays.position, shown["position"])
    assert np.array_equal(arrays.propensity, shown["propensity"])
    assert arrays.click.sum() == CLICKS[policy, campaign]
    assert arrays.items == ITEMS[campaign]
    assert arrays.affinity.shape == (10_000, ITEMS[campaign])
    assert arrays.affinity.dtype == np.float64
    assert arrays.user_features.shape == (10_000, 4)
    assert arrays.item.dtype == arrays.click.dtype == arrays.user_features.dtype == np.int64
    if policy == "random":
        assert np.allclose(arrays.propensity, 1 / ITEMS[campaign])
    else:
        assert 0 < arrays.propensity.min() < 1e-3 < arrays.propensity.max() < 1


def test_user_codes_mean_the_same_under_both_policies(bandit: OpenBandit) -> None:
    meaning: dict[tuple[int, int], str] = {}
    for policy in ("random", "bts"):
        shown = bandit.events(policy, "men").filter(pl.col("kind") == "impression").collect()
        codes = bandit.arrays(policy, "men").user_features
        for text, row in zip(shown["context"], codes, strict=True):
            for k, value in enumerate(json.loads(text).values()):
                assert meaning.setdefault((k, int(row[k])), value) == value
    assert len(set(meaning.values())) == len(meaning) == 3 + 5 + 9 + 9


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
        bandit.arrays("bts", "..")  # type: ignore[arg-type]
    with pytest.raises(FileUnreadableError, match=r"not there .*all\.csv"):
        OpenBandit(tmp_path).events("bts", "all")
    with pytest.raises(AssetError, match="obp"):
        OpenBandit.open(tmp_path)
    unpacked = bandit.folder.parent.parent.parent
    assert OpenBandit.open(unpacked, offline=True).folder == bandit.folder


def test_all_logs_are_one(bandit: OpenBandit) -> None:
    events, catalogue = bandit.whole()
    assert events.select(pl.len()).collect().item() == 60_000 + sum(CLICKS.values())
    assert events.select(pl.col("time").is_sorted()).collect().item()
    assert catalogue.items.height == sum(ITEMS.values())
