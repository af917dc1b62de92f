"""Open Bandit (small): fashion ads shown by a random and by a learning policy, with propensities.

Six logs of 10,000 impressions each, of 24 to 30 November 2019, of a Japanese fashion shop: two
policies (uniformly random, and Bernoulli Thompson sampling, "bts") in three campaigns (all,
men, women) of 80, 34 and 46 items. Because each log says with which probability each item was
chosen, the value of one policy can be estimated from the other's log and checked against its
own. Published by ZOZO, CC BY 4.0 (Saito et al., "Open Bandit Dataset and Pipeline", NeurIPS
2021 datasets track); the copy read here travels in the wheel of obp.

Things to know before using it:

- There are **no user ids**: each impression is a user of its own, known by four features.
- **Clicks are rare**: 38 to 69 per log, so every estimate has a wide interval.
- The publisher replaced categories by hashes. Those of users agree between the two policies;
  those of items were drawn anew for each log, though they group the items alike, so here they
  are numbered in the order of the items.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from adwright.core.assets import asset
from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.data.schema import Catalogue, as_events

BanditPolicy = Literal["random", "bts"]
BanditCampaign = Literal["all", "men", "women"]

_FOLDER = Path("obp") / "dataset" / "obd"
USER_FEATURES = [f"user_feature_{k}" for k in range(4)]


@dataclass(frozen=True)
class OpenBandit:
    """The data set in a folder of CSV files, one folder per policy and campaign."""

    folder: Path

    @classmethod
    def open(cls, path: Path | None = None, *, offline: bool = False) -> OpenBandit:
        """The data set, fetched on first use and kept in the cache.

        path: a wheel of obp, or the folder into which it was unpacked. offline: never download.
        Raises AssetError where it cannot be had.
        """
        return cls(asset("obp", path=path, offline=offline) / _FOLDER)

    def events(self, policy: BanditPolicy, campaign: BanditCampaign) -> pl.LazyFrame:
        """One log as an EventLog, sorted by time: 10,000 impressions, each followed by its click
        where there was one.

        item_id is "<campaign>-<number>"; request_id and user_id are one per impression; position
        is 1 to 3; the context holds the four user features. A click carries its impression's
        request_id, time and position, and no propensity, since nobody chose it.
        """
        log = self.log(policy, campaign).lazy()
        request = pl.format("{}-{}-{}", pl.lit(policy), pl.lit(campaign), "row")
        impressions = log.select(
            "row",
            "click",
            event_id=pl.concat_str(request, pl.lit("-impression")),
            time="timestamp",
            request_id=request,
            user_id=request,
            kind=pl.lit("impression"),
            item_id=pl.format("{}-{}", pl.lit(campaign), "item_id"),
            campaign_id=pl.lit(campaign),
            position="position",
            propensity="propensity_score",
            policy_id=pl.lit(policy),
            context=pl.struct(USER_FEATURES).struct.json_encode(),
        )
        clicks = impressions.filter(pl.col("click") == 1).with_columns(
            event_id=pl.concat_str("request_id", pl.lit("-click")),
            kind=pl.lit("click"),
            propensity=pl.lit(None, dtype=pl.Float64),
        )
        # Rows are sorted by time already; a click sorts after its impression.
        both = pl.concat([impressions, clicks]).sort("row", maintain_order=True)
        return as_events(both.drop("row", "click"))

    def catalogue(self, campaign: BanditCampaign) -> Catalogue:
        """The items of a campaign: item_id, feature_0 (a number), feature_1, feature_2, feature_3
        (categories, numbered in the order in which the items first show them)."""
        table = self._read("random", campaign, "item_context").sort("item_id")
        codes = {
            f"feature_{k}": _by_appearance(table[f"item_feature_{k}"]).cast(pl.String)
            for k in (1, 2, 3)
        }
        items = table.select(
            item_id=pl.format("{}-{}", pl.lit(campaign), "item_id"), feature_0="item_feature_0"
        ).with_columns(**codes)
        return Catalogue.checked(items)

    def whole(self) -> tuple[pl.LazyFrame, Catalogue]:
        """All six logs as one in the order of time, and the items of all campaigns."""
        campaigns: tuple[BanditCampaign, ...] = get_args(BanditCampaign)
        policies: tuple[BanditPolicy, ...] = get_args(BanditPolicy)
        events = [self.events(policy, one) for one in campaigns for policy in policies]
        items = [self.catalogue(one).items for one in campaigns]
        ordered = pl.concat(events).sort("time", maintain_order=True)
        return ordered, Catalogue.checked(pl.concat(items))

    def log(self, policy: BanditPolicy, campaign: BanditCampaign) -> pl.DataFrame:
        """One log as published, with the time parsed and its first column named row."""
        log = self._read(policy, campaign, campaign)
        zone = pl.col("timestamp").str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", time_zone="UTC"
        )
        return log.with_columns(zone).rename({log.columns[0]: "row"})

    def _read(self, policy: BanditPolicy, campaign: BanditCampaign, table: str) -> pl.DataFrame:
        if policy not in get_args(BanditPolicy) or campaign not in get_args(BanditCampaign):
            raise ConfigError(
                "Open Bandit has no such log",
                where=f"policy {policy!r}, campaign {campaign!r}",
                hint="the policies are random and bts, the campaigns all, men and women",
            )
        path = self.folder / policy / campaign / f"{table}.csv"
        if not path.is_file():
            raise FileUnreadableError(
                "Open Bandit's table is not there",
                file=str(path),
                hint="open the data set again with OpenBandit.open(), which fetches it",
            )
        return pl.read_csv(path)


def _by_appearance(values: pl.Series) -> pl.Series:
    """Number the distinct values from 0 in the order in which they first appear."""
    order = {value: code for code, value in enumerate(values.unique(maintain_order=True))}
    return values.replace_strict(order, return_dtype=pl.Int64)
