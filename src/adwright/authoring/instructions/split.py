"""Rows divided by product into those to train on, to choose by and to test with.

    side = split_of("pricerunner-17", seed=7, valid=0.1, test=0.1)      # always the same
    parts, dropped = divided(rows, seed=7, valid=0.1, test=0.1)

All rows of a cluster are on one side, and which one follows from its name alone, so that data that
grow later keep their sides. Products of different clusters may still have nearly the same title:
such rows are taken out of validation and test, where they would be remembered instead of answered,
and are named.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from adwright.authoring.instructions.draws import share
from adwright.authoring.instructions.minhash import even_text, first_alike, signatures
from adwright.authoring.instructions.rows import InstructionRow
from adwright.core.errors import ConfigError

Side = Literal["train", "valid", "test"]
SIDES: tuple[Side, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class LeakedRow:
    """A row that was taken out because a row of an earlier side has nearly its title. side: where
    it was. id, like: of the two rows. title, like_title: what is alike."""

    side: str
    id: str
    like: str
    title: str
    like_title: str


def split_of(cluster: str, *, seed: int, valid: float, test: float) -> Side:
    """The side of a cluster, by its name and `seed`. valid, test: shares of the clusters.

    Raises ConfigError for shares that leave nothing to train on.
    """
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise ConfigError(
            "valid and test are shares that leave some to train on",
            where=f"valid {valid}, test {test}",
            hint="0.1 and 0.1",
        )
    place = share(seed, "split", cluster)
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def divided(
    rows: Sequence[InstructionRow],
    *,
    seed: int = 0,
    valid: float = 0.1,
    test: float = 0.1,
    alike: float = 0.9,
    held_out: Collection[str] = (),
) -> tuple[dict[Side, list[InstructionRow]], list[LeakedRow]]:
    """Rows by side, in their order, and those taken out.

    alike: estimated Jaccard similarity of two titles from which on they are nearly the same; of
    two sides, the later one (train, valid, test) loses the row. held_out: tasks of which every row
    goes to test, for what a model does without having been tuned on it.
    """
    parts: dict[Side, list[InstructionRow]] = {side: [] for side in SIDES}
    for row in rows:
        own = split_of(row.cluster, seed=seed, valid=valid, test=test)
        parts["test" if row.task in held_out else own].append(row)
    leaked = _leaked(parts, alike, held_out)
    out = {one.id for one in leaked}
    kept = {side: [row for row in parts[side] if row.id not in out] for side in SIDES}
    return kept, leaked


def _leaked(
    parts: dict[Side, list[InstructionRow]], alike: float, held_out: Collection[str]
) -> list[LeakedRow]:
    """Rows of valid and test whose title is nearly one of an earlier side."""
    every = [
        (place, row)
        for place, side in enumerate(SIDES)
        for row in parts[side]
        if row.product.title.strip() and row.task not in held_out
    ]
    # One of each title: earlier sides come first, so that they keep it.
    first = dict[str, tuple[int, InstructionRow]]()
    for place, row in every:
        first.setdefault(even_text(row.product.title), (place, row))
    titles = list(first)
    near = first_alike(signatures(titles), alike).tolist()
    like = {title: first[titles[at]] for title, at in zip(titles, near, strict=True)}
    found = []
    for place, row in every:
        before, other = like[even_text(row.product.title)]
        if before < place:
            found.append(
                LeakedRow(SIDES[place], row.id, other.id, row.product.title, other.product.title)
            )
    return found
