"""How the ads of a tenant did, and which of them lose.

    results = ad_results(creatives, store.log("acme", "log"), since=start)
    losing_ads(results)                     # not worth a further impression

An ad loses where the chance that it is the best of its item's live ads is below a twentieth, by
the beliefs of what chooses among them (`delivery.policy.creatives`): a new ad of the item starts
at the item's level, and what it gets follows from what is believed of it, so an ad that is only
unlucky is not given up before there is enough to say so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from adwright.data.creatives import SLOTS, Creative
from adwright.data.schema import EventKind
from adwright.delivery.policy.creatives import beliefs, best_of_betas, learn_trust, levels_of

_COUNTS = ("impressions", "clicks")


def ad_results(
    creatives: Iterable[Creative],
    events: pl.LazyFrame,
    *,
    response: EventKind = "click",
    since: datetime | None = None,
) -> pl.DataFrame:
    """creative_id, item_id, campaign_id, state, the slots of the text, impressions and
    clicks, a row a creative, in their order.

    events: in EVENT_SCHEMA. response: the kind that counts as a click. since: of the events.
    """
    counted = events.filter(pl.col("creative_id").is_not_null())
    if since is not None:
        counted = counted.filter(pl.col("time") >= since)
    kind = pl.col("kind")
    sums = counted.group_by("creative_id").agg(
        impressions=(kind == "impression").sum().cast(pl.Int64),
        clicks=(kind == response).sum().cast(pl.Int64),
    )
    names = ("creative_id", "item_id", "campaign_id", "state", *SLOTS)
    rows = [[getattr(one, name) for name in names] for one in creatives]
    table = pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")
    joined = table.join(sums.collect(), on="creative_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col(*_COUNTS).fill_null(0))


@dataclass(frozen=True)
class LosingAd:
    """chance: that it is the best of its item. rate: expected of it, best: of the best one."""

    creative_id: str
    item_id: str
    impressions: int
    chance: float
    rate: float
    best: float

    @property
    def why(self) -> str:
        """In words, for its history."""
        return (
            f"loses: the chance to be the best of its item is {self.chance:.2%} after "
            f"{self.impressions:,} impressions ({self.rate:.2%} in place of {self.best:.2%})"
        )


def losing_ads(results: pl.DataFrame, *, chance: float = 0.05, least: int = 50) -> list[LosingAd]:
    """The live ads that lose, the least likely first. results: of `ad_results`. chance: see above.
    least: impressions before an ad is spoken of."""
    live = results.with_columns(pl.col("campaign_id").fill_null(""))
    shown, responses = (live[name].to_numpy().astype(np.float64) for name in _COUNTS)
    responses = np.minimum(shown, responses)
    items, campaigns = (_codes(live[name]) for name in ("item_id", "campaign_id"))
    if not len(live):
        return []
    trust = learn_trust(shown, responses, np.full(len(live), np.nan), items, campaigns)
    _, levels = levels_of(shown, responses, items, campaigns, trust)
    found = []
    for item in range(int(items.max()) + 1):
        rows = np.flatnonzero((items == item) & (live["state"] == "live").to_numpy())
        if len(rows) < 2:
            continue
        parent = np.array(levels[campaigns[rows]].mean())
        nothing = np.zeros(len(rows))
        a, b = beliefs(shown[rows], responses[rows], nothing, parent, trust)
        wins, rate = best_of_betas(a, b, nothing), a / (a + b)
        for row, win, one in zip(rows.tolist(), wins.tolist(), rate.tolist(), strict=True):
            if win < chance and shown[row] >= least:
                ids = live["creative_id"][row], live["item_id"][row]
                found.append(LosingAd(*ids, int(shown[row]), win, one, float(rate.max())))
    return sorted(found, key=lambda one: (one.chance, one.creative_id))


def _codes(column: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return column.rank("dense").to_numpy().astype(np.int64) - 1
