"""Say what a program is and what is asked of each part: as a table, and as a picture.

print(explain(program).text)
Path("program.svg").write_text(explain(program).svg)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adwright.programs.build import build_graph, misplaced_texts
from adwright.programs.deduction import Deduction, deduce
from adwright.programs.frontend.drawing import Arrow, Box, BoxKind, draw
from adwright.programs.graph import Chain, Graph, Node
from adwright.programs.limits import ProgramLimits, prompt_tokens
from adwright.programs.program import Program
from adwright.programs.template import Misplaced

__all__ = ["ExplainedNode", "Explanation", "explain"]

_LIMITS = ProgramLimits()
_NONE: Mapping[str, str] = {}
_HEAD = (
    *("node", "reads", "writes", "objective", "group", "calls left", "tokens left"),
    *("reads tokens", "predicted on", "ran on"),
)


@dataclass(frozen=True)
class ExplainedNode:
    """A chain or a step.

    reads, writes: variables. objective, group, depth, critical_tokens: see `Deduced`; objective is
    "" where nobody needs the node. prompt_tokens: that it may read, about. predicted, placed: the
    engine that was chosen for it, and the one that ran it; "" where that is not known.
    """

    node_id: str
    is_step: bool
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    objective: str = ""
    group: str = ""
    depth: int = 0
    critical_tokens: int = 0
    prompt_tokens: int = 0
    predicted: str = ""
    placed: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        """Its row of the table."""
        numbers = (self.depth, self.critical_tokens, self.prompt_tokens)
        told = ("", "", "") if self.is_step or not self.objective else tuple(map(str, numbers))
        return (
            *(self.node_id, ", ".join(self.reads), ", ".join(self.writes)),
            *(self.objective or "not needed", self.group, *told, self.predicted, self.placed),
        )


@dataclass(frozen=True)
class Explanation:
    """A program, explained. nodes: each behind those that it reads from. misplaced: of templates,
    by call."""

    graph: Graph
    deduction: Deduction
    nodes: tuple[ExplainedNode, ...]
    misplaced: Mapping[str, tuple[Misplaced, ...]]

    @property
    def text(self) -> str:
        """A table of the nodes without its empty columns, and what is wrong with templates."""
        rows = self._rows
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in [*lines, *self._warnings])

    def page(self, title: str) -> str:
        """All of it as a page in HTML, in one file. title: of the program."""
        from adwright.metrics.reports.page import page_environment

        header, *rows = self._rows
        outputs = ", ".join(one.variable for one in self.graph.program.outputs) or "nothing"
        chains = len(self.graph.chains)
        return (
            page_environment(__package__)
            .get_template("explained.html")
            .render(
                title=title,
                sentence=f"{chains} calls of a model; {outputs} is asked for. Boxes stand under "
                "those that they read from; those of one group have one colour.",
                picture=self.svg,
                header=header,
                rows=rows,
                warnings=self._warnings,
            )
        )

    @property
    def _rows(self) -> list[tuple[str, ...]]:
        """The table, its head first."""
        rows = [_HEAD, *(one.row for one in self.nodes)]
        filled = [at for at in range(len(_HEAD)) if any(row[at] for row in rows[1:])]
        return [tuple(row[at] for at in filled) for row in rows]

    @property
    def _warnings(self) -> list[str]:
        return [f"call {name}, {one}" for name, found in self.misplaced.items() for one in found]

    @property
    def svg(self) -> str:
        """The graph as SVG: nodes under those that they read from, groups in one colour."""
        graph = self.graph
        given = [*graph.program.values, *graph.program.awaited]
        outputs = {one.variable for one in graph.program.outputs}
        boxes = [Box(f"={one}", (one,), "value") for one in given if graph.readers.get(one)]
        boxes += [_box(one, outputs) for one in self.nodes]
        arrows = [
            Arrow(graph.producers.get(variable, f"={variable}"), node.node_id, variable)
            for node in graph.nodes.values()
            for variable in node.inputs
        ]
        return draw(boxes, arrows)


def explain(
    program: Program,
    *,
    limits: ProgramLimits = _LIMITS,
    predicted: Mapping[str, str] = _NONE,
    placed: Mapping[str, str] = _NONE,
    changing: Iterable[str] = (),
) -> Explanation:
    """Explain a program. predicted, placed: engines, by the id of the chain. changing: variables
    that differ from run to run, see `Template.misplaced`.

    Raises ConfigError as `build_graph`.
    """
    graph = build_graph(program, limits)
    deduction = deduce(graph, {one.variable: [one.objective] for one in program.outputs})
    read = prompt_tokens(graph, limits)
    nodes = tuple(
        _explained(node, deduction, read, predicted, placed) for node in graph.nodes.values()
    )
    misplaced = misplaced_texts(program.calls, frozenset(changing))
    return Explanation(graph, deduction, nodes, misplaced)


def _explained(
    node: Node,
    deduction: Deduction,
    read: Mapping[str, int],
    predicted: Mapping[str, str],
    placed: Mapping[str, str],
) -> ExplainedNode:
    asked = [deduction.get_objective(one) for one in node.outputs]
    objective = next((str(one) for one in asked if one is not None), "")
    node_id = node.node_id
    if not isinstance(node, Chain):
        return ExplainedNode(node_id, True, node.inputs, node.outputs, objective)
    deduced = deduction.chains.get(node_id)
    return ExplainedNode(
        node_id,
        False,
        node.inputs,
        node.outputs,
        objective,
        (deduced.group or "") if deduced else "",
        deduced.depth if deduced else 0,
        deduced.critical_tokens if deduced else 0,
        read[node_id],
        predicted.get(node_id, ""),
        placed.get(node_id, ""),
    )


def _box(node: ExplainedNode, outputs: set[str]) -> Box:
    wanted = any(one in outputs for one in node.writes)
    lines = [node.node_id]
    if node.objective:
        lines.append(f"{node.objective}{', wanted' if wanted else ''}")
    if node.placed or node.predicted:
        lines.append(f"on {node.placed or node.predicted}")
    kind: BoxKind = "step" if node.is_step else "chain" if node.objective else "idle"
    return Box(node.node_id, tuple(lines), kind, node.group)
