"""The choice task: which items of the catalogue does this user take in the next basket?

The fine ranker's training rows, made of a next-basket task. A row is a pair of a basket and an
item: every item of the basket with label 1, and negatives drawn from the user's past, from
the popular items and from the whole catalogue (`draws`). What a row may know is what a request
knows: the items' own features, the user's profile, weekday and hour, and the counts of `personal`,
all of it from before the basket; and how popular the item is, its events in the training weeks
less those of the row's own basket. With these, an item of one event would be in the basket
wherever its popularity is 1 and never where it is 0, and a ranker learn that a new item is not
taken. Cold items (of the test weeks, without a training event) are rows as all others; the
protocol says how many of the targets they are.

Negatives are drawn, so probabilities are those of the rows: `Draws.log_expected` brings them
to the catalogue. The stream's `negative_rate` stays 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.config import Count, Natural, settings, to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.features import Feature, FeatureSpec
from adwright.data.popularity import PERSONAL_FEATURES, personal
from adwright.data.ranges import ranges, run_starts
from adwright.data.tasks.negatives import Draws, draw_negatives, popular_share
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.split import SPLITS, Split
from adwright.data.tasks.task import Task, TaskPart, cached_task, write_task_parts

Ints = NDArray[np.int64]
VERSION = 2


@settings
class ChoiceConfig:
    """train, valid, test: baskets of each split, drawn by `seed`; 0 for all of them.
    draws: the negatives. min_count: an item has an embedding of its own from so many rows on.
    """

    train: Natural = 30_000
    valid: Natural = 1_500
    test: Natural = 1_500
    draws: Draws = field(default_factory=Draws)
    min_count: Count = 10
    seed: int = 0

    def baskets(self, split: Split) -> int:
        """Of a split."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[split]


def build_choice_task(
    source: NextBasket, cache: str | Path, config: ChoiceConfig | None = None
) -> Task:
    """The task in a folder under `cache`, built on first use.

    With the default config and Complete Journey: 1.5 million rows.
    Raises ResourceError where the disk is full; nothing is left behind then.
    """
    config = config or ChoiceConfig()
    key = content_hash({"data": source.data_hash, "config": to_jsonable(config), "code": VERSION})
    folder = Path(cache) / f"choice-{key[:16]}"
    return cached_task(
        folder,
        lambda: write_task_parts(
            folder,
            name="choice",
            protocol=_protocol(source, config),
            data_hash=key,
            parts=_parts(source, config),
            items=choice_catalogue(source),
            features=choice_features(source.spec, config.min_count),
        ),
    )


def choice_catalogue(source: NextBasket) -> pl.DataFrame:
    """The catalogue with `popularity`, training events of each item: negatives are drawn by it."""
    return source.catalogue.with_columns(popularity=pl.Series(source.count[1:], dtype=pl.Int64))


def choice_features(spec: FeatureSpec, min_count: int) -> tuple[Feature, ...]:
    """The retrieval task's features, not yet fitted, with popularity and the personal counts.

    Lists of values are left out: they say in other words what single values say.
    """
    plain = [replace(f, vocabulary=(), edges=()) for f in spec.features if f.kind != "multi"]
    return (
        Feature("history", "sequence", "user"),
        *(replace(f, min_count=min_count) if f.name == "item_id" else f for f in plain),
        Feature("popularity", "numeric", "context", log=True),
        Feature("visible", "numeric", "user", log=True),
        *PERSONAL_FEATURES,
    )


def _parts(source: NextBasket, config: ChoiceConfig, people: int = 500) -> Iterator[TaskPart]:
    """The rows and events of some users at a time."""
    rng = np.random.default_rng(config.seed)
    chosen = np.sort(np.concatenate([_drawn(source, config, split, rng) for split in SPLITS]))
    share = popular_share(source.count)
    user = source.visit_user[chosen]
    for first in range(0, len(source.users), people):
        mine = chosen[(user >= first) & (user < first + people)]
        if len(mine):
            yield TaskPart(
                _rows(source, mine, config.draws, share, rng), visit_events(source, mine)
            )


def _drawn(
    source: NextBasket, config: ChoiceConfig, split: Split, rng: np.random.Generator
) -> Ints:
    visits, wanted = source.visits(split), config.baskets(split)
    if not wanted or wanted >= len(visits):
        return visits
    return rng.choice(visits, wanted, replace=False)


def _rows(
    source: NextBasket,
    visits: Ints,
    draws: Draws,
    share: NDArray[np.float64],
    rng: np.random.Generator,
) -> pl.DataFrame:
    taken, of_taken = taken_in(source, visits)
    past, offsets = source.seen(visits)
    drawn, of_drawn = draw_negatives(draws, past, offsets, share, rng)
    width = len(source.items)
    kept = ~np.isin(of_drawn * width + drawn, of_taken * width + taken)
    item, owner = (
        np.concatenate(pair) for pair in ((taken, drawn[kept]), (of_taken, of_drawn[kept]))
    )
    order = np.argsort(owner, kind="stable")
    item, owner = item[order], owner[order]
    label = np.repeat(np.array([1, 0], np.int8), [len(taken), int(kept.sum())])[order]
    visit = visits[owner]
    user = source.visit_user[visit]
    counts = personal(
        source.item,
        source.time,
        source.user_offsets,
        owner=user,
        asked=item,
        end=source.visit_end[visit],
        at=source.visit_time[visit],
    )
    own = np.where(
        source.split[visit] == SPLITS.index("train"), _own(source, visits, owner, item), 0
    )
    more = {
        "popularity": pl.Series(source.count[item] - own),
        "recent": pl.Series(counts.recent),
        "recency": pl.Series(counts.recency).fill_nan(None),
    }
    return visit_rows(source, visit, item, label, more)


def _own(source: NextBasket, visits: Ints, owner: Ints, item: Ints) -> Ints:
    """How often the moment of a row's visit has the row's item [T]; owner: int64 [T], the visit's
    place in `visits`."""
    user = np.repeat(np.arange(len(source.users)), np.diff(source.user_offsets))
    moments = run_starts(user, source.time)
    start = source.visit_end[visits]
    end = moments[np.searchsorted(moments, start, side="right")]
    place, bounds = ranges(start, end - start)
    width = len(source.items)
    of = np.repeat(np.arange(len(visits)), np.diff(bounds))
    keys, number = np.unique(of * width + source.item[place], return_counts=True)
    asked = owner * width + item
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    own: Ints = np.where(keys[at] == asked, number[at], 0)
    return own


def taken_in(source: NextBasket, visits: Ints) -> tuple[Ints, Ints]:
    """Codes of what was taken in visits [V], end to end, and the place in [V] of each."""
    start = source.target_offsets[visits]
    place, bounds = ranges(start, source.target_offsets[visits + 1] - start)
    return source.targets[place], np.repeat(np.arange(len(visits)), np.diff(bounds))


def visit_rows(
    source: NextBasket,
    visit: Ints,
    item: Ints,
    label: NDArray[np.int8],
    more: Mapping[str, pl.Series],
) -> pl.DataFrame:
    """Rows [R] of a task, each an item at a visit: what all of them have, the columns `more`, and
    the profiles."""
    columns = {
        "user_id": pl.Series(source.users).gather(source.visit_user[visit]),
        "request_id": pl.Series(visit),
        "time": _times(source.visit_time[visit]),
        "item_id": pl.Series(source.items.ids).gather(item - 1),
        "label": pl.Series(label),
        "split": pl.Series(list(SPLITS)).gather(source.split[visit]),
        **more,
    }
    for number, feature in enumerate(source.profile_features):
        values = pl.Series([None, *feature.vocabulary], dtype=pl.String)
        columns[feature.name] = values.gather(source.profile[visit, number])
    return pl.DataFrame(columns)


def visit_events(source: NextBasket, visits: Ints) -> pl.DataFrame:
    """All events of the users of these visits."""
    users = np.unique(source.visit_user[visits])
    first = source.user_offsets[users]
    place, offsets = ranges(first, source.user_offsets[users + 1] - first)
    return pl.DataFrame(
        {
            "user_id": pl.Series(source.users).gather(np.repeat(users, np.diff(offsets))),
            "item_id": pl.Series(source.items.ids).gather(source.item[place] - 1),
            "time": _times(source.time[place]),
        }
    )


def _times(microseconds: Ints) -> pl.Series:
    return pl.Series(microseconds).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _protocol(source: NextBasket, config: ChoiceConfig) -> str:
    draws = config.draws
    uniform = 1 - draws.own - draws.popular
    taken, _ = taken_in(source, source.visits("test"))
    cold = int((source.count[taken] == 0).sum())
    return (
        f"Choice task made of: {source.protocol} Rows of sampled baskets: the items taken, and "
        f"{draws.number} negatives a basket, drawn from the person's past items "
        f"({draws.own:.0%}), by popularity^0.75 ({draws.popular:.0%}) and uniformly from the "
        f"catalogue ({uniform:.0%}). Popularity is that of the training events outside the row's "
        f"basket; {cold:,} of the {len(taken):,} items taken in the test split have no training "
        "event. Probabilities are those of the rows."
    )
