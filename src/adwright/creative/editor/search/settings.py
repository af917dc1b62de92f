"""Settings of the genetic searches, and what any search found.

The defaults are AdSEE's: 30 plans, 5 generations, 10 parents, a fifth of the values mutated; widths
are ours, wide enough for five generations to reach the bounds. AdSEE's code starts within .1 of no
edit and mutates by .01 (`GeneticSettings.as_coded()`, for a direction, whose range is 3), but with
the library and the stepped values that it uses both are drawn from the whole range. Here both are
what they say: so narrow, a search goes nowhere in five generations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from adwright.core.config import Gt, Le, require_count, settings
from adwright.core.errors import ConfigError
from adwright.creative.editor.search.picture_judge import Floats

__all__ = ["Archive", "GeneticSettings", "SearchOutcome", "require_calls"]


@settings
class GeneticSettings:
    """population: plans of the first generation, and of each. generations: after the first.
    parents: kept in each generation. mutated: share of a plan's values that are, at least one.

    init: the first plans lie that far from no edit at most, mutation: and a mutated value that far
    from where it was, as a share of the range of a knob, evenly drawn.
    """

    population: int = 30
    generations: int = 5
    parents: int = 10
    mutated: Annotated[float, Gt(0), Le(1)] = 0.2
    init: Annotated[float, Gt(0), Le(1)] = 1.0
    mutation: Annotated[float, Gt(0), Le(1)] = 0.25

    def __post_init__(self) -> None:
        for name in ("population", "generations", "parents"):
            require_count(f"GeneticSettings.{name}", getattr(self, name))
        if not 2 <= self.parents < self.population:
            raise ConfigError(
                f"{self.parents} parents of {self.population} plans",
                where="GeneticSettings.parents",
                hint="2 or more, and fewer than the population",
            )

    @classmethod
    def as_coded(cls) -> GeneticSettings:
        """With the widths that AdSEE's code asks for: .1 and .01 of a range of 3."""
        return cls(init=0.1 / 3, mutation=0.01 / 3)

    @property
    def calls(self) -> int:
        """Pictures that a search judges, at most."""
        return self.population + self.generations * (self.population - self.parents)


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a search found. method: its name. vector: float [K], the best. score: of it.

    unedited: the score of no edit. calls: pictures judged. history: (calls so far, best score so
    far) after each batch.
    """

    method: str
    vector: Floats
    score: float
    unedited: float
    calls: int
    history: tuple[tuple[int, float], ...] = ()

    @property
    def gain(self) -> float:
        """What the score rose by; 0 where nothing better than no edit was found."""
        return self.score - self.unedited


@dataclass(eq=False)
class Archive:
    """The best of all that a search saw; no edit is among it from the start."""

    vector: Floats
    score: float
    unedited: float = field(init=False)
    history: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unedited = self.score

    def take(self, vectors: Floats, scores: Floats, calls: int) -> None:
        """Note vectors [N, K] with their scores; an equal one that came earlier stays."""
        if len(scores):
            at = int(np.argmax(scores))
            if scores[at] > self.score:
                self.vector, self.score = np.array(vectors[at]), float(scores[at])
        self.history.append((calls, self.score))

    def outcome(self, method: str, calls: int) -> SearchOutcome:
        """As it stands."""
        return SearchOutcome(
            method, self.vector, self.score, self.unedited, calls, tuple(self.history)
        )


def require_calls(calls: int) -> None:
    """Raise ConfigError for a budget that leaves nothing beside the unedited picture."""
    require_count("calls", calls)
    if calls < 2:
        raise ConfigError("one call is of the unedited picture", where="calls", hint="2 or more")
