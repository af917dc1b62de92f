"""Which nodes somebody needs just now.

A variable is in demand while somebody asks for it, or a needed node reads it. A node is needed
while one of the variables that it makes is in demand and not settled. So what nobody reads is not
run, a call shared by two readers lives as long as one of them does, and what has become of no use
can be ended at once. Each change costs as much as it changes.
"""

from __future__ import annotations

from collections import Counter

from adwright.programs.graph import Graph

__all__ = ["Needs"]


class Needs:
    """The demand in one graph, which may grow: `graph` is replaced then."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.needed: set[str] = set()
        self._demand: Counter[str] = Counter()
        self._settled: set[str] = set()

    def ask(self, variable: str) -> list[str]:
        """Somebody asks for a variable. The nodes that are needed from now on."""
        return self._change(variable, 1)

    def leave(self, variable: str) -> list[str]:
        """One who asked for it does no more. The nodes that are not needed any more."""
        return self._change(variable, -1)

    def settle(self, variable: str) -> list[str]:
        """A variable has its text, or will have none. The nodes that are not needed any more."""
        self._settled.add(variable)
        return self._changed(variable)

    def _change(self, variable: str, by: int) -> list[str]:
        self._demand[variable] += by
        return self._changed(variable)

    def _changed(self, variable: str) -> list[str]:
        """Nodes whose being needed changed because of it, those nearest to it first."""
        found: list[str] = []
        left = [variable]
        for one in left:  # grows while it is walked
            node_id = self.graph.producers.get(one)
            if node_id is None or (node_id in self.needed) == self._is_needed(node_id):
                continue
            found.append(node_id)
            self.needed ^= {node_id}
            by = 1 if node_id in self.needed else -1
            for read in dict.fromkeys(self.graph.nodes[node_id].inputs):
                self._demand[read] += by
                left.append(read)
        return found

    def _is_needed(self, node_id: str) -> bool:
        return any(
            self._demand[one] > 0 and one not in self._settled
            for one in self.graph.nodes[node_id].outputs
        )
