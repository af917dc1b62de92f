"""Arrivals: who comes when, at the log's own visit rate and time of day.

User u arrives as a Poisson process of rate

    r_u = (n_u + a) / (w + b)        n_u visits in the last w weeks before the start

with a and b of the gamma distribution that has the mean and variance of the users' rates (empirical
Bayes): somebody seen once is drawn towards everyone, the sum over all people stays as it was.
The day of the week and the hour are those of a visit of the log, drawn from the user's own
visits with probability n_u / (n_u + 5) and else from everyone's; the minute is any. Hours are
local, so that the evening stays the evening when clocks change.

Letters: U users, V visits. Times are seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import DataError
from adwright.data.time import SECONDS_PER_DAY, SECONDS_PER_WEEK

__all__ = ["Arrivals", "fit_arrivals"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_OWN = 5.0  # visits at which a user's own hours count as much as everyone's


@dataclass(frozen=True, eq=False)
class Arrivals:
    """rate: [U], visits per week. hour: [V] hours of the local week, 0 (Monday, midnight) to 167,
    of all visits seen; user u's are hour[offsets[u] : offsets[u + 1]]. zone: IANA name."""

    rate: Floats
    hour: Ints
    offsets: Ints
    zone: str

    def draw(
        self, people: Ints, start: datetime, days: float, rng: np.random.Generator
    ) -> tuple[Ints, Ints]:
        """(user, time) of the visits of `people` in the `days` from `start` (in UTC) on, by
        time."""
        since = int(start.timestamp())
        until = since + round(days * SECONDS_PER_DAY)
        weeks = int(np.ceil(days / 7)) + 1
        count = rng.poisson(self.rate[people] * weeks)
        user = np.repeat(people, count)
        seen = np.diff(self.offsets)[user]
        own = rng.random(len(user)) < seen / (seen + _OWN)
        place = rng.random(len(user))
        of_own = self.offsets[user] + (place * seen).astype(np.int64)
        of_all = (place * len(self.hour)).astype(np.int64)
        hour = self.hour[np.where(own, np.minimum(of_own, len(self.hour) - 1), of_all)]
        week = rng.integers(0, weeks, len(user))
        second = rng.integers(0, 3600, len(user))
        midnights = _midnights(start, 7 * weeks, self.zone)
        time = midnights[7 * week + hour // 24] + hour % 24 * 3600 + second
        kept = (time >= since) & (time < until)
        user, time = user[kept], time[kept]
        order = np.lexsort((user, time))
        return user[order], time[order]


def fit_arrivals(
    user: Ints, time: Ints, *, people: int, until: int, weeks: int, zone: str
) -> Arrivals:
    """Rates and hours from visits (user, time) [V], those of the `weeks` before `until` alone.

    people: U. zone: IANA name of where people live. Raises DataError without any visit.
    """
    recent = (time >= until - weeks * SECONDS_PER_WEEK) & (time < until)
    user, time = user[recent], time[recent]
    if not len(user):
        raise DataError(
            f"nobody came in the {weeks} weeks before the start",
            column="time",
            hint="start later, or count more weeks",
        )
    count = np.bincount(user, minlength=people)
    local = pl.from_epoch(pl.Series(time), "s").dt.replace_time_zone("UTC")
    local = local.dt.convert_time_zone(zone)
    hour = ((local.dt.weekday().cast(pl.Int64) - 1) * 24 + local.dt.hour()).to_numpy()
    order = np.argsort(user, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(count)))
    return Arrivals(_rates(count, weeks), hour[order].astype(np.int64), offsets, zone)


def _rates(count: Ints, weeks: int) -> Floats:
    """[U] visits per week, drawn towards the mean as far as the counts differ by chance."""
    mean = float(count.mean())
    # Of counts, what exceeds the mean is variance between users (a negative binomial).
    between = max(float(count.var()) - mean, 1e-9 * mean)
    trust = between / (between + mean)
    rate: Floats = (mean + trust * (count - mean)) / weeks
    return rate


def _midnights(start: datetime, days: int, zone: str) -> Ints:
    """[days] instants at which days begin in the zone, from the last Monday before `start`."""
    local = pl.Series([start]).dt.convert_time_zone(zone)[0]
    monday = (local - timedelta(days=local.weekday())).date()
    dates = pl.Series([monday + timedelta(days=day) for day in range(days)], dtype=pl.Date)
    # Where clocks jump at midnight the day has another beginning; the hour after is near enough.
    starts = dates.cast(pl.Datetime("us")).dt.offset_by("1h")
    instants = starts.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return instants.dt.epoch("s").forward_fill().to_numpy() - 3600
