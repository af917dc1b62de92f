"""All layers as one defence, each of which can be switched off, with what each did and cost.

    stack = DefenceStack(StackConfig(), guard=guard)
    stack.clean(listing)                           # as DefendedTarget asks for it
    for one in stack.inspect(shop.listings): print(one.in_words())
    target = stack.target(model_target, facts=rule_target)

In this order: normalisation; the guard, which leaves out what alarms; typed extraction; then, for a
target, each listing by itself, the bounded term, and the mean over orders. All that cleans looks at
one listing alone, so nothing that a seller writes reaches how another's text is read, and the
bounded term keeps its certificate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.defences.bounded import BoundedTarget
from adwright.audit.defences.extraction import ExtractionCleaner, FactSchema
from adwright.audit.defences.guard.guard import TextGuard, TextVerdict
from adwright.audit.defences.guarding import GuardCleaner
from adwright.audit.defences.isolated import IsolatedTarget
from adwright.audit.defences.normalise import NormaliseCleaner, Normalised, normalised
from adwright.audit.targets.averaged import AveragedTarget
from adwright.audit.targets.defended import DefendedTarget, ListingCleaner
from adwright.audit.targets.target import Target
from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError


@settings
class StackConfig:
    """Which layers there are. normalise, guard, extract: on texts. isolated: each listing in a
    prompt of its own. eps: the bound on the term of the texts, None for none; it needs `isolated`.
    orders: over which a ranking is the mean, 1 for none; only where `isolated` is off, since
    listings that are read alone have no order."""

    normalise: bool = True
    guard: bool = True
    extract: bool = False
    isolated: bool = True
    eps: float | None = 0.5
    orders: Count = 1

    def __post_init__(self) -> None:
        if self.eps is not None and not self.isolated:
            raise ConfigError(
                "a bounded term needs each listing by itself",
                where="StackConfig.eps",
                hint="leave isolated on, or set eps to None",
            )
        if self.orders > 1 and self.isolated:
            raise ConfigError(
                "listings that are read alone have no order to average over",
                where="StackConfig.orders",
                hint="set orders to 1, or isolated to False and eps to None",
            )


@dataclass(frozen=True)
class LayerCost:
    """layer: its name. texts: that it changed. cpu_seconds: that it took."""

    layer: str
    texts: int
    cpu_seconds: float


@dataclass(frozen=True)
class Inspection:
    """What the stack says of one text. before, after: the text. seen: what normalising changed.
    verdict: of the guard, None where it is off."""

    name: str
    field: str
    before: str
    after: str
    seen: Normalised
    verdict: TextVerdict | None

    @property
    def alarm(self) -> bool:
        """Whether the guard alarmed, or something was hidden from people or posed as letters."""
        posing = bool(self.seen.hidden) or "look-alikes" in self.seen.changes
        return posing or (self.verdict is not None and self.verdict.alarm)

    def in_words(self) -> str:
        """What a person has to know, one line."""
        said = []
        if self.seen.changes:
            said.append(f"changed for people's eyes: {', '.join(self.seen.changes)}")
        if self.seen.hidden:
            said.append(f"hidden: {' | '.join(self.seen.hidden)[:200]!r}")
        if self.verdict is not None and self.verdict.alarm:
            said.append(self.verdict.in_words().partition(": ")[2])
        if not said:
            said.append("nothing found")
        return f"{self.name}, {self.field}: {'; '.join(said)}"


class DefenceStack:
    """Layers that clean, in order. `costs` adds up what each took and changed."""

    def __init__(
        self,
        config: StackConfig,
        *,
        guard: TextGuard | None = None,
        schema: FactSchema | None = None,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """Raises ConfigError where a layer that is on lacks its guard or schema."""
        for on, given, what in ((config.guard, guard, "guard"), (config.extract, schema, "schema")):
            if on and given is None:
                raise ConfigError(
                    f"this layer needs a {what}", where=what, hint="give one, or switch it off"
                )
        self.config = config
        self._cpu = cpu
        self._guard = GuardCleaner(guard) if config.guard and guard is not None else None
        self._layers: list[ListingCleaner] = [NormaliseCleaner()] if config.normalise else []
        if self._guard is not None:
            self._layers.append(self._guard)
        if config.extract and schema is not None:
            self._layers.append(ExtractionCleaner(schema))
        self._costs = {one.name: LayerCost(one.name, 0, 0.0) for one in self._layers}

    @property
    def name(self) -> str:
        """The layers that are on."""
        return ", ".join(one.name for one in self._layers) or "nothing"

    @property
    def costs(self) -> tuple[LayerCost, ...]:
        """What each layer changed and took so far."""
        return tuple(self._costs.values())

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing as a model may read it."""
        for layer in self._layers:
            began = self._cpu()
            cleaned = layer.clean(listing)
            changed = sum(cleaned.texts[name] != text for name, text in listing.texts.items())
            known = self._costs[layer.name]
            self._costs[layer.name] = LayerCost(
                layer.name, known.texts + changed, known.cpu_seconds + self._cpu() - began
            )
            listing = cleaned
        return listing

    def inspect(self, listings: Sequence[ShopListing]) -> list[Inspection]:
        """What is to be said of each text, listing by listing."""
        found = []
        for one in listings:
            after = self.clean(one)
            seen = {field: normalised(text) for field, text in one.texts.items()}
            read = replace(one, texts={field: each.text for field, each in seen.items()})
            read = read if self.config.normalise else one
            verdicts = self._guard.verdicts(read) if self._guard is not None else []
            by_field = {each.text.field: each for each in verdicts}
            found += [
                Inspection(
                    one.name, field, text, after.texts[field], seen[field], by_field.get(field)
                )
                for field, text in one.texts.items()
            ]
        return found

    def target(self, target: Target, *, facts: Target | None = None) -> Target:
        """The target behind all layers. facts: what scores the facts under a bounded term, by
        default the target itself, which then reads listings without texts."""
        inner = target
        if self.config.isolated:
            alone = IsolatedTarget(target)
            inner = alone
            if self.config.eps is not None:
                inner = BoundedTarget(target if facts is None else facts, alone, self.config.eps)
        elif self.config.orders > 1:
            inner = AveragedTarget(target, self.config.orders)
        return DefendedTarget(inner, self) if self._layers else inner
