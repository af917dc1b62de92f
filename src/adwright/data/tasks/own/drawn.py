"""A ranking task where nothing was shown: what was taken, among items drawn beside it.

Each visit has a row for every item taken, with label 1, and for each of these `negatives` rows of
drawn items with label 0 (`draw_negatives`). Some are drawn by popularity, because uniform ones
are told apart too easily; some of the user's own past, where users take items again. An item i is
then among the negatives M q(i) times, and a model of the rows learns

    logit P(row is taken) = f(i) - log(N q(i)),     f(i) = log odds of P(i is taken) M / N

The second term undoes the drawing: it is known, stands in the column `draw_offset`, and is added to
the model's output wherever rows are trained on or measured. So the model learns f, which orders the
whole catalogue as if all negatives had been uniform, and its probabilities on the rows are right.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.config import Count, Natural, settings, to_jsonable
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.data.batches.batch import DRAW_OFFSET
from adwright.data.features import Feature, FeatureSpec
from adwright.data.popularity import PairCounts
from adwright.data.ranges import ranges
from adwright.data.schema import RESPONSE_KINDS
from adwright.data.sources.log import Log
from adwright.data.tasks.choice import taken_in, visit_events, visit_rows
from adwright.data.tasks.from_log import LogTaskConfig, build_task_of_log
from adwright.data.tasks.negatives import Draws, draw_negatives, popular_share
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.own.next_item import NextItem, NextItemConfig, build_next_item
from adwright.data.tasks.task import Task, TaskPart, cached_task, write_task_parts
from adwright.data.time import MICROSECONDS_PER_DAY

Ints = NDArray[np.int64]
VERSION = 2


@settings
class DrawnConfig:
    """negatives: rows drawn for each item taken. popular, own: shares drawn by popularity^.75 and
    of the user's own past; own None is .4 where users take items again, else 0; the rest is
    uniform. most_rows: about so many at most, of visits chosen by `seed`; 0 for all.
    min_count: an item has an embedding of its own from so many training rows on.
    next_item: what a visit is and how the log is cut.
    """

    negatives: Count = 9
    popular: float = 0.5
    own: float | None = None
    most_rows: Natural = 3_000_000
    min_count: Count = 5
    next_item: NextItemConfig = field(default_factory=NextItemConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        self.draws(repeats=True)

    def draws(self, *, repeats: bool) -> Draws:
        """The shares of the drawing. repeats: whether users take items again."""
        own = self.own if self.own is not None else 0.4 if repeats else 0.0
        popular = min(self.popular, 0.8 - own) if self.own is None else self.popular
        return Draws(self.negatives, own, popular)


def build_drawn_task(
    log: Log, cache: str | Path, config: DrawnConfig | None = None, *, name: str = "log"
) -> Task:
    """The task of a log without impressions, in a folder under `cache`, built on first use.

    Raises as `build_next_item`, and ResourceError where the disk is full.
    """
    config = config or DrawnConfig()
    return drawn_task(build_next_item(log, config.next_item, name=name), cache, config)


def drawn_task(
    source: NextItem,
    cache: str | Path,
    config: DrawnConfig | None = None,
    *,
    visits_per_part: int = 10_000,
) -> Task:
    """The same of a next-item task that is there. visits_per_part: about how many of whole users
    are held in memory at once."""
    config = config or DrawnConfig()
    draws = config.draws(repeats=source.choices.repeats)
    task = source.task
    key = content_hash(
        {
            "data": task.data_hash,
            "config": to_jsonable(config),
            "repeats": source.choices.repeats,
            "code": VERSION,
        }
    )
    folder = Path(cache) / f"{task.name}-drawn-{key[:16]}"
    return cached_task(
        folder,
        lambda: write_task_parts(
            folder,
            name=f"{task.name}-drawn",
            protocol=_protocol(task, draws),
            data_hash=key,
            parts=_parts(task, config, draws, visits_per_part),
            items=task.catalogue,
            features=_features(task.spec, config.min_count, repeats=source.choices.repeats),
            history=source.choices.kinds,
            popularity=source.choices.kinds,
        ),
    )


def _features(spec: FeatureSpec, min_count: int, *, repeats: bool) -> tuple[Feature, ...]:
    """Those of the next-item task, not yet fitted, and counts of the past: how often the user had
    the item is 0 of all that may be shown where nobody has one again."""
    plain = [replace(f, vocabulary=(), edges=()) for f in spec.features]
    return (
        Feature("history", "sequence", "user"),
        Feature("user_id", "categorical", "user", min_count=min_count),
        *(replace(f, min_count=min_count) if f.name == "item_id" else f for f in plain),
        Feature("popularity", "numeric", "context", log=True),
        Feature("visible", "numeric", "user", log=True),
        *((Feature("frequency", "numeric", "user", log=True),) if repeats else ()),
    )


def _parts(
    task: NextBasket, config: DrawnConfig, draws: Draws, visits_per_part: int
) -> Iterator[TaskPart]:
    rng = np.random.default_rng(config.seed)
    visits = np.arange(len(task))
    rows = len(task.targets) * (1 + draws.number)
    if config.most_rows and rows > config.most_rows:
        kept = int(len(visits) * config.most_rows / rows)
        visits = np.sort(rng.choice(visits, kept, replace=False))
    day = task.time // MICROSECONDS_PER_DAY
    taken = PairCounts(task.item, np.zeros_like(task.item), day, things=1)
    share = popular_share(task.count)
    # Parts are of whole users: visits lie by user.
    first = np.flatnonzero(np.diff(task.visit_user[visits], prepend=-1))
    bounds = [0]
    for start in first[1:].tolist():
        if start - bounds[-1] >= visits_per_part:
            bounds.append(start)
    with progress(len(visits), "draw negatives", "visits") as bar:
        for start, end in zip(bounds, [*bounds[1:], len(visits)], strict=True):
            mine = visits[start:end]
            if len(mine):
                yield TaskPart(
                    _rows(task, mine, draws, share, taken, rng), visit_events(task, mine)
                )
            bar.advance(len(mine))


def _rows(
    task: NextBasket,
    visits: Ints,
    draws: Draws,
    share: NDArray[np.float64],
    taken_before: PairCounts,
    rng: np.random.Generator,
) -> pl.DataFrame:
    taken, of_taken = taken_in(task, visits)
    past, offsets = task.seen(visits)
    number = np.diff(offsets)
    # As many draws for each item taken: a visit of two is drawn for twice.
    each, each_offsets = ranges(offsets[of_taken], number[of_taken])
    drawn, of_draw = draw_negatives(draws, past[each], each_offsets, share, rng)
    of_drawn = of_taken[of_draw]
    width = len(task.items)
    struck = np.isin(of_drawn * width + drawn, of_taken * width + taken)
    item, owner = (
        np.concatenate(pair) for pair in ((taken, drawn[~struck]), (of_taken, of_drawn[~struck]))
    )
    label = np.repeat(np.array([1, 0], np.int8), [len(taken), int((~struck).sum())])
    # Within a visit by a hash: the place of a row must not tell its label.
    order = np.lexsort((rng.random(len(owner)), owner))
    item, owner, label = item[order], owner[order], label[order]
    had = np.isin(owner * width + item, np.repeat(np.arange(len(visits)), number) * width + past)
    expected = draws.log_expected(share[item], items=width - 1, had=had, distinct=number[owner])
    visit = visits[owner]
    today = task.visit_time[visit] // MICROSECONDS_PER_DAY
    popularity, _ = taken_before.before(item, np.zeros_like(item), today)
    more = {
        "popularity": pl.Series(popularity.astype(np.float32)),
        DRAW_OFFSET: pl.Series((np.log(draws.number / (width - 1)) - expected).astype(np.float32)),
    }
    return visit_rows(task, visit, item, label, more)


def _protocol(task: NextBasket, draws: Draws) -> str:
    uniform = 1 - draws.own - draws.popular
    return (
        f"Drawn negatives, made of: {task.protocol} Here rows are the items taken and "
        f"{draws.number} drawn for each of them, of the person's past ({draws.own:.0%}), by "
        f"popularity^0.75 ({draws.popular:.0%}) and uniformly ({uniform:.0%}). Probabilities on "
        "the rows are those of the rows; without draw_offset, those of uniform negatives."
    )


# --------------------------------------------------------------------------------------------------
# The ranking task that a log allows: of what was shown, or of what was taken beside drawn items.
#
# A log with impressions says what was turned down (`adwright.data.tasks.from_log`). Of a log
# without
# any, what was taken is told from items drawn beside it (`drawn`).

_log = logging.getLogger("adwright")


def build_ranking_task(
    log: Log, cache: str | Path, config: LogTaskConfig | None = None, *, name: str = "log"
) -> Task:
    """The ranking task of a log, in a folder under `cache`, built on first use.

    config: of a log without impressions its dates, shares and kinds of columns count; responses
    other than the usual ones, too. That negatives are drawn is said as a warning.
    Raises as `build_task_of_log` and `build_drawn_task`.
    """
    config = config or LogTaskConfig()
    if _has_impressions(log):
        return build_task_of_log(log, cache, config, name=name)
    usual = config.responses == RESPONSE_KINDS
    _log.warning(
        "the log does not say what was shown: what was taken is to be told from items drawn "
        "beside it"
    )
    columns = {
        column: kind
        for column, kind in config.column_kinds.items()
        if column in log.catalogue.items.columns
    }
    wanted = NextItemConfig(
        kinds=() if usual else config.responses,
        shares=config.shares,
        valid_from=config.valid_from,
        test_from=config.test_from,
        item_columns=columns,
    )
    return build_drawn_task(log, cache, DrawnConfig(next_item=wanted), name=name)


def _has_impressions(log: Log) -> bool:
    shown = log.events.filter(pl.col("kind").cast(pl.String) == "impression")
    return bool(shown.head(1).collect(engine="streaming").height)
