"""Who pays for ads, and on which terms: when, to whom, how much and how often.

    spring = Campaign.of({"campaign_id": "spring", "start": start, "budget": 100.0, "price": 0.002})
    spring.serves(now, {"page": "home"}, spent=99.999)        # no money for another one is left

Amounts are in the currency of whoever pays, and exact to a millionth of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any, Literal

from adwright.core.errors import ValueInvalidError

#: What costs the price of a campaign: each impression, or each click.
PricedKind = Literal["impression", "click"]
Allowed = tuple[str | float, ...]
#: Hours of a cap that names none.
_CAP_HOURS = 24.0
_MICROS = 1e6


def micros(amount: float) -> int:
    """The amount in millionths, as it is counted."""
    return round(amount * _MICROS)


def amount(micros: int) -> float:
    """The amount of so many millionths."""
    return micros / _MICROS


@dataclass(frozen=True)
class Campaign:
    """start, end: its flight, from the first instant to the first one after it; None is no end.
    budget: what it may spend in all. price: of each impression or click, as `per` says; None:
    nothing is counted. cap: most impressions to one person in any `cap_hours`. targeting: key of a
    request's context -> the values with which the ads may be shown."""

    campaign_id: str
    start: datetime
    end: datetime | None = None
    type: str | None = None
    budget: float | None = None
    price: float | None = None
    per: str = "impression"  # a PricedKind
    cap: int | None = None
    cap_hours: float = _CAP_HOURS
    targeting: Mapping[str, Allowed] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Campaign:
        """The campaign of a row of CAMPAIGN_SCHEMA; what is null is as usual."""
        given = {name: value for name, value in row.items() if value is not None}
        return cls(**{**given, "targeting": targeting_of(row.get("targeting"))})

    def serves(self, time: datetime, context: Mapping[str, str | float], spent: float) -> bool:
        """Whether its ads may be shown at that moment to somebody who comes in that context, after
        it has spent so much."""
        in_flight = self.start <= time and (self.end is None or time < self.end)
        left = None if self.budget is None else micros(self.budget) - micros(spent)
        affords = left is None or left >= max(1, micros(self.price or 0))
        return in_flight and affords and self.targets(context)

    def targets(self, context: Mapping[str, str | float]) -> bool:
        """Whether the context has an allowed value under each key of the targeting."""
        return all(context.get(key) in allowed for key, allowed in self.targeting.items())


def targeting_of(text: str | None, *, row: int | None = None) -> dict[str, Allowed]:
    """What a column of targeting says; nothing for null. Raises ValueInvalidError with the row for
    what is no JSON object of lists of texts and finite numbers."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(_is_allowed(values) for values in found.values()):
        raise ValueInvalidError(
            "targeting must be a JSON object of lists, of texts or finite numbers",
            row=row,
            column="targeting",
            value=text,
            hint='write {"page": ["home", "search"]}, or leave it empty for everybody',
        )
    return {key: tuple(values) for key, values in found.items()}


def _is_allowed(values: object) -> bool:
    return (
        isinstance(values, list)
        and len(values) > 0
        and all(
            isinstance(one, str)
            or (isinstance(one, int | float) and type(one) is not bool and isfinite(one))
            for one in values
        )
    )
