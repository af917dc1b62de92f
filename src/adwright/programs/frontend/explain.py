"""Say what a program is and what is asked of each part: as a table, and as a picture.

print(explain(program).text)
Path("program.svg").write_text(explain(program).svg)
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from html import escape
from itertools import count
from typing import Literal

from adwright.core.config import require_count, settings
from adwright.programs.deduction import Deduced, Deduction, deduce
from adwright.programs.graph import (
    Chain,
    Graph,
    Node,
    ProgramLimits,
    about_tokens,
    build_graph,
    misplaced_texts,
    prompt_tokens,
)
from adwright.programs.program import Program
from adwright.programs.scheduling.engine import EngineCapabilities, LatencyCurve, ReadyChain
from adwright.programs.scheduling.engine_state import EngineState
from adwright.programs.scheduling.scheduler import Fill, ProgramScheduler, Start
from adwright.programs.steps import ConstantText, Misplaced

# --------------------------------------------------------------------------------------------------
# Draw a graph in layers as SVG.
#
# Each box stands one layer under the lowest of those that it reads from. Inside a layer, boxes are
# ordered by where the boxes stand that they read from (the barycentre rule of Sugiyama et al.,
# 1981), which leaves few arrows that cross; no box is moved twice, so a graph is always drawn
# alike.

BoxKind = Literal["chain", "step", "value", "idle"]

# Sizes in pixels.
_LETTER, _LINE, _PAD, _GAP, _LAYER, _EDGE = 6.6, 15, 10, 24, 64, 12
_LONGEST = 40
_INK, _PALE, _WHITE = "#1d2733", "#8a97a5", "#ffffff"
# Okabe and Ito (2008): distinct to colour-blind readers, too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'


@settings
class Box:
    """A box. kind: a chain, a step (rounded), a value (without an outline) or an idle chain, which
    nobody needs (dashed). group: boxes of one group have one colour."""

    box_id: str
    lines: tuple[str, ...]
    kind: BoxKind = "chain"
    group: str = ""

    @property
    def width(self) -> float:
        """In pixels."""
        return max(len(_cut(one)) for one in self.lines) * _LETTER + 2 * _PAD

    @property
    def height(self) -> float:
        """In pixels."""
        return len(self.lines) * _LINE + _PAD


@dataclass(frozen=True)
class Arrow:
    """From one box to another; label: shown where the mouse rests on it."""

    start: str
    end: str
    label: str = ""


def draw(boxes: Sequence[Box], arrows: Iterable[Arrow]) -> str:
    """The boxes and arrows as SVG. Each box stands behind those that arrows lead from to it."""
    arrows = [one for one in arrows if one.start != one.end]
    layers = _layers(boxes, arrows)
    widths = [sum(box.width + _GAP for box in layer) - _GAP for layer in layers]
    width = max(widths, default=0.0) + 2 * _EDGE
    middles: dict[str, float] = {}
    tops: dict[str, float] = {}
    top = float(_EDGE)
    for layer, own in zip(layers, widths, strict=True):
        left = (width - own) / 2
        for box in layer:
            middles[box.box_id], tops[box.box_id] = left + box.width / 2, top
            left += box.width + _GAP
        top += max(box.height for box in layer) + _LAYER
    height = max(top - _LAYER + _EDGE, 2.0 * _EDGE)
    colours = _colours(boxes)
    heights = {box.box_id: box.height for box in boxes}
    shown = [_arrow(one, heights, middles, tops) for one in arrows]
    shown += [_box(box, middles[box.box_id], tops[box.box_id], colours) for box in boxes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" {_FONT}>'
        f'<rect width="100%" height="100%" fill="{_WHITE}"/>{"".join(shown)}</svg>'
    )


def _layers(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> list[list[Box]]:
    before: defaultdict[str, list[str]] = defaultdict(list)
    after: defaultdict[str, list[str]] = defaultdict(list)
    for one in arrows:
        before[one.end].append(one.start)
        after[one.start].append(one.end)
    depth: dict[str, int] = {}
    for box in boxes:
        depth[box.box_id] = max((depth[one] + 1 for one in before[box.box_id]), default=0)
    for box in boxes:  # what is only read stands right above its first reader
        if not before[box.box_id] and after[box.box_id]:
            depth[box.box_id] = min(depth[one] for one in after[box.box_id]) - 1
    layers: list[list[Box]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for box in boxes:
        layers[depth[box.box_id]].append(box)
    place: dict[str, float] = {}
    for layer in layers:
        wanted = {}
        for at, box in enumerate(layer):
            above = [place[one] for one in before[box.box_id]]
            wanted[box.box_id] = sum(above) / len(above) if above else at / max(len(layer), 1)
        layer.sort(key=lambda box: wanted[box.box_id])
        place |= {box.box_id: (at + 0.5) / len(layer) for at, box in enumerate(layer)}
    return layers


def _colours(boxes: Iterable[Box]) -> dict[str, str]:
    groups = dict.fromkeys(box.group for box in boxes if box.group)
    return {group: _COLOURS[at % len(_COLOURS)] for at, group in enumerate(groups)}


def _arrow(
    one: Arrow,
    heights: Mapping[str, float],
    middles: Mapping[str, float],
    tops: Mapping[str, float],
) -> str:
    x, y = middles[one.start], tops[one.start] + heights[one.start]
    to_x, to_y = middles[one.end], tops[one.end]
    half = (y + to_y) / 2
    return (
        f'<path d="M{x:.1f} {y:.1f}C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} '
        f'{to_y - 4:.1f}" fill="none" stroke="{_PALE}"><title>{escape(one.label)}</title></path>'
        f'<path d="M{to_x - 4:.1f} {to_y - 7:.1f}h8l-4 7z" fill="{_PALE}"/>'
    )


def _box(box: Box, middle: float, top: float, colours: Mapping[str, str]) -> str:
    colour = colours.get(box.group, _INK)
    lines = "".join(
        f'<text x="{middle:.1f}" y="{top + _LINE * (at + 1):.1f}" text-anchor="middle" '
        f'fill="{_INK}" font-weight="{"bold" if at == 0 else "normal"}">{escape(_cut(line))}</text>'
        for at, line in enumerate(box.lines)
    )
    stroke = "none" if box.kind == "value" else colour
    dash = ' stroke-dasharray="4 3"' if box.kind == "idle" else ""
    return (
        f'<rect x="{middle - box.width / 2:.1f}" y="{top:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{12 if box.kind == "step" else 3}" fill="{_WHITE}" '
        f'stroke="{stroke}" stroke-width="1.6"{dash}/>{lines}'
    )


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


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
        from adwright.metrics.reports.report import page_environment

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
        boxes += [_explain_box(one, outputs) for one in self.nodes]
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


def _explain_box(node: ExplainedNode, outputs: set[str]) -> Box:
    wanted = any(one in outputs for one in node.writes)
    lines = [node.node_id]
    if node.objective:
        lines.append(f"{node.objective}{', wanted' if wanted else ''}")
    if node.placed or node.predicted:
        lines.append(f"on {node.placed or node.predicted}")
    kind: BoxKind = "step" if node.is_step else "chain" if node.objective else "idle"
    return Box(node.node_id, tuple(lines), kind, node.group)


# --------------------------------------------------------------------------------------------------
# Where the calls of a program would run, worked out on simulated engines.
#
#     predicted = predict_placement(program, engines=2)
#     print(explain(program, predicted=predicted).text)
#
# The scheduler is the real one; the engines are alike, idle at the beginning and as fast as
# OpenVINO GenAI with SmolLM2-135M on one thread. What is predicted is what would follow what, and
# what would share an engine, rather than when.

_CURVE = LatencyCurve((1, 4, 8, 16, 32), (118, 413, 595, 813, 1045), 1590)


def predict_placement(program: Program, *, engines: int = 1) -> dict[str, str]:
    """The engine, e0 or another, of each chain that an output needs, by its id. Raises ConfigError
    as `build_graph`."""
    require_count("engines", engines)
    graph = build_graph(program)
    deduced = deduce(graph, {one.variable: [one.objective] for one in program.outputs}).chains
    chains = {
        one.node_id: _ready(graph, one, deduced[one.node_id])
        for one in graph.chains
        if one.node_id in deduced
    }
    if not chains:
        return {}
    longest = max(one.prompt_tokens + one.new_tokens for one in chains.values())
    can = EngineCapabilities(
        ("model",), kv_tokens=max(100_000, 2 * longest), context_length=max(8192, longest)
    )
    states = {f"e{at}": EngineState(f"e{at}", can, _CURVE) for at in range(engines)}
    scheduler = ProgramScheduler(list(states.values()))
    # Of each chain that is not ready, those whose texts it reads.
    waits = {one: {name for name, _ in _reads(graph, graph.nodes[one])} for one in chains}
    placed: dict[str, str] = {}
    numbers = count()
    #: What happens when: the prompt of a chain was read, or it is over, on an engine; or a look.
    events: list[tuple[float, int, str, str, str]] = [(0.0, next(numbers), "look", "", "")]
    left = dict(chains)
    while events:
        now, _, kind, chain_id, engine_id = heapq.heappop(events)
        if kind == "read":
            scheduler.prefilled(chain_id, engine_id, now, None)
        elif kind == "over":
            scheduler.done(chain_id, engine_id, now)
            left.pop(chain_id, None)
            for names in waits.values():
                names.discard(chain_id)
        reads = sum(one.prompt_tokens for one in left.values())
        scheduler.outlook("program", "", reads, sum(one.new_tokens for one in left.values()))
        for ready in [one for one, names in waits.items() if not names]:
            del waits[ready]
            scheduler.ready(chains[ready], now)
        for decision in scheduler.decide(now):
            if isinstance(decision, Start | Fill):
                chain, state = decision.chain, states[decision.engine_id]
                if isinstance(decision, Start):
                    placed[chain.chain_id] = state.engine_id
                told = chain.chain_id, state.engine_id
                read = now + _CURVE.prefill_seconds(state.unread_tokens)
                over = read + chain.new_tokens * _CURVE.step_seconds(state.batch)
                heapq.heappush(events, (read, next(numbers), "read", *told))
                heapq.heappush(events, (over, next(numbers), "over", *told))
        timer = scheduler.next_timer()
        if timer is not None and timer > now:
            heapq.heappush(events, (timer, next(numbers), "look", "", ""))
    return placed


def _ready(graph: Graph, chain: Chain, deduced: Deduced) -> ReadyChain:
    """The chain as the scheduler sees it, with texts that stand for what they will be."""
    name, total = "", 0
    prefix, totals = list[int](), list[int]()
    for key, tokens in _segments(graph, chain) or [("nothing", 1)]:
        name = blake2b(f"{name}\n{key}".encode(), digest_size=8).hexdigest()
        total += tokens
        prefix.append(int(name, 16))
        totals.append(total)
    return ReadyChain(
        *(chain.node_id, "program", "", "model", None, tuple(prefix), tuple(totals)),
        new_tokens=chain.settings.max_tokens,
        objective=deduced.objective,
        group=deduced.group,
        depth=deduced.depth,
        critical_tokens=deduced.critical_tokens,
        arrived=0.0,
    )


def _segments(graph: Graph, chain: Chain) -> list[tuple[str, int]]:
    """What it reads, and how many tokens each part has. A text of several calls, by way of a step,
    is one part of each."""
    found = []
    for piece in chain.prompt:
        if isinstance(piece, ConstantText):
            found.append((f"text {piece.text}", max(1, about_tokens(piece.text))))
            continue
        given = graph.program.values.get(piece.variable)
        tokens = _LIMITS.awaited_tokens if given is None else max(1, about_tokens(given))
        feeders = dict(_feeders(graph, piece.variable))
        found += feeders.items() or [(f"variable {piece.variable}", tokens)]
    return found


def _reads(graph: Graph, node: Node) -> Iterator[tuple[str, int]]:
    """The chains whose texts a chain reads."""
    for name in node.inputs:
        yield from _feeders(graph, name)


def _feeders(graph: Graph, variable: str) -> Iterator[tuple[str, int]]:
    """The chains whose text it is made of, and the tokens that each writes."""
    left, seen = [variable], {variable}
    for one in left:  # grows while it is walked
        node = graph.get_producer(one)
        if isinstance(node, Chain):
            yield node.node_id, node.settings.max_tokens
        elif node is not None:
            left += [each for each in node.inputs if each not in seen]
            seen.update(node.inputs)
