"""What must hold of a tenant whatever was killed when, told from its store alone.

    wrong = check_store(store, "acme")          # [] or a line for each thing that is wrong
    wrong = check_store(store, "acme", watch=1.0, in_flight=0.02)

An ad is shown only while it is live, for its own item, and went live only after somebody approved
it; each move is allowed and has an author; an ad is there once; an event counts once; a campaign
has spent the price of each of its impressions (or clicks), and no more than its budget and what was
in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import cast

import polars as pl

from adwright.campaigns.store.creatives import CreativeMove
from adwright.campaigns.store.store import Store
from adwright.data.campaigns import amount, micros
from adwright.data.creatives import MOVES, Creative, CreativeState

#: Of one kind of mistake so many are told.
_TOLD = 5


def check_store(
    store: Store,
    tenant: str,
    *,
    folder: str | Path | None = None,
    watch: float = 1.0,
    in_flight: float = 0.0,
) -> list[str]:
    """What is wrong with the tenant's ads, events and money, a line each; nothing is as it should.

    folder: of compacted events; None is that which the store names. watch: seconds within which
    processes learn that an ad is no longer live. in_flight: money beyond its budget that a
    campaign may have spent.
    """
    ads = {one.creative_id: one for one in store.creatives_full(tenant)}
    moves: dict[str, list[CreativeMove]] = {one: [] for one in ads}
    wrong = list[str]()
    for move in store.creative_moves(tenant):
        if move.creative_id in moves:
            moves[move.creative_id].append(move)
        else:
            wrong.append(f"move {move.number} is of no ad: {move.creative_id}")
    events = all_events(store, tenant, folder)
    for found in (
        _twice(ads.values()),
        _moves(moves),
        _unique(events),
        _shown(events, ads, moves, watch),
        _money(store, tenant, events, in_flight),
    ):
        told = list(found)
        wrong += told[:_TOLD]
        if len(told) > _TOLD:
            wrong.append(f"and {len(told) - _TOLD:,} more like it")
    return wrong


def all_events(store: Store, tenant: str, folder: str | Path | None = None) -> pl.DataFrame:
    """All that the tenant ever sent, compacted or not."""
    known = store.totals(tenant).folders if folder is None else (str(folder),)
    return store.log(tenant, known[-1]).collect() if known else store.events(tenant)


def _twice(ads: Iterable[Creative]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for one in ads:
        content = replace(one, creative_id="").creative_id
        if content in seen:
            yield f"an ad is there twice: {seen[content]} and {one.creative_id}"
        seen[content] = one.creative_id


def _moves(moves: Mapping[str, Sequence[CreativeMove]]) -> Iterator[str]:
    """Nothing moves but as the table of states says, from a draft, by somebody, one after the
    other: so nothing is live that was not approved before."""
    for ad, mine in moves.items():
        if any(not one.author.strip() for one in mine):
            yield f"{ad}: a move has no author"
        if mine and mine[0].state not in ("draft", "in review", "retired"):
            yield f"{ad}: it began as {mine[0].state}"
        for old, new in pairwise(mine):
            if new.state not in MOVES[cast(CreativeState, old.state)]:
                yield f"{ad}: from {old.state} to {new.state}"
            if new.time < old.time:
                yield f"{ad}: {new.state} at {new.time}, before {old.state} at {old.time}"
        states = [one.state for one in mine]
        if "live" in states and "approved" not in states[: states.index("live")]:
            yield f"{ad}: live without an approval before"


def _unique(events: pl.DataFrame) -> Iterator[str]:
    for name, count in Counter(events["event_id"].to_list()).items():
        if count > 1:
            yield f"event {name} is there {count} times"


def _shown(
    events: pl.DataFrame,
    ads: Mapping[str, Creative],
    moves: Mapping[str, Sequence[CreativeMove]],
    watch: float,
) -> Iterator[str]:
    """Each impression of an ad was of an ad of its item that was live, or had been just before."""
    shown = events.filter((pl.col("kind") == "impression") & pl.col("creative_id").is_not_null())
    late = timedelta(seconds=watch)
    columns = ("event_id", "time", "item_id", "creative_id")
    for event, time, item, ad in shown.select(columns).iter_rows():
        if ad not in ads:
            yield f"{event} shows an ad that is not there: {ad}"
            continue
        if ads[ad].item_id != item:
            yield f"{event} shows {ad} of {ads[ad].item_id} for {item}"
        live = False
        for at, move in enumerate(moves[ad]):
            if move.state == "live" and move.time <= time:
                ends = moves[ad][at + 1].time if at + 1 < len(moves[ad]) else None
                live |= ends is None or time <= ends + late
        if not live:
            yield f"{event} shows {ad} at {time}, when it was not live"


def _money(store: Store, tenant: str, events: pl.DataFrame, in_flight: float) -> Iterator[str]:
    """A campaign has spent its price for each event that costs it."""
    spent = {row[0]: row[1:] for row in store.spend(tenant).iter_rows()}
    kinds = Counter(events.drop_nulls("campaign_id").select("campaign_id", "kind").iter_rows())
    for row in store.campaigns(tenant).iter_rows(named=True):
        name, price = row["campaign_id"], row["price"]
        count, money = spent.get(name, (0, 0.0))
        if price is None:
            continue
        due = kinds[name, row["per"] or "impression"]
        if count != due or micros(money) != due * micros(price):
            said = f"{name} has spent {money} for {count} events"
            yield f"{said}, and {due} at {price} are {amount(due * micros(price))}"
        if row["budget"] is not None and micros(money) > micros(row["budget"] + in_flight):
            yield f"{name} has spent {money} of {row['budget']}"
