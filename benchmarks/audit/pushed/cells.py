"""The cells of the benchmark of visibility: what is measured once and kept, and in which order.

    coffee_machines-4-T2-0             one attack on one product with one seed, undefended
    coffee_machines-4-T2-0-defended    the text that it found, before each defence
    coffee_machines-facts              a catalogue as it is: scores of facts and texts, its rankings
    ci                                 an audit as continuous integration runs it

Each lies in a file of its name under benchmarks/results/cells/visibility. An attack that is cut off
goes on behind its last step, and a ranking that was made is not made again: both lie in the cache
folder. Delete a file to have the text of its cell scored again, and the cache's folder "visibility"
too to have it sought again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adwright.audit.attacks.gradient import spread_orders
from adwright.audit.catalogue import Order, draw_orders
from adwright.core.atomic import atomic_write_text
from benchmarks.audit.pushed.lab import REQUESTS
from benchmarks.common.result import RESULTS

CELLS = RESULTS / "cells" / "visibility"
SEEDS = (0, 1, 2)
TIERS = ("T0", "T1", "T2", "T3")
TYPED = "T4-facts"
#: Through the stack of defences: by search, and by gradient; of facts, where nothing else is left.
ADAPTIVE = ("T4", "T4-gradient", TYPED)
CONTROLS = ("random", "name", "truthful")
FACTS, CI, DEFENDED = "facts", "ci", "defended"
#: Orders that texts are chosen in, and fresh ones that they are scored in.
CHOSEN, SCORED = 3, 10
_PRODUCTS = 10
#: Templates, names and truthful sentences are the same with every seed.
_DRAWN = ("T1", "T2", "T3", "random", *ADAPTIVE)


@dataclass(frozen=True)
class VisibilityCell:
    """tier: of the attack, a control, FACTS or CI. row: of the product. defended: what was found,
    before each defence."""

    catalogue: str
    tier: str
    row: int = 0
    seed: int = 0
    defended: bool = False

    @property
    def name(self) -> str:
        """As its file is called."""
        if self.tier == CI:
            return CI
        if self.tier == FACTS:
            return f"{self.catalogue}-{FACTS}"
        whole = f"{self.catalogue}-{self.row}-{self.tier}-{self.seed}"
        return f"{whole}-{DEFENDED}" if self.defended else whole

    @property
    def attack(self) -> VisibilityCell:
        """The cell that found the text of a defended one."""
        return replace(self, defended=False)


def visibility_cells(
    only: Sequence[str] = (), seeds: Sequence[int] = SEEDS
) -> Iterator[VisibilityCell]:
    """All of them. only: catalogues, tiers, "defended", products as CATALOGUE-ROW, or names of
    cells; every word narrows the choice of its kind."""
    for cell in _planned(seeds):
        if _wanted(cell, only):
            yield cell


def attack_cells(
    catalogue: str, tiers: Sequence[str], seeds: Sequence[int] = SEEDS
) -> Iterator[VisibilityCell]:
    """Seed by seed, tier by tier, all products."""
    for seed in seeds:
        for tier in tiers:
            if seed == SEEDS[0] or tier in _DRAWN:
                for row in range(_PRODUCTS):
                    yield VisibilityCell(catalogue, tier, row, seed)


def kept(cell: VisibilityCell) -> dict[str, Any] | None:
    """What was found of a cell; None where it was not measured."""
    file = CELLS / f"{cell.name}.json"
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def keep(cell: VisibilityCell, found: Mapping[str, Any]) -> None:
    """Keep what was found, whole or not at all. What stood behind defences of an attack that was
    sought anew is of another text, and goes."""
    CELLS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, ensure_ascii=False) + "\n"
    atomic_write_text(CELLS / f"{cell.name}.json", text)
    if not cell.defended and cell.tier not in (FACTS, CI):
        (CELLS / f"{replace(cell, defended=True).name}.json").unlink(missing_ok=True)


def scoring_orders(catalogue: str) -> tuple[Order, ...]:
    """The orders of a catalogue in which no attack chose a text; each product stands in each place
    once."""
    chosen = {
        order
        for row in range(_PRODUCTS)
        for seed in SEEDS
        for order in spread_orders(10, row, CHOSEN, seed)
    }
    seed = list(REQUESTS).index(catalogue)
    return draw_orders(10, SCORED, seed=seed, purpose="score", balanced=True, avoid=chosen)


def _planned(seeds: Sequence[int]) -> Iterator[VisibilityCell]:
    """What answers most comes first: the coffee machines by gradient, with one seed."""
    first, *others = REQUESTS
    yield from _both(first, ("T2",), seeds[:1], defended=False)
    yield from (VisibilityCell(name, FACTS) for name in REQUESTS)
    yield from _both(first, (*CONTROLS, "T0"), seeds[:1])
    yield from _both(first, ("T2",), seeds[:1], attacks=False)
    yield from _both(first, ADAPTIVE, seeds[:1], defended=False)
    yield VisibilityCell(first, CI)
    yield from _both(first, ("T1", "T3"), seeds[:1])
    for seed in seeds[1:]:
        yield from _both(first, ("T2", "random", "T1", "T3"), (seed,))
        yield from _both(first, ADAPTIVE, (seed,), defended=False)
    for name in others:
        for seed in seeds:
            yield from _both(name, ("T2", *CONTROLS, "T0", "T1", "T3"), (seed,))
            yield from _both(name, ADAPTIVE, (seed,), defended=False)


def _both(
    catalogue: str,
    tiers: Sequence[str],
    seeds: Sequence[int],
    *,
    attacks: bool = True,
    defended: bool = True,
) -> Iterator[VisibilityCell]:
    if attacks:
        yield from attack_cells(catalogue, tiers, seeds)
    if defended:
        for cell in attack_cells(catalogue, tiers, seeds):
            yield replace(cell, defended=True)


def _wanted(cell: VisibilityCell, only: Sequence[str]) -> bool:
    product = f"{cell.catalogue}-{cell.row}"
    kinds = (
        (set(REQUESTS), cell.catalogue),
        ({*TIERS, *ADAPTIVE, *CONTROLS, FACTS, CI}, cell.tier),
        ({f"{name}-{row}" for name in REQUESTS for row in range(_PRODUCTS)}, product),
        ({DEFENDED}, DEFENDED if cell.defended else ""),
    )
    words = set(only)
    if any(words & kind and own not in words for kind, own in kinds):
        return False
    names = words - {word for kind, _ in kinds for word in kind}
    return not names or cell.name in names
