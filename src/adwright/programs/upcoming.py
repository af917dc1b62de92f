"""What will be read soon: of chains that wait, what they begin with and how far off they are.

An engine that knows keeps what is read next, and gives up first what is read last or never (steps
to execution: KVFlow, Pan et al., 2025).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from adwright.programs.graph import Chain, Graph

__all__ = ["UpcomingChain", "upcoming_chains"]


@dataclass(frozen=True)
class UpcomingChain:
    """A chain that is needed and not ready. segments: what is known of its prompt. steps: chains
    that have to end before it, one after another; those that run are among them."""

    chain: Chain
    segments: tuple[str, ...]
    steps: int


def upcoming_chains(
    graph: Graph, needed: Container[str], texts: Mapping[str, str]
) -> tuple[UpcomingChain, ...]:
    """The chains that wait, each behind those that it reads from.

    needed: ids of the nodes that are needed. texts: of the variables that are set. A chain that
    waits for a text from outside alone is 0 steps off.
    """
    ends: dict[str, int] = {}
    found: list[UpcomingChain] = []
    for node_id, node in graph.nodes.items():
        if node_id not in needed:
            continue
        missing = [one for one in node.inputs if one not in texts]
        steps = max((ends.get(one, 0) for one in missing), default=0)
        if isinstance(node, Chain):
            if missing:
                found.append(UpcomingChain(node, node.known_segments(texts), steps))
            steps += 1
        ends.update(dict.fromkeys(node.outputs, steps))
    return tuple(found)
