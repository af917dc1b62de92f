"""Where the calls of a program would run, worked out on simulated engines.

    predicted = predict_placement(program, engines=2)
    print(explain(program, predicted=predicted).text)

The scheduler is the real one; the engines are alike, idle at the beginning and as fast as OpenVINO
GenAI with SmolLM2-135M on one thread. What is predicted is what would follow what, and what would
share an engine, rather than when.
"""

from __future__ import annotations

from collections.abc import Iterator

from adwright.core.config import require_count
from adwright.programs.deduction import deduce
from adwright.programs.graph import Chain, Graph, ProgramLimits, about_tokens, build_graph
from adwright.programs.program import Program
from adwright.programs.scheduling.engine import EngineCapabilities, LatencyCurve
from adwright.programs.scheduling.scheduler import ProgramScheduler
from adwright.programs.simulation import Segment, SimCall, SimProgram, SimulatedEngine, simulate
from adwright.programs.steps import ConstantText

_CURVE = LatencyCurve((1, 4, 8, 16, 32), (118, 413, 595, 813, 1045), 1590)
_LIMITS = ProgramLimits()


def predict_placement(program: Program, *, engines: int = 1) -> dict[str, str]:
    """The engine, e0 or another, of each chain that an output needs, by its id. Raises ConfigError
    as `build_graph`."""
    require_count("engines", engines)
    graph = build_graph(program)
    wanted = {one.variable: [one.objective] for one in program.outputs}
    deduced = deduce(graph, wanted).chains
    calls = tuple(
        SimCall(
            chain.node_id,
            tuple(_segments(graph, chain)) or (Segment("nothing", 1),),
            chain.settings.max_tokens,
            deduced[chain.node_id].objective,
        )
        for chain in graph.chains
        if chain.node_id in deduced
    )
    if not calls:
        return {}
    longest = max(sum(one.tokens for one in call.segments) + call.new_tokens for call in calls)
    can = EngineCapabilities(
        ("model",), kv_tokens=max(100_000, 2 * longest), context_length=max(8192, longest)
    )
    made = [SimulatedEngine(f"e{at}", can, _CURVE) for at in range(engines)]
    scheduler = ProgramScheduler([one.state() for one in made])
    (outcome,) = simulate([SimProgram("program", "", 0.0, calls)], made, scheduler).outcomes
    return {name: call.engine_id for name, call in outcome.calls.items() if call.engine_id}


def _segments(graph: Graph, chain: Chain) -> Iterator[Segment]:
    """What it reads. A text of several calls, by way of a step, is one segment of each."""
    for piece in chain.prompt:
        if isinstance(piece, ConstantText):
            yield Segment(f"text {piece.text}", max(1, about_tokens(piece.text)), public=True)
            continue
        given = graph.program.values.get(piece.variable)
        tokens = _LIMITS.awaited_tokens if given is None else max(1, about_tokens(given))
        feeders = dict(_feeders(graph, piece.variable))
        if not feeders:
            yield Segment(f"variable {piece.variable}", tokens)
        for node_id, written in feeders.items():
            yield Segment(node_id, written)


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
