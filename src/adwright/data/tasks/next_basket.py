"""The next-basket task: of everything that is sold, what does this user buy next?

A visit is one request of a user (a basket, a session, a position in a sequence). Its query is
all that the user did before that moment; its targets are the distinct items of the visit.
Every item of the catalogue is a candidate. Events of one request share a time and their order
means nothing, so a visit never sees an event of its own time.

The task lies in memory as flat arrays, sorted by user and time: Complete Journey's 1.47
million purchases take 30 MB, and any batch of visits is a gather.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from numpy.typing import NDArray

from adwright.core.artifacts import Fitted
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature, FeatureSpec, ItemTable, fit_spec
from adwright.data.hashing import hash_order
from adwright.data.ranges import distinct, ranges, run_starts
from adwright.data.schema import need_columns
from adwright.data.tasks.split import SPLITS, Split
from adwright.data.time import MICROSECONDS_PER_DAY

Ints = NDArray[np.int64]
#: Context of a query, read off its time.
CONTEXT = (Feature("weekday", "categorical", "context"), Feature("hour", "categorical", "context"))

#: Places that stand for days or seconds lie in these first years after 1970.
_PLACES = 3_650 * MICROSECONDS_PER_DAY

_EVENT_COLUMNS = ("user_id", "request_id", "item_id", "time", "split")


@dataclass(frozen=True, eq=False)
class NextBasket:
    """The task. N items in the catalogue, U users, E events, V visits.

    item: int64 [E] item codes (rows of `items`, from 1); time: int64 [E] microseconds since
    1970 (for data without times the position in days, see `timeless`). User u owns the events
    user_offsets[u] to user_offsets[u + 1].
    visit_user, visit_time: int64 [V]. visit_end: int64 [V], the visit's history are the events
    of its user before this place. split: int8 [V], place in SPLITS. targets: the visit's
    items are targets[target_offsets[v] : target_offsets[v + 1]].
    profile: int64 [V, F] codes of the spec's user and context features.
    count: int64 [N + 1], training events of each item code; 0 for the unknown item.
    """

    name: str
    protocol: str
    data_hash: str
    spec: FeatureSpec
    catalogue: pl.DataFrame
    items: ItemTable
    users: tuple[str, ...]
    user_offsets: Ints
    item: Ints
    time: Ints
    visit_user: Ints
    visit_time: Ints
    visit_end: Ints
    split: NDArray[np.int8]
    targets: Ints
    target_offsets: Ints
    profile: Ints
    count: Ints

    def __len__(self) -> int:
        return len(self.visit_user)

    def visits(self, split: Split) -> Ints:
        """Numbers of the visits of a split, ascending."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def batch(self, visits: Ints, *, max_history: int = 0) -> QueryBatch:
        """The queries of `visits` (int64 [B]), in that order.

        max_history: only so many of the most recent events, 0 for all.
        """
        first, end = self.user_offsets[self.visit_user[visits]], self.visit_end[visits]
        if max_history:
            first = np.maximum(first, end - max_history)
        place, offsets = ranges(first, end - first)
        then = np.repeat(self.visit_time[visits], end - first)
        start = self.target_offsets[visits]
        chosen, target_offsets = ranges(start, self.target_offsets[visits + 1] - start)
        batch = QueryBatch(
            history=_jagged(self.item[place], offsets),
            age=torch.from_numpy(
                ((then - self.time[place]) / MICROSECONDS_PER_DAY).astype(np.float32)
            ),
            profile=torch.from_numpy(self.profile[visits]),
            targets=_jagged(self.targets[chosen], target_offsets),
        )
        return batch.by_place() if self.timeless else batch

    @property
    def timeless(self) -> bool:
        """Whether places in a sequence stand for times: all lie in the first years after 1970."""
        return bool(self.time.max(initial=0) < _PLACES)

    def seen(self, visits: Ints) -> tuple[Ints, Ints]:
        """Distinct items of each visit's whole history: (codes [S], offsets [B + 1])."""
        first = self.user_offsets[self.visit_user[visits]]
        place, offsets = ranges(first, self.visit_end[visits] - first)
        return distinct(self.item[place], offsets, len(self.items))

    def fitted(self, *, whole: bool = False) -> Fitted:
        """What a model of the training visits was fitted on. whole: of all events."""
        if whole:
            return Fitted.of(len(self.item), int(self.time.max(initial=0)))
        last = self.visit_time[self.visits("train")].max(initial=0)
        return Fitted.of(int(self.count.sum()), int(last))

    @cached_property
    def profile_features(self) -> tuple[Feature, ...]:
        """Features of the columns of `profile`, in order."""
        return self.spec.coded_rows


def build_visits(
    events: pl.DataFrame,
    catalogue: pl.DataFrame,
    *,
    name: str,
    protocol: str,
    data_hash: str,
    features: Sequence[Feature],
    seed: int = 0,
) -> NextBasket:
    """The task of `events`.

    events: user_id, request_id, item_id (text), time (a UTC timestamp, or an integer position),
      split (train, valid, test; one per request), and the columns of the user and context
      features, constant within a request. catalogue: item_id and item features.
    features: fitted on the training events and on the catalogue.
    seed: of the order within a request, which carries no meaning.
    Raises SchemaError for a missing column, ValueInvalidError for an item that the catalogue
    lacks or a log without training events.
    """
    train = _training(events)
    spec = fit_spec(features, train.lazy(), catalogue.lazy())
    items = spec.encode_items(catalogue)
    order = hash_order(events, ["user_id", "request_id", "item_id"], seed)
    ordered = events.with_columns(order=order).sort("user_id", "time", "request_id", "order")
    table = ordered.to_arrow()
    item = _codes(items, ordered["item_id"])
    user = ordered["user_id"].rank("dense").to_numpy().astype(np.int64) - 1
    time = _microseconds(ordered["time"])
    request = ordered["request_id"].rank("dense").to_numpy()
    bounds = run_starts(user, time, request)
    start = bounds[:-1]
    # Events of the same instant, of another request too, are not history.
    moments = run_starts(user, time)[:-1]
    end = moments[np.searchsorted(moments, start, side="right") - 1]
    targets, target_offsets = distinct(item, bounds, int(item.max(initial=0)) + 1)
    profile = [f.codes(table[f.name])[start] for f in spec.coded_rows]
    in_train = (ordered["split"] == "train").to_numpy()
    split = (
        ordered["split"]
        .cast(pl.String)
        .replace_strict(list(SPLITS), range(len(SPLITS)), return_dtype=pl.Int8)
    )
    return NextBasket(
        name=name,
        protocol=protocol,
        data_hash=data_hash,
        spec=spec,
        catalogue=catalogue,
        items=items,
        users=tuple(ordered["user_id"].gather(run_starts(user)[:-1]).to_list()),
        user_offsets=run_starts(user),
        item=item,
        time=time,
        visit_user=user[start],
        visit_time=time[start],
        visit_end=end,
        split=split.to_numpy()[start],
        targets=targets,
        target_offsets=target_offsets,
        profile=np.stack(profile, 1) if profile else np.zeros((len(start), 0), np.int64),
        count=np.bincount(item[in_train], minlength=len(items)),
    )


def reordered(task: NextBasket, ids: Sequence[str]) -> NextBasket:
    """The same task with its items in the order of `ids`, as a model has them.

    Raises ConfigError where these are not the items of the task.
    """
    if tuple(ids) == task.items.ids:
        return task
    old = task.items.rows(pa.array(ids, pa.string()))
    if len(old) + 1 != len(task.items) or (np.diff(np.sort(old), prepend=0) != 1).any():
        raise ConfigError(
            f"the model knows {len(ids):,} items, and the log has {len(task.items) - 1:,} others",
            hint="measure it on the log that it was trained on",
        )
    new = np.zeros(len(task.items), np.int64)
    new[old] = np.arange(1, len(task.items))
    catalogue, targets = task.catalogue[old - 1], new[task.targets]
    owner = np.repeat(np.arange(len(task)), np.diff(task.target_offsets))
    return replace(
        task,
        catalogue=catalogue,
        items=task.spec.encode_items(catalogue),
        item=new[task.item],
        targets=targets[np.lexsort((targets, owner))],
        count=np.append(task.count[:1], task.count[old]),
    )


def moment(time: datetime) -> dict[str, str]:
    """The context features of a query at `time`: weekday (1, Monday, to 7) and hour, in UTC."""
    return {"weekday": str(time.isoweekday()), "hour": str(time.hour)}


def _training(events: pl.DataFrame) -> pl.DataFrame:
    """The training events, after a look at the columns."""
    need_columns(events.columns, _EVENT_COLUMNS, "the events lack a column")
    train = events.filter(pl.col("split") == "train")
    if not train.height:
        raise ValueInvalidError(
            "no event is in the training split", column="split", hint="move the dates of the split"
        )
    return train


def _codes(items: ItemTable, ids: pl.Series) -> Ints:
    codes = items.rows(ids.to_arrow())
    if (codes == 0).any():
        raise ValueInvalidError(
            "an event is of an item that the catalogue lacks",
            column="item_id",
            value=ids[int(np.argmin(codes != 0))],
            hint="add the item to the catalogue, or leave the event out",
        )
    return codes


def _microseconds(time: pl.Series) -> Ints:
    if time.dtype.is_integer():
        return time.cast(pl.Int64).to_numpy() * MICROSECONDS_PER_DAY
    return time.dt.epoch("us").to_numpy().astype(np.int64)


def _jagged(values: Ints, offsets: Ints) -> Jagged:
    return Jagged(torch.from_numpy(values), torch.from_numpy(offsets.astype(np.int64)))
