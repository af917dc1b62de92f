"""The cells of the benchmark of visibility as tables of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.audit.report.trials import RankTable
from adwright.audit.targets.target import RankingCost
from benchmarks.audit.pushed.attacks import seller_text
from benchmarks.audit.pushed.cells import VisibilityCell, attack_cells, kept

Floats = NDArray[np.float64]
Found = tuple[VisibilityCell, Mapping[str, Any], Mapping[str, Any]]

#: The mean over five orders, which costs no further ranking: see `averaged_tables`.
AVERAGED = "averaged"


def rank_tables(catalogue: str, rule: str, tiers: Sequence[str]) -> dict[str, RankTable]:
    """The ranks of each tier that was measured, by a rule of the undefended ranker; by "stack" of
    attacks through it."""
    found = {}
    for tier in tiers:
        cells = [
            (cell, got, got["ranks"][rule])
            for cell in attack_cells(catalogue, (tier,))
            if (got := kept(cell)) is not None and rule in got["ranks"]
        ]
        if cells:
            found[tier] = _table(cells)
    return found


def behind_tables(catalogue: str, defence: str, tiers: Sequence[str]) -> dict[str, RankTable]:
    """The same behind a defence, of texts that were found without it."""
    found = {}
    for tier in tiers:
        cells = [
            (cell, got, behind["ranks"][defence])
            for cell in attack_cells(catalogue, (tier,))
            if (got := kept(cell)) is not None
            and (behind := kept(_defended(cell))) is not None
            and defence in behind["ranks"]
        ]
        if cells:
            found[tier] = _table(cells)
    return found


def averaged_tables(tables: Mapping[str, RankTable]) -> dict[str, RankTable]:
    """The same for a ranker that takes the mean rank over five orders (Borda's rule).

    Scoring orders are one order turned round, so that every second of them are five in which each
    product is spread over the places: two such rankings, of the rankings that are there already.
    """
    found = {}
    for tier, one in tables.items():
        clean = np.stack([_borda(one.clean[half::2]) for half in (0, 1)])
        attacked = [[_borda(ranks[half::2]) for half in (0, 1)] for ranks in one.attacked]
        cost = RankingCost()
        found[tier] = RankTable(one.texts, one.rows, clean, np.array(attacked), cost, cost)
    return found


def nets(table: RankTable) -> dict[int, Floats]:
    """Net of each product in each order, mean over its runs: float64 [O]."""
    signs = np.sign(table.before - table.after).astype(np.float64)
    return by_product(table, signs)


def by_product(table: RankTable, values: Floats) -> dict[int, Floats]:
    """Of values of texts [T, O] the mean of each product [O]."""
    return {int(row): values[table.rows == row].mean(0) for row in np.unique(table.rows)}


def difference(one: RankTable, other: RankTable) -> Floats | None:
    """Net of one less that of the other in points [P, O], of the products that both have; None
    where those are fewer than two."""
    a, b = nets(one), nets(other)
    both = sorted(set(a) & set(b))
    return 100 * np.stack([a[row] - b[row] for row in both]) if len(both) > 1 else None


def seeds(table: RankTable) -> int:
    """Runs of the product that has fewest."""
    return int(np.unique(table.rows, return_counts=True)[1].min())


def spent(catalogue: str, tier: str) -> Iterator[Mapping[str, Any]]:
    """What each attack of a tier cost."""
    for cell in attack_cells(catalogue, (tier,)):
        got = kept(cell)
        if got is not None:
            yield got.get("spent", {})


def _table(cells: Sequence[Found]) -> RankTable:
    before = cells[0][2]["clean"]
    other = next((cell.name for cell, _, ranks in cells if ranks["clean"] != before), None)
    if other is not None:
        raise ValueError(f"{other} was scored by another ranker than {cells[0][0].name}: delete it")
    cost = RankingCost()
    return RankTable(
        tuple(seller_text(cell, got) for cell, got, _ in cells),
        np.array([cell.row for cell, _, _ in cells]),
        np.array(before),
        np.array([ranks["attacked"] for _, _, ranks in cells]),
        cost,
        cost,
    )


def _defended(cell: VisibilityCell) -> VisibilityCell:
    return VisibilityCell(cell.catalogue, cell.tier, cell.row, cell.seed, defended=True)


def _borda(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranks [n] by the mean of ranks [O, n]; of equals the earlier row is better."""
    order = np.argsort(ranks.mean(0), kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(1, len(order) + 1)
    return found
