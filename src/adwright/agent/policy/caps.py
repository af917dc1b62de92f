"""How much may be written and spent, in a run and in a day, counted in a file before it happens.

    caps = CapLedger(folder / "caps.json", CapRules(writes_a_day=100), clock=SystemClock())
    caps.reserve("POST", url, fields, before)      # None, or why not

What is reserved stays counted, even where the request fails afterwards: a cap may stop too early,
never too late. Several processes may share the file. A file that cannot be read refuses all writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from adwright.agent.policy.shapes import matching_shape
from adwright.core.atomic import atomic_write_text, locked
from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.core.errors import ConfigError, ResourceError

__all__ = ["AmountRule", "CapLedger", "CapRules", "read_amount"]


@settings
class AmountRule:
    """The field of a request that holds money, or what else is to be capped: its change counts, or
    its value where nobody saw what stood there. request: a shape, "POST /campaigns/{}/"."""

    request: str
    field: str


@settings
class CapRules:
    """Limits. writes: requests that may change something. change: the sum of what the amounts
    change, up or down; None for no cap, and then `amounts` are not read."""

    writes_a_run: int = 20
    writes_a_day: int = 200
    change_a_run: Decimal | None = None
    change_a_day: Decimal | None = None
    amounts: tuple[AmountRule, ...] = ()

    def __post_init__(self) -> None:
        for name in ("writes_a_run", "writes_a_day", "change_a_run", "change_a_day"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"{name} cannot be negative", where=f"CapRules.{name}")


def read_amount(text: str) -> Decimal | None:
    """The number in a field of money: digits, a point, perhaps a minus and a currency sign."""
    plain = text.strip().strip("$€£ ").replace(",", "")
    body = plain.removeprefix("-")
    digits = body.replace(".", "", 1)
    if not digits.isascii() or not digits.isdigit() or len(digits) > 30:
        return None
    return Decimal(plain)


class CapLedger:
    """Counts one run; the day is counted in the file, by the clock's day in UTC."""

    def __init__(self, path: str | Path, rules: CapRules, *, clock: Clock) -> None:
        self._path = Path(path)
        self._rules = rules
        self._clock = clock
        self._writes = 0
        self._change = Decimal(0)

    def reserve(
        self, method: str, url: str, fields: Mapping[str, str], before: Mapping[str, str]
    ) -> str | None:
        """Count a write. None where it may be sent; else why not, and nothing is counted."""
        change = self._change_of(method, url, fields, before)
        if change is None:
            return "the amount in the request cannot be read"
        rules = self._rules
        if self._writes + 1 > rules.writes_a_run:
            return f"the run has made its {rules.writes_a_run} writes"
        if rules.change_a_run is not None and self._change + change > rules.change_a_run:
            return f"the run would change amounts by {self._change + change}"
        try:
            refused = self._reserve_day(change)
        except (ResourceError, OSError, ValueError, ArithmeticError) as error:
            return f"the count of the day cannot be kept: {error}"
        if refused is None:
            self._writes += 1
            self._change += change
        return refused

    def _change_of(
        self, method: str, url: str, fields: Mapping[str, str], before: Mapping[str, str]
    ) -> Decimal | None:
        rules, total = self._rules, Decimal(0)
        if rules.change_a_run is None and rules.change_a_day is None:
            return total
        for one in rules.amounts:
            if matching_shape(method, url, [one.request]) is None:
                continue
            new = read_amount(fields.get(one.field, ""))
            old = read_amount(before[one.field]) if before.get(one.field, "") else Decimal(0)
            if new is None or old is None:
                return None
            total += abs(new - old)
        return total

    def _reserve_day(self, change: Decimal) -> str | None:
        rules, day = self._rules, self._clock.now().date().isoformat()
        with locked(self._path.with_name(f".{self._path.name}.lock")):
            kept = self._read()
            same = kept.get("day") == day
            writes = int(kept["writes"]) if same else 0
            total = Decimal(kept["change"]) if same else Decimal(0)
            if str(kept.get("day", "")) > day:
                return "the count is of a later day than the clock says"
            if writes + 1 > rules.writes_a_day:
                return f"the day has had its {rules.writes_a_day} writes"
            if rules.change_a_day is not None and total + change > rules.change_a_day:
                return f"the day would change amounts by {total + change}"
            new = {"day": day, "writes": writes + 1, "change": str(total + change)}
            atomic_write_text(self._path, json.dumps(new) + "\n")
        return None

    def _read(self) -> dict[str, Any]:
        try:
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            return {}
        kept = json.loads(text)
        if not isinstance(kept, dict) or not {"day", "writes", "change"} <= kept.keys():
            raise ValueError(f"{self._path.name} is no count of a day")
        return kept
