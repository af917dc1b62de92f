"""What the kit of strangers is made of: sets by role, held parts, and their intervals.

Each room has a file _ROOM.py here. A room that predicts has `held(name, seed, folder) -> Held`: it
runs the documented command on a set, and says what came out on rows that the command never saw,
beside rules that somebody would fit in ten lines. A room that makes something has
`figures(name, seed, folder)`, counts that may be summed. `nulls(seed, folder)` counts what a room
says of sets in which nothing can be learned, and of sets with a signal.

A room is developed on some sets and reported on others: `SETS` says which, and nothing here prints
the first as the second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.metrics.bootstrap import Interval, MethodInterval, with_seeds
from adwright.metrics.ranking import spearman
from benchmarks.common.result import RESULTS

Role = Literal["own", "developed", "reported"]
Measure = Literal["spearman", "pairs", "accuracy", "concordance"]
Floats = NDArray[np.float64]

#: Of each room: its sets, and what each may be used for. Drawn sets are by their seeds.
SETS: Mapping[str, Mapping[str, Role]] = {
    "clicks": {
        "upworthy": "own",
        "hacker-news": "developed",
        "ted-talks": "developed",
        "medium": "reported",
        "reddit-top": "reported",
        "adparaphrase-ja": "reported",
        "crealytics-adwords": "reported",
        "online-advertising": "reported",
    },
    "recall": {"slogans": "own", "sentences": "own", "lambda": "own"},
    "lives": {
        "complete-journey": "own",
        "crealytics-adwords": "reported",
        "online-advertising": "reported",
    },
    "labels": {
        "pricerunner": "developed",
        "dummyjson": "developed",
        "walmart-amazon": "reported",
        "ikea": "reported",
        "medium": "reported",
    },
    "writing": {
        "dummyjson": "developed",
        "abt-buy": "developed",
        "walmart-amazon": "developed",
        "ikea": "reported",
        "nike": "reported",
        "amazon-google": "reported",
    },
    "edits": {"posters": "reported"},
    "guard": {
        "abt-buy": "developed",
        "dummyjson": "developed",
        "walmart-amazon": "developed",
        "amazon-google": "reported",
        "nike": "reported",
        "ikea": "reported",
    },
    "certificate": {
        "dummyjson": "developed",
        "amazon-google": "reported",
        "nike": "reported",
    },
}
#: Rooms that predict, and those whose sets hold nothing or a planted signal.
PREDICTS = ("clicks", "recall", "lives", "labels")
CELLS = RESULTS / "cells" / "strangers"
_DRAWS = 1000
_PAIRS = 20_000  # of one group, at most


@dataclass(frozen=True, eq=False)
class Held:
    """What a room did on the held part of a set, by its command's defaults.

    command: the command lines that were run, without folders. kept: what the room saved. told:
    what training said to expect of the held part. truth, ours and each of `rules`: [N]; for
    accuracy, codes of labels; for concordance truth is [N, 2], time and whether it ended then, and
    a prediction is a risk. units: [N], who is resampled, a brand or a page.
    groups: [N], within which alternatives are compared, for pairs; apart: truths of a pair differ
    by more.
    """

    room: str
    set: str
    seed: int
    command: str
    kept: str
    told: float
    told_low: float
    told_high: float
    measure: Measure
    truth: NDArray[Any]
    ours: NDArray[Any]
    rules: Mapping[str, NDArray[Any]]
    units: NDArray[Any]
    groups: NDArray[Any] | None = None
    apart: float = 0.0
    more: Mapping[str, float] = field(default_factory=dict)


def of_role(room: str, role: Role) -> tuple[str, ...]:
    """The sets of a room that have this role."""
    return tuple(name for name, one in SETS[room].items() if one == role)


def require_reported(room: str, name: str) -> None:
    """Raises ConfigError for a set that the room was built or developed on."""
    role = SETS[room].get(name)
    if role not in ("own", "reported"):
        raise ConfigError(
            f"{room} was developed on {name}, so its figure there is no evidence",
            where=name,
            hint=f"report one of {', '.join(of_role(room, 'reported')) or 'its own sets'}",
        )


def run_command(*words: str | Path, timeout: float = 3600.0) -> str:
    """Run `adwright WORDS` as its own process; what it printed. A failure is shown whole."""
    done = subprocess.run(
        [sys.executable, "-m", "adwright", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"adwright {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


# --------------------------------------------------------------------------------------------------
# One set, all seeds: who is ahead.


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of one seed, as the measure wants them, with the rows of each unit."""

    held: Held
    owner: NDArray[np.int64]
    pairs: NDArray[np.int64]

    @classmethod
    def of(cls, held: Held, units: NDArray[Any]) -> _Part:
        owner = np.searchsorted(units, held.units).astype(np.int64)
        pairs = np.zeros((2, 0), np.int64)
        if held.measure in ("pairs", "concordance"):
            groups = np.zeros(len(held.truth)) if held.groups is None else held.groups
            code = np.unique(groups, return_inverse=True)[1]
            found = [_pairs(held, np.flatnonzero(code == one)) for one in range(code.max() + 1)]
            pairs = np.concatenate(found, axis=1)
        return cls(held, owner, pairs)

    def measured(self, said: NDArray[Any], times: Floats | None = None) -> float:
        """The measure of a prediction, each row so many times as its unit was drawn."""
        truth, kind = self.held.truth, self.held.measure
        weight = np.ones(len(truth)) if times is None else times[self.owner]
        if kind == "accuracy":
            return float(weight @ (said == truth) / weight.sum())
        if kind in ("pairs", "concordance"):
            high, low = self.pairs
            pair = weight[high] * weight[low]
            won = (said[high] > said[low]) + 0.5 * (said[high] == said[low])
            return float(pair @ won / pair.sum()) if pair.sum() else 0.5
        if np.ptp(said) == 0:
            return 0.0
        rows = np.repeat(np.arange(len(truth)), weight.astype(int))
        return 0.0 if len(rows) < 2 else float(spearman(said[rows], truth[rows]))


def _pairs(held: Held, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """[2, P] rows of one group: the first should be said to be higher than the second."""
    if held.measure == "concordance":
        time, ended = held.truth[rows].T
        first, second = np.nonzero((time[:, None] < time[None]) & (ended[:, None] > 0))
    else:
        truth = held.truth[rows]
        first, second = np.nonzero(truth[:, None] > truth[None] + held.apart)
    if len(first) > _PAIRS:
        some = np.random.default_rng(0).choice(len(first), _PAIRS, replace=False)
        first, second = first[some], second[some]
    return np.stack([rows[first], rows[second]])


def compared(helds: Sequence[Held], *, draws: int = _DRAWS) -> dict[str, Any]:
    """The row of one set, of one Held a seed: ours, each rule, and ours less the best rule.

    The best rule is the one that is best on the held parts themselves, which favours rules.
    Intervals are over units and seeds. `told_within`: whether training's word and what came differ
    by no more than their intervals.
    """
    units = np.unique(np.concatenate([one.units for one in helds]))
    parts = [_Part.of(one, units) for one in helds]
    rules = sorted(set.intersection(*(set(one.rules) for one in helds)))
    if not rules:
        raise ValueError(
            f"{helds[0].room} on {helds[0].set}: no rule stands beside it in all seeds"
        )
    rng = np.random.default_rng(len(parts))
    names = ["ours", *rules]
    value = np.array([[_say(part, name) for name in names] for part in parts])
    drawn = np.zeros((draws, len(parts), len(names)))
    for draw in range(draws):
        # The same units for every seed: what they share is no second evidence.
        times = rng.multinomial(len(units), np.full(len(units), 1 / len(units))).astype(np.float64)
        for at, part in enumerate(parts):
            drawn[draw, at] = [_say(part, name, times) for name in names]
    means = drawn.mean(1)

    def over(at: int, less: int | None = None) -> MethodInterval:
        by_seed = value[:, at] - (0 if less is None else value[:, less])
        cloud = means[:, at] - (0 if less is None else means[:, less])
        low, high = np.quantile(cloud, [0.025, 0.975])
        return with_seeds(Interval(float(by_seed.mean()), float(low), float(high)), by_seed)

    best = 1 + int(value[:, 1:].mean(0).argmax())
    ours, lead = over(0), over(0, best)
    told = [float(np.mean([getattr(one, key) for one in helds])) for key in _TOLD]
    within = told[1] <= ours.high and ours.low <= told[2]
    first = helds[0]
    return {
        "room": first.room,
        "set": first.set,
        "role": SETS[first.room][first.set],
        "seeds": len(helds),
        "measure": first.measure,
        "rows": len(first.truth),
        "command": first.command,
        "kept": sorted({one.kept for one in helds}),
        "ours": _three(ours),
        "best_rule": names[best],
        "rule": _three(over(best)),
        "rules": {name: float(value[:, 1 + at].mean()) for at, name in enumerate(rules)},
        "lead": _three(lead),
        "behind": lead.high < 0,
        "ahead": lead.low > 0,
        "told": told,
        "told_within": bool(within),
        "more": {key: float(np.mean([one.more[key] for one in helds])) for key in first.more},
    }


_TOLD = ("told", "told_low", "told_high")


def _say(part: _Part, name: str, times: Floats | None = None) -> float:
    said = part.held.ours if name == "ours" else part.held.rules[name]
    return part.measured(said, times)


def _three(found: Interval) -> list[float]:
    return [float(found.value), float(found.low), float(found.high)]


# --------------------------------------------------------------------------------------------------
# Cells: what was measured is kept, so that a stopped run goes on.


def _place(room: str, name: str, seed: int) -> Path:
    return CELLS / f"{room}-{name}-{seed}.json"


def is_kept(room: str, name: str, seed: int) -> bool:
    """Whether an earlier run measured it."""
    return _place(room, name, seed).exists()


def cell(room: str, name: str, seed: int, make: Callable[[], Any], *, again: bool) -> Any:
    """The plain value that `make` gives, or what an earlier run kept of it."""
    path = _place(room, name, seed)
    if path.exists() and not again:
        return json.loads(path.read_text("utf-8"))
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(made, default=_plain) + "\n")
    return json.loads(path.read_text("utf-8"))


def plain_held(held: Held) -> dict[str, Any]:
    """A Held as JSON."""
    arrays = ("truth", "ours", "units", "groups")
    rest = {key: value for key, value in vars(held).items() if key not in (*arrays, "rules")}
    kept = {key: getattr(held, key) for key in arrays if getattr(held, key) is not None}
    return {
        **{key: dict(value) if key == "more" else value for key, value in rest.items()},
        **{key: np.asarray(value).tolist() for key, value in kept.items()},
        "rules": {key: np.asarray(value).tolist() for key, value in held.rules.items()},
    }


def held_of(plain: Mapping[str, Any]) -> Held:
    """A Held from its JSON."""
    values = dict(plain)
    for key in ("truth", "ours", "units", "groups"):
        if values.get(key) is not None:
            values[key] = np.array(values[key])
    values["rules"] = {key: np.array(value) for key, value in values["rules"].items()}
    return Held(**values)


def data_hash(rows: Sequence[Mapping[str, Any]]) -> str:
    """Of which sets were read, and how many rows of each."""
    return content_hash([[row["room"], row["set"], row.get("rows", 0)] for row in rows])


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
