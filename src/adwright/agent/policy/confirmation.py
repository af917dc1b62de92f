"""Which writes a person must confirm, and what the person is shown: the request itself.

    change.sentence()
    # "destructive: POST /offers/7/ of 'Spring 10', on 'Offer'; 2 of this run; reason: '' -> 'old'"

What is shown comes from the pending request, from what the page says of the record and from what
stood in the fields before, never from a model's words. Tokens against forgery are left out, secrets
are masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, quote_plus, urlsplit

from adwright.agent.document.elements import WRITING, EffectClass
from adwright.agent.drivers.protocol import PendingRequest, ScreenNode
from adwright.agent.policy.origins import PolicyRefusalError, matching_shape, origin_of
from adwright.core.atomic import atomic_write_text, locked
from adwright.core.clock import Clock
from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError, ResourceError

_TOKENS = re.compile(r"csrf|xsrf|authenticity_token|__requestverification|nonce", re.I)
_MOST_SHOWN = 200
#: What a browser sends for a box that is ticked, where the page does not say; unticked it sends
#: nothing.
_TICKED = ("on", "y", "yes", "true")


@settings
class ConfirmRules:
    """ask: effects that are always asked about. bulk: from this write of a run on, each is asked
    about, whatever its effect."""

    ask: tuple[EffectClass, ...] = ("message", "spend", "destructive", "unknown")
    bulk: Count = 5


@dataclass(frozen=True)
class FieldChange:
    """A field of a request. old: what stood there when the page came; None where nobody saw. new:
    empty also for a box that was ticked and is no longer sent."""

    name: str
    old: str | None
    new: str


@settings
class PendingChange:
    """A write that waits for a yes. element: that the script acts on. number: it is the number-th
    write of this run. documented: the document knows this request of this element. record: what the
    pages say of what it is done to, empty where nobody saw. asks: what a dialog of the page asked,
    which was told yes. doubts: what the script does otherwise than its task reads."""

    element: str
    effect: EffectClass
    method: str
    url: str
    fields: tuple[FieldChange, ...]
    number: int
    documented: bool
    record: str = ""
    asks: str = ""
    doubts: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The change in one line."""
        return "; ".join(self.lines())

    def lines(self) -> tuple[str, ...]:
        """What is sent, then each field that differs or of which nobody saw what stood there; long
        values are shortened, and signs that hide are spelled."""
        path = urlsplit(self.url)
        place = path.path + (f"?{path.query}" if path.query else "")
        what = f"{self.effect}: {self.method} {_shown(place)}"
        parts = [f"{what} {_shown(self.record)}" if self.record else what]
        parts[0] += f"; {self.number} of this run"
        for one in self.fields:
            if one.old is None:
                parts.append(f"{_shown(one.name)} = {_shown(one.new, quoted=True)}")
            elif one.old != one.new:
                new = _shown(one.new, quoted=True)
                parts.append(f"{_shown(one.name)}: {_shown(one.old, quoted=True)} -> {new}")
        if self.asks:
            parts.append(f"the page asks {_shown(self.asks, quoted=True)}")
        parts += [f"in doubt: {_shown(one)}" for one in self.doubts]
        if not self.documented:
            parts.append("this request is not in the document")
        return tuple(parts)


#: Asked by the gate; true is a yes. It may take as long as a person does.
Confirmer: TypeAlias = Callable[[PendingChange], bool]


def pending_change(
    request: PendingRequest,
    *,
    element: str,
    effect: EffectClass,
    before: Mapping[str, str],
    number: int,
    documented: bool,
    record: str = "",
    asks: str = "",
    doubts: tuple[str, ...] = (),
    mask: Callable[[str], str] = str,
) -> PendingChange:
    """What `request` would change. before: names of fields and what stood in them."""
    fields = tuple(
        FieldChange(name, mask(before[name]) if name in before else None, mask(value))
        for name, value in request.fields.items()
        if not _TOKENS.search(name)
    )
    if request.fields:
        # An unticked box is not sent, and that is the change.
        unticked = (name for name in before if name not in request.fields)
        fields += tuple(
            FieldChange(name, mask(before[name]), "")
            for name in unticked
            if before[name] in _TICKED and not _TOKENS.search(name)
        )
    if not request.fields and request.body:
        body = request.body[: 4 * _MOST_SHOWN].decode("utf-8", errors="replace")
        fields = (FieldChange("body", None, mask(body)),)
    url = mask(request.url)
    return PendingChange(
        element,
        effect,
        request.method,
        url,
        fields,
        number,
        documented,
        mask(record),
        mask(asks),
        tuple(map(mask, doubts)),
    )


def must_ask(change: PendingChange, rules: ConfirmRules) -> bool:
    """Whether a person must say yes to this change."""
    if change.effect not in WRITING:
        return True  # a write by what should not write
    if change.asks or change.doubts:
        return True  # the app itself would ask a person, or the task may mean another
    return change.effect in rules.ask or change.number >= rules.bulk or not change.documented


def _shown(text: str, *, quoted: bool = False) -> str:
    short = text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "..."
    visible = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in short)
    return f"'{visible}'" if quoted else visible


# --------------------------------------------------------------------------------------------------
# How much may be written and spent, in a run and in a day, counted in a file before it happens.
#
#     caps = CapLedger(folder / "caps.json", CapRules(writes_a_day=100), clock=SystemClock())
#     caps.reserve("POST", url, fields, before)      # None, or why not
#
# What is reserved stays counted, even where the request fails afterwards: a cap may stop too early,
# never too late. Several processes may share the file. A file that cannot be read refuses all
# writes.


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


# --------------------------------------------------------------------------------------------------
# Secrets: a script knows their names, this knows their values, and only the right field gets one.
#
#     keeper = SecretKeeper((SecretRule("admin", ("https://shop.example",),
# ("sign_in__password",)),),
#                           value_of=lambda name: os.environ[f"SECRET_{name.upper()}"])
#     keeper.fill("admin", url, "sign_in__password", node)     # the value, or ScriptError
#     keeper.mask(text)                                        # with <secret:admin> for the value
#
# A value is read when it is needed; traces, reports and confirmations see masked text only.

#: A shorter one would mask half of every page.
_SHORTEST = 4


@settings
class SecretRule:
    """Where a secret may go. origins: as in `OriginRules`. elements: names in the document. masked:
    only into fields that hide what is typed; switch it off for user names and codes."""

    name: str
    origins: tuple[str, ...]
    elements: tuple[str, ...]
    masked: bool = True

    def __post_init__(self) -> None:
        for one in self.origins:
            if origin_of(one) is None:
                raise ConfigError(f"{one!r} is no origin", where=f"SecretRule {self.name}")
        if not self.origins or not self.elements:
            raise ConfigError(
                "a secret needs an origin and an element",
                where=f"SecretRule {self.name}",
                hint="say where it may be typed",
            )


class SecretKeeper:
    """value_of: gives the value of a secret by its name; raises KeyError where there is none."""

    def __init__(
        self, rules: tuple[SecretRule, ...] = (), *, value_of: Callable[[str], str] | None = None
    ) -> None:
        self._rules = {one.name: one for one in rules}
        self._value_of = value_of
        self._used: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"SecretKeeper({', '.join(sorted(self._rules))})"

    def fill(self, name: str, url: str, element: str, node: ScreenNode) -> str:
        """The value of a secret for a field of the page at `url`.

        Raises PolicyRefusalError where it must not go there.
        """
        rule = self._rules.get(name)
        if rule is None:
            raise _refused(f"there is no secret {name!r}", "add a SecretRule for it")
        origin = origin_of(url)
        if origin is None or origin not in {origin_of(one) for one in rule.origins}:
            raise _refused(f"the secret {name} is not for {origin}", "list the origin in its rule")
        if element not in rule.elements:
            raise _refused(f"the secret {name} is not for ${element}", "list the element")
        if rule.masked and not node.secret:
            raise _refused(f"${element} shows what is typed", "say masked=False in its rule")
        if node.frame and origin_of(node.frame) not in (None, origin):
            raise _refused(f"${element} is in a frame of {origin_of(node.frame)}", "")
        try:
            value = "" if self._value_of is None else self._value_of(name)
        except KeyError:
            value = ""
        if len(value) < _SHORTEST:
            raise _refused(f"the secret {name} has no value of {_SHORTEST} or more characters", "")
        self._used[name] = value
        return value

    def mask(self, text: str) -> str:
        """`text` without the secrets that were filled in, as they are and as URLs write them."""
        for name, value in sorted(self._used.items(), key=lambda one: -len(one[1])):
            for form in {value, quote(value, safe=""), quote_plus(value)}:
                text = text.replace(form, f"<secret:{name}>")
        return text


def _refused(what: str, hint: str) -> PolicyRefusalError:
    return PolicyRefusalError("secret", what, hint=hint)
