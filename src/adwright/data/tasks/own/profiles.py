"""What is known of users, as models of a log of one's own read it.

A training cuts a number of the users into parts and calls each by its bounds (`user_features`). A
table of users that is brought later, or the same one, is cut at those bounds again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from adwright.data.features import Feature

_NUMBER = r"-?(?:\d++\.?+\d*+(?:e[+-]?\d++)?+|inf)"
_PART = re.compile(rf"below ({_NUMBER})|({_NUMBER}) to ({_NUMBER})|from ({_NUMBER})")
#: What the name of a column begins with whose own name another feature has.
_OWN = "user "


def profiles_as_trained(users: pl.DataFrame, features: Iterable[Feature]) -> pl.DataFrame:
    """The table with the columns that the user features among `features` read, as text.

    users: user_id, and columns as a log has them. A column of numbers whose feature knows parts
    becomes the name of the part that each number is in, null where it is in none; others stay as
    they are.

    >>> age = Feature("age", "categorical", "user", vocabulary=("below 30", "from 30"))
    >>> users = pl.DataFrame({"user_id": ["a", "b"], "age": ["41", "7"]})
    >>> profiles_as_trained(users, [age])["age"].to_list()
    ['from 30', 'below 30']
    """
    known: dict[str, dict[str, None]] = {}
    for feature in features:
        if feature.of == "user" and feature.name != "user_id":
            known.setdefault(feature.name, {}).update(dict.fromkeys(feature.vocabulary))
    made = []
    for name, vocabulary in known.items():
        source = name if name in users.columns else name.removeprefix(_OWN)
        if source not in users.columns:
            continue
        column = users[source].cast(pl.String)
        found = _in_parts(column, list(vocabulary))
        made.append((column if found is None else found).alias(name))
    return users.with_columns(made)


def _in_parts(column: pl.Series, names: Sequence[str]) -> pl.Series | None:
    """The part of each number, by its name; None where the names are not of parts, or the column
    holds them already."""
    parts = [_bounds(name) for name in names]
    if not parts or None in parts or column.is_in(list(names)).any():
        return None
    number = column.cast(pl.Float64, strict=False).to_numpy()
    found = np.full(len(number), -1)
    for n, bounds in enumerate(parts):
        if bounds is not None:
            found[(number >= bounds[0]) & (number < bounds[1])] = n
    place = pl.Series(found)
    return pl.Series(list(names)).gather(place.set(place < 0, None))


def _bounds(name: str) -> tuple[float, float] | None:
    """The least number of a part, and the least above it."""
    found = _PART.fullmatch(name)
    if found is None:
        return None
    below, low, high, start = found.groups()
    return (
        float(low or start or -math.inf),
        float(below or high or math.inf),
    )
