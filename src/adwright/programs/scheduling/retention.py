"""What becomes of a prefix that no running chain reads: kept where it is, moved out, or let go.

A program's graph says in how many steps a prefix is read again. One that the next step reads is
pinned; one that is read later is moved to the host's memory where bringing it back is faster than
reading it anew, and room is short; one that nobody will read any more is freed. What is said of no
prefix is left to the order in which the index lets go (`radix`). Only engines whose contexts are
ours obey; for the others it is what the index expects of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from adwright.programs.scheduling.engine_state import EngineState
from adwright.programs.scheduling.ready_chain import UpcomingPrefix

__all__ = ["KeepDecision", "keep_decisions"]


class KeepDecision(NamedTuple):
    """What to do with a prefix on an engine."""

    engine_id: str
    prefix: int
    action: Literal["pin", "spill", "free"]


def keep_decisions(
    upcoming: Iterable[UpcomingPrefix],
    engines: Iterable[EngineState],
    *,
    restore_rate: float = math.inf,
    short: float = 0.9,
) -> list[KeepDecision]:
    """Decide for each prefix of which something was said, wherever it is held.

    restore_rate: tokens a second that come back from the host's memory. short: room is short from
    this share of the engine's memory on.
    """
    soonest: dict[int, int | None] = {}
    for each in upcoming:
        known = soonest.get(each.prefix)
        if each.prefix not in soonest or known is None:
            soonest[each.prefix] = each.steps
        elif each.steps is not None:
            soonest[each.prefix] = min(known, each.steps)
    found = []
    for engine in engines:
        if not engine.alive or not engine.capabilities.fork:
            continue
        scarce = engine.held_tokens > short * engine.capabilities.kv_tokens
        pays = restore_rate > engine.curve.prefill
        for prefix, steps in soonest.items():
            node = engine.index.node(prefix)
            if node is None:
                continue
            if steps is None:
                # Somebody else may still come back to it.
                if not node.holders and not node.children and not node.due and not node.hits:
                    found.append(KeepDecision(engine.engine_id, prefix, "free"))
            elif steps <= 1:
                found.append(KeepDecision(engine.engine_id, prefix, "pin"))
            elif scarce and pays and not node.holders:
                found.append(KeepDecision(engine.engine_id, prefix, "spill"))
    return found
