"""Changes that a person has allowed beforehand, in a file: for runs that nobody watches.

    allowed = load_allowances("nightly.allow.toml")
    allowed(change)                     # True for a change that the file names, and not too often

    [[allow]]
    request = "POST /offers/{}/"        # its shape; of other methods and paths nothing is allowed
    changes = ["share"]                 # fields that may differ from what stood there
    values = {share = "25"}             # and what they must be; left out, any value
    effects = ["commit"]
    most = 3                            # in a run

A change is allowed where the document knows its request and each field that differs, or of which
nobody saw what stood there, is named in `changes`. All else is a no. It is a `Confirmer`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from adwright.agent.document.elements import EffectClass
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.policy.shapes import matching_shape
from adwright.core.config import Count, load_toml, settings
from adwright.core.errors import ConfigError

__all__ = [
    "AllowanceFile",
    "AllowedChanges",
    "ChangeAllowance",
    "allowance_text",
    "load_allowances",
]


@settings
class ChangeAllowance:
    """One kind of change. request: "METHOD /path" with {} for one part of it. changes: names of
    fields that may differ. values: what fields must be. effects: of the element that is acted on.
    most: so often in a run."""

    request: str
    changes: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    effects: tuple[EffectClass, ...] = ("commit",)
    most: Count = 1

    def __post_init__(self) -> None:
        method, _, path = self.request.partition(" ")
        if not method.isupper() or not path.startswith("/"):
            raise ConfigError(
                f"{self.request!r} is no request",
                where="allow.request",
                hint="write METHOD /path, as in POST /offers/{}/",
            )
        if "unknown" in self.effects:
            raise ConfigError(
                "what is of unknown effect cannot be allowed beforehand",
                where="allow.effects",
                hint="say the effect in the document",
            )

    def covers(self, change: PendingChange) -> bool:
        """Whether this change is of the kind."""
        if not change.documented or change.effect not in self.effects:
            return False
        if matching_shape(change.method, change.url, [self.request]) is None:
            return False
        sent = {one.name: one.new for one in change.fields}
        if any(sent.get(name) != value for name, value in self.values.items()):
            return False
        differ = {one.name for one in change.fields if one.old is None or one.old != one.new}
        return differ <= set(self.changes)


@settings
class AllowanceFile:
    """What the file holds."""

    allow: tuple[ChangeAllowance, ...]


class AllowedChanges:
    """Says yes to what is allowed, each as often as it may be; of one run."""

    def __init__(self, allowances: tuple[ChangeAllowance, ...]) -> None:
        self._allowances = allowances
        self._used = [0] * len(allowances)

    def __call__(self, change: PendingChange) -> bool:
        for number, one in enumerate(self._allowances):
            if self._used[number] < one.most and one.covers(change):
                self._used[number] += 1
                return True
        return False


def load_allowances(path: str | Path) -> AllowedChanges:
    """Those of a TOML file. Raises ConfigError naming the file, the key and what to do."""
    return AllowedChanges(load_toml(path, AllowanceFile).allow)


def allowance_text(change: PendingChange, shapes: tuple[str, ...]) -> str:
    """What a file would hold to allow this very change once. shapes: requests that the document
    knows of its element; empty where none of them fits."""
    shape = matching_shape(change.method, change.url, shapes)
    if shape is None or not change.documented or change.effect == "unknown":
        return ""
    differ = [one for one in change.fields if one.old is None or one.old != one.new]
    values = ", ".join(f"{json.dumps(one.name)} = {json.dumps(one.new)}" for one in differ)
    return (
        f"[[allow]]\nrequest = {json.dumps(shape)}\n"
        f"changes = {json.dumps([one.name for one in differ])}\nvalues = {{{values}}}\n"
        f'effects = ["{change.effect}"]\nmost = 1\n'
    )
