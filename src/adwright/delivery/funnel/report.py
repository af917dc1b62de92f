"""What was measured of a funnel: rules, sources, parts and orders side by side, as table and JSON.

rule        a simple rule over the whole catalogue
source      what one source finds; its recall is of all that it finds
shortlist   what the sources that serve find together
part        one model alone, over the shortlist
order       an order that was tried, over the shortlist
served      what serves, asked as the service asks it
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ArtifactError
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio

__all__ = ["FunnelLine", "FunnelReport", "LineKind", "measured_line"]

Floats = NDArray[np.float64]
LineKind = Literal["rule", "source", "shortlist", "part", "order", "served"]
_FORMAT = 1


@settings
class FunnelLine:
    """One line. items: how many it lets through, on average. recall: which share of what was taken
    is among them, of an order among its first 50. ndcg: NDCG@10; None where there is no order.
    ahead: of the best rule, in NDCG@10, paired. ms: a request takes, on one thread; None where it
    was not timed."""

    name: str
    kind: LineKind
    items: float
    recall: Interval
    ndcg: Interval | None = None
    ahead: Interval | None = None
    ms: float | None = None


@dataclass(frozen=True)
class FunnelReport:
    """first: one sentence, what serves and how it stands to the rules. notes: what else was
    decided, a sentence each. best_rule: whom `ahead` is about. visits, users: that were asked."""

    first: str
    split: str
    best_rule: str
    lines: tuple[FunnelLine, ...]
    visits: int
    users: int
    protocol: str
    data_hash: str
    seed: int
    draws: int
    notes: tuple[str, ...] = ()
    validation: tuple[FunnelLine, ...] = field(default=())

    def line(self, name: str, kind: LineKind | None = None) -> FunnelLine:
        """The first line of this name. Raises KeyError where there is none."""
        for one in self.lines:
            if one.name == name and kind in (None, one.kind):
                return one
        raise KeyError(name)

    @property
    def served(self) -> FunnelLine:
        """The line of what serves."""
        return next(one for one in self.lines if one.kind == "served")

    def header(self) -> tuple[str, ...]:
        """Names of the columns of `rows`."""
        return ("", "what", "items", "recall", "NDCG@10", f"ahead of {self.best_rule}", "ms")

    def rows(self, lines: Sequence[FunnelLine] | None = None) -> list[tuple[str, ...]]:
        """The lines as text; by default those of `lines`."""
        return [
            (
                one.name,
                one.kind,
                f"{one.items:,.0f}",
                one.recall.text(".3f"),
                "" if one.ndcg is None else one.ndcg.text(),
                "" if one.ahead is None else one.ahead.text("+.4f"),
                "" if one.ms is None else f"{one.ms:.1f}",
            )
            for one in (self.lines if lines is None else lines)
        ]

    def to_json(self) -> str:
        """JSON text; `from_json` gives back an equal report."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> FunnelReport:
        """The report of a JSON text; ArtifactError when the text is not one."""
        try:
            values = json.loads(text)
            if values.pop("format") != _FORMAT:
                raise ValueError("another format number")
            for name in ("lines", "validation"):
                values[name] = tuple(_line(one) for one in values[name])
            return cls(**{**values, "notes": tuple(values["notes"])})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the text is not a report of a funnel: {type(error).__name__}: {error}",
                hint="write it with FunnelReport.to_json of this version",
            ) from error


def measured_line(
    name: str,
    kind: LineKind,
    user: NDArray[np.int64],
    *,
    items: float,
    recall: Floats,
    gain: Floats | None = None,
    rule: Floats | None = None,
    ms: float | None = None,
    draws: int = 500,
    seed: int = 0,
) -> FunnelLine:
    """A line with its intervals by bootstrap over users.

    user: int64 [V]. recall, gain: of each visit [V]. rule: the gain of the best rule, to be ahead
    of.
    """
    _, place = np.unique(user, return_inverse=True)
    number = np.bincount(place).astype(np.float64)

    def sums(values: Floats) -> Floats:
        return np.bincount(place, values).astype(np.float64)

    def mean(values: Floats) -> Interval:
        return bootstrap_ratio(sums(values), number, np.random.default_rng(seed), draws)

    ahead = None
    if gain is not None and rule is not None:
        rng = np.random.default_rng(seed)
        ahead = bootstrap_difference(sums(gain), sums(rule), number, rng, draws)
    ndcg = None if gain is None else mean(gain)
    return FunnelLine(name, kind, items, mean(recall), ndcg, ahead, ms)


def _line(values: Mapping[str, Any]) -> FunnelLine:
    ends = {
        name: None if values[name] is None else Interval(**values[name])
        for name in ("recall", "ndcg", "ahead")
    }
    return FunnelLine(**{**values, **ends})
