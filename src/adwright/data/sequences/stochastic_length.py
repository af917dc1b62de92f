"""Stochastic length: long sequences are shortened at random while a model trains.

Zhai et al., "Actions Speak Louder than Words", ICML 2024, arXiv 2402.17152, section 3.2. With N
the longest sequence and alpha in (1, 2], a sequence of n events is

    kept whole                                 where n <= th,  th = floor(N^(alpha / 2))
    cut to th of its events, in their order    with probability 1 - N^alpha / n^2, else kept

so that attention costs O(N^alpha d) per user instead of O(N^2 d). Which events stay:

    recency   the latest th
    random    th of them, each with the same chance
    weighted  th of them, drawn one after another with weight 1 - f_j / sum_i f_i, f_j being the
              age of event j at the end of the sequence
    steep     the same with weight (1 - f_j / max_i f_i)^2: an event of half the longest age is
              drawn a quarter as readily as the latest one. Ours, not the paper's

The weights of `weighted` are the paper's to the letter, and nearly equal: of n events of even ages
they lie between 1 - 2 / n and 1, so of 200 in [.99, 1], and `weighted` hardly differs from
`random`. The paper found it best; what a clear preference for late events does, `steep` shows.

Also ours: ages are counted in places where there are no times;
the draws without replacement are the th largest of log(u) / w (Efraimidis and Spirakis 2006),
which one sort finds for a whole batch; a user of whom all events are of one instant is drawn
at random; and each event that stays still predicts the event that truly followed it
(`SequenceBatch.at`).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Gt, Le, settings
from adwright.data.ranges import ranges

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Choice = Literal["recency", "random", "weighted", "steep"]


@settings
class StochasticLength:
    """alpha: in (0, 2]; 2 cuts nothing. choice: which events stay, see the module."""

    alpha: Annotated[float, Gt(0), Le(2)] = 1.6
    choice: Choice = "weighted"


def threshold(longest: int, alpha: float) -> int:
    """th = floor(N^(alpha / 2)), at least 1; longest: N.

    >>> threshold(8192, 1.6)
    1351
    """
    # A power that is a whole number must not be rounded to just below it.
    return max(math.floor(math.pow(longest, alpha / 2) + 1e-9), 1)


def chance_of_cut(lengths: Ints, longest: int, alpha: float) -> Floats:
    """Probability that each of the sequences [U] is cut; 0 up to the threshold."""
    chance = 1 - longest**alpha / np.maximum(lengths, 1).astype(np.float64) ** 2
    cut: Floats = np.where(lengths > threshold(longest, alpha), np.clip(chance, 0, 1), 0.0)
    return cut


def shorten(
    lengths: Ints,
    longest: int,
    config: StochasticLength,
    rng: np.random.Generator,
    *,
    age: Floats | None = None,
) -> tuple[Ints, Ints]:
    """The events that stay: (places int64 [K], rising; offsets int64 [U + 1]).

    lengths: int64 [U], of sequences that lie end to end. longest: N. age: [E], how old each
    event is at the end of its sequence, not negative, in any unit; for "weighted" and "steep".
    """
    th = threshold(longest, config.alpha)
    cut = rng.random(len(lengths)) < chance_of_cut(lengths, longest, config.alpha)
    kept = np.where(cut, th, lengths)
    starts = np.cumsum(lengths) - lengths
    if config.choice == "recency":
        return ranges(starts + lengths - kept, kept)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    draw = np.log(1 - rng.random(len(owner)))
    if config.choice != "random":
        back = ((starts + lengths)[owner] - 1 - np.arange(len(owner))).astype(np.float64)
        weigh = _weights if config.choice == "weighted" else _steep_weights
        draw = draw / weigh(back if age is None else age, owner, len(lengths))
    # Best first within each sequence: the first `kept` of them stay.
    order = np.lexsort((-draw, owner))
    chosen, offsets = ranges(starts, kept)
    return np.sort(order[chosen]), offsets


def _weights(age: Floats, owner: Ints, people: int) -> Floats:
    """1 - f / sum f [E], never quite 0."""
    total = np.bincount(owner, age, minlength=people)[owner]
    share = np.divide(age, total, out=np.zeros(len(age)), where=total > 0)
    weights: Floats = np.maximum(1 - share, 1e-9)
    return weights


def _steep_weights(age: Floats, owner: Ints, people: int) -> Floats:
    """(1 - f / max f)^2 [E], never quite 0; all the same where every event is of one instant."""
    oldest = np.zeros(people)
    np.maximum.at(oldest, owner, age)
    oldest = oldest[owner]
    share = np.divide(age, oldest, out=np.zeros(len(age)), where=oldest > 0)
    weights: Floats = np.maximum((1 - share) ** 2, 1e-9)
    return weights
