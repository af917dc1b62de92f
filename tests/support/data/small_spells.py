"""Spells whose length follows from what is known of them, made up in milliseconds."""

from __future__ import annotations

import numpy as np

from adwright.creative.lifetime.spell_table import SpellTable

COLOURS = ("red", "green", "blue", "grey")
WORDS = ("sale", "new", "fresh", "last", "odd")


def small_spells(
    units: int = 400,
    *,
    seed: int = 0,
    causes: tuple[str, ...] = ("ended",),
    ended: float | None = None,
    entry: float = 0.0,
) -> SpellTable:
    """Weeks of display: red, cheap and "last" end sooner.

    ended: None censors as it happens, else that share of the units ends and the others are
    censored, at random. entry: age of all units at their landmark. Every tenth number is missing,
    and so is every tenth colour; some units have no words.
    """
    rng = np.random.default_rng(seed)
    price = rng.normal(size=units).astype(np.float32)
    sales = np.exp(2 * rng.normal(size=units)).astype(np.float32)
    colour = rng.integers(0, len(COLOURS), units).astype(np.int32)
    lengths = rng.integers(0, 4, units)
    words = rng.integers(0, len(WORDS), int(lengths.sum())).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    last = np.zeros(units)
    np.add.at(last, np.repeat(np.arange(units), lengths), words == 3)
    hazard = 1 / (1 + np.exp(1.2 - 1.5 * (colour == 0) + 1.2 * price - 0.8 * last))
    life = rng.geometric(hazard)
    seen = rng.integers(1, 14, units)
    dead = life <= seen if ended is None else rng.random(units) < ended
    time = (entry + np.minimum(life, seen if ended is None else 20)).astype(np.float32)
    cause = np.where(dead, 1 + rng.integers(0, len(causes), units), 0).astype(np.int8)
    numbers = np.stack([price, sales], 1)
    numbers[::10, 0] = np.nan
    colour[5::10] = -1
    return SpellTable(
        entry=np.full(units, entry, np.float32),
        time=time,
        cause=cause,
        causes=causes,
        numbers=numbers,
        number_names=("price", "sales_before"),
        categories=colour[:, None],
        category_names=("colour",),
        category_values=(COLOURS,),
        words=words,
        offsets=offsets,
        vocabulary=WORDS,
        clicks=rng.integers(0, 6, units).astype(np.float32),
        shown=rng.integers(0, 100, units).astype(np.float32),
        owner=rng.integers(0, 20, units).astype(np.int32),
        group=rng.integers(0, 5, units).astype(np.int32),
        start=rng.integers(0, 30, units).astype(np.int32),
        landmark=1,
        unit="week",
    )
