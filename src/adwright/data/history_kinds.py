"""Which events of a log are a user's history: what was done, never what was only shown, and not
what was taken back.

    taken = take_back(events)      # which rows are returns, and purchases that came back
    again = learn_again(events)    # by kind: whether its item is taken again, as the log shows
    final_kinds(again)             # the kinds that take an item off its user's list
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.core.errors import ValueInvalidError
from adwright.data.schema import TAKING_KINDS

#: Items are taken again where at least this share of what is taken was had before.
REPEAT_SHARE = 0.01
_PAIR = ["user_id", "item_id"]
#: What a return can take back.
BOUGHT = ("purchase", "conversion")


@dataclass(frozen=True)
class Again:
    """How users go on after an event of one kind.

    taken: later takes of users who had such an event, of any item. share: those of them that are
    of an item which had one. chance: what that would be if they took items by popularity alone.
    """

    taken: int
    share: float
    chance: float

    @property
    def usual(self) -> bool:
        """Whether such an item is taken again: more than rarely, and at least half as often as
        by chance, so that leaving it out would lose more than it spares."""
        return self.taken > 0 and self.share >= max(REPEAT_SHARE, self.chance / 2)


@dataclass(frozen=True)
class TakenBack:
    """rows: places of the returns, and of the purchases that they took back. returns: how many
    there are; whole: those that took back a purchase, part: a part of its quantity, which leaves
    it a purchase."""

    rows: tuple[int, ...]
    returns: int
    whole: int
    part: int

    def text(self) -> str:
        """What became of the returns, in words."""
        part = f", {self.part:,} a part of one, which stays" if self.part else ""
        alone = self.returns - self.whole - self.part
        return (
            f"{self.returns:,} returns: {self.whole:,} took back a purchase{part}, {alone:,} had "
            "none and were left out"
        )


def only_history(events: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
    """The events of these kinds, in their order; all of them where there is no column `kind`.

    >>> events = pl.DataFrame({"item_id": [1, 2], "kind": ["impression", "click"]})
    >>> only_history(events, ("click", "purchase"))["item_id"].to_list()
    [2]
    """
    if "kind" not in events.columns:
        return events
    return events.filter(pl.col("kind").cast(pl.String).is_in(list(kinds)))


def kinds_of(events: pl.DataFrame) -> set[str]:
    """The kinds of events that a table with the column `kind` holds."""
    return set(events["kind"].cast(pl.String).drop_nulls().unique())


def check_history(found: Iterable[str], kinds: Sequence[str], *, file: str = "") -> None:
    """Raise ValueInvalidError, which names the kinds `found`, where none is of `kinds`."""
    found = sorted(found)
    if set(found).isdisjoint(kinds):
        raise ValueInvalidError(
            f"no event is history: the kinds that count are {', '.join(kinds)}",
            file=file,
            column="kind",
            value=", ".join(found),
            hint="pass events of these kinds; without the column kind every event counts",
        )


def events_file(path: str | Path) -> Path:
    """The file of events of an imported log, where `path` is its folder; else `path` itself."""
    path = Path(path)
    inside = (path / "events.parquet", path / "events.csv")
    return next((file for file in inside if file.is_file()), path)


def take_back(events: pl.DataFrame) -> TakenBack:
    """Match each return with the purchase that it takes back: the one of its order, else the latest
    earlier one of the user and the item.

    events: user_id, item_id, request_id, time and kind, in any order, and perhaps quantity (null
    for one piece).
    """
    back = pl.col("kind") == "return"
    found = events.with_row_index("row").filter(back | pl.col("kind").is_in(BOUGHT))
    found = found.join(found.filter(back).select(_PAIR).unique(), on=_PAIR, how="semi")
    found = found.with_columns(
        back=back, pieces=pl.col("quantity") if "quantity" in events.columns else pl.lit(1.0)
    ).sort("time", "back", "row")
    held: dict[tuple[str, str], list[tuple[str, float, int]]] = {}
    rows: list[int] = []
    whole = part = 0
    chosen = found.select(*_PAIR, "request_id", "back", pl.col("pieces").fill_null(1.0), "row")
    for user, item, request, is_return, pieces, row in chosen.iter_rows():
        bought = held.setdefault((user, item), [])
        if not is_return:
            bought.append((request, abs(pieces), row))
            continue
        rows.append(row)
        if not bought:
            continue
        same = [n for n, one in enumerate(bought) if one[0] == request]
        order, had, place = bought.pop(same[-1] if same else -1)
        if abs(pieces) < had:
            bought.append((order, had - abs(pieces), place))
            part += 1
        else:
            rows.append(place)
            whole += 1
    return TakenBack(tuple(rows), found.filter("back").height, whole, part)


def learn_again(events: pl.DataFrame) -> dict[str, Again]:
    """By kind of event: how often users take an item again that had one, against chance.

    events: user_id, item_id, time and kind, without which they are purchases. What is taken are
    purchases, conversions and ratings, where there are any, else events of any kind.
    """
    if "kind" not in events.columns:
        events = events.with_columns(kind=pl.lit("purchase"))
    kinds = sorted(kinds_of(events))
    events = events.unique([*_PAIR, "time", "kind"])
    taking = [kind for kind in kinds if kind in TAKING_KINDS] or kinds
    taken = events.filter(pl.col("kind").is_in(taking)).unique([*_PAIR, "time"]).sort("time")
    share = taken.group_by("item_id").agg(share=pl.len() / taken.height)
    found = {}
    for kind in kinds:
        first = (
            events.filter(pl.col("kind") == kind).group_by(_PAIR).agg(first=pl.col("time").min())
        )
        met = first.join(share, on="item_id", how="left").sort("user_id", "first")
        met = met.with_columns(met=pl.col("share").fill_null(0.0).cum_sum().over("user_id"))
        # What each user had met before each take, moment by moment.
        met = met.group_by("user_id", "first").agg(pl.col("met").max()).sort("first")
        later = taken.join_asof(
            met,
            left_on="time",
            right_on="first",
            by="user_id",
            allow_exact_matches=False,
            check_sortedness=False,
        ).drop_nulls("met")
        again = taken.join(first, on=_PAIR).filter(pl.col("time") > pl.col("first")).height
        many = later.height
        chance = float(later["met"].sum()) / max(many, 1)
        found[kind] = Again(many, again / max(many, 1), chance)
    return found


def final_kinds(again: Mapping[str, Again]) -> tuple[str, ...]:
    """The kinds of events after which an item is not taken again, so that they take it off the
    user's list. A kind that the log lacks keeps it there; but where nothing is taken again at all,
    each kind of taking is final.

    >>> final_kinds({"view": Again(90, 0.3, 0.01), "purchase": Again(50, 0.0, 0.01)})
    ('purchase',)
    """
    final = [
        kind for kind, one in again.items() if not one.usual and (one.taken or kind in TAKING_KINDS)
    ]
    if final and len(final) == len(again):
        final += [kind for kind in TAKING_KINDS if kind not in again]
    return tuple(final)


def again_in_words(again: Mapping[str, Again]) -> list[str]:
    """What was learned of each kind, a line each."""
    final = final_kinds(again)
    return [
        f"after a {kind} the item {'leaves' if kind in final else 'stays on'} the user's list: "
        f"{one.share:.1%} of {one.taken:,} later takes are of such an item, {one.chance:.1%} would "
        f"be by chance (the bound is half of that, and {REPEAT_SHARE:.0%} at least)"
        for kind, one in again.items()
    ]
