"""Who imports whom, read from the source without running it.

For the picture of the floors, and for benchmarks/common/house.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: Modules by name, each with those that it imports.
Graph = Mapping[str, Set[str]]


@dataclass(frozen=True)
class Module:
    """A Python file. name: dotted; of a package's `__init__` that of the package."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        """The package that its relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @cached_property
    def text(self) -> str:
        """What is in the file."""
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The same, parsed."""
        return ast.parse(self.text)

    @property
    def counts(self) -> bool:
        """Whether it is a file with code: all but an `__init__` that only says what it is for."""
        return self.path.name != "__init__.py" or len(self.tree.body) > 1

    def imports(self, known: Set[str]) -> set[str]:
        """Those of `known` that the file imports, at its head or inside a function."""
        found = {
            name if name in known else name.rpartition(".")[0] for name in self._imported_names()
        }
        return (found & known) - {self.name}

    def _imported_names(self) -> Iterator[str]:
        """Dotted; of `from a import b` a.b, which may be a module or something in one."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = node.module or ""
                if node.level:
                    parts = self.package.split(".")
                    above = parts[: len(parts) - node.level + 1]
                    start = ".".join([*above, *([start] if start else [])])
                yield from (f"{start}.{alias.name}" for alias in node.names)


def read_modules(folder: Path, name: str) -> dict[str, Module]:
    """All modules of a package by name, in the order of their names.

    folder: of the package; name: its name, "" where its files are no package but scripts that
    import each other by their bare names.
    """
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        dotted = ".".join([name, *parts] if name else parts)
        found[dotted] = Module(dotted, path)
    return dict(sorted(found.items()))


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of two modules or more that import each other in a ring, each sorted."""
    return sorted(sorted(group) for group in _components(graph) if len(group) > 1)


def levels(graph: Graph) -> int:
    """Modules of the longest chain in which each imports the next; a ring counts as one."""
    depth: dict[str, int] = {}
    # A component comes after those that it imports.
    for group in _components(graph):
        below = {depth[one] for name in group for one in graph[name] if one in depth}
        depth |= dict.fromkeys(group, 1 + max(below, default=0))
    return max(depth.values(), default=0)


def _components(graph: Graph) -> list[list[str]]:
    """Strongly connected components by Tarjan's algorithm, what is imported first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name] & graph.keys()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            cut = stack.index(name)
            found.append(stack[cut:])
            del stack[cut:]

    for name in graph:
        if name not in index:
            visit(name)
    return found


def within(graph: Graph, names: Iterable[str]) -> dict[str, set[str]]:
    """The part of `graph` that lies among `names`."""
    chosen = set(names)
    return {name: set(graph[name] & chosen) for name in sorted(chosen)}
