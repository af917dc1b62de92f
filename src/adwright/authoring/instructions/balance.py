"""How many rows of each kind are kept, so that no task and no pair of parties outweighs another.

    shares = water_filled([900, 40, 300], most=600)      # [280, 40, 280]
    kept = balanced(rows, most=2000)

A task gets at most `most` rows. Within it, rows are told apart by the parties whose features they
show (an ad with an occasion reads seller and platform, one without reads the seller alone), and by
their source: each kind gets the same number, and what a small kind leaves over goes to the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from adwright.authoring.instructions.draws import drawn
from adwright.authoring.instructions.rows import InstructionRow
from adwright.authoring.tasks.task import Party


def water_filled(counts: Sequence[int], most: int) -> list[int]:
    """How much of each count is kept so that together they are at most `most`, each the same or, of
    the small ones, all; 0 stands for all of all.

    >>> water_filled([900, 40, 300], 600), water_filled([5, 5, 5], 4)
    ([280, 40, 280], [2, 1, 1])
    """
    if not most or sum(counts) <= most:
        return list(counts)
    kept, left = [0] * len(counts), most
    order = sorted(range(len(counts)), key=lambda at: counts[at])
    for done, at in enumerate(order):
        each, over = divmod(left, len(order) - done)
        # Of equal shares, what does not divide goes to the first kinds.
        ahead = sum(1 for later in order[done + 1 :] if later < at)
        kept[at] = min(counts[at], each + (1 if over > ahead else 0))
        left -= kept[at]
    return kept


def balanced(
    rows: Sequence[InstructionRow], *, most: int = 0, seed: int = 0
) -> list[InstructionRow]:
    """At most `most` rows of each task, evenly over the parties that they read and their sources.

    Which rows of a kind are kept is drawn by `seed` and the row's id; the order stays. 0 keeps all.
    """
    kinds: defaultdict[str, defaultdict[tuple[object, ...], list[InstructionRow]]]
    kinds = defaultdict(lambda: defaultdict(list))
    for row in rows:
        kinds[row.task][row.read, row.source, row.teacher].append(row)
    kept = set[str]()
    for own in kinds.values():
        groups = [own[key] for key in sorted(own, key=str)]
        for group, count in zip(
            groups, water_filled([len(one) for one in groups], most), strict=True
        ):
            by_draw = sorted(group, key=lambda row: drawn(seed, "balance", row.id))
            kept.update(row.id for row in by_draw[:count])
    return [row for row in rows if row.id in kept]


def interleaved(rows: Sequence[InstructionRow]) -> dict[Party, dict[str, int]]:
    """In how many rows each party's features are read, and written.

    The mix is interleaved, as LLaMA-E asks, where no number is 0.
    """
    found: dict[Party, dict[str, int]] = {
        party: {"read": 0, "written": 0} for party in ("customer", "seller", "platform")
    }
    for row in rows:
        for party in row.read:
            found[party]["read"] += 1
        found[row.written]["written"] += 1
    return found
