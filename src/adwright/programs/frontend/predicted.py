"""Where the calls of a program would run, worked out on simulated engines.

    predicted = predict_placement(program, engines=2)
    print(explain(program, predicted=predicted).text)

The scheduler is the real one; the engines are alike, idle at the beginning and as fast as OpenVINO
GenAI with SmolLM2-135M on one thread. What is predicted is what would follow what, and what would
share an engine, rather than when.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from hashlib import blake2b
from itertools import count

from adwright.core.config import require_count
from adwright.programs.deduction import Deduced, deduce
from adwright.programs.graph import Chain, Graph, Node, ProgramLimits, about_tokens, build_graph
from adwright.programs.program import Program
from adwright.programs.scheduling.engine import EngineCapabilities, LatencyCurve, ReadyChain
from adwright.programs.scheduling.engine_state import EngineState
from adwright.programs.scheduling.scheduler import Fill, ProgramScheduler, Start
from adwright.programs.steps import ConstantText

_CURVE = LatencyCurve((1, 4, 8, 16, 32), (118, 413, 595, 813, 1045), 1590)
_LIMITS = ProgramLimits()


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
