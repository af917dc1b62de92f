"""What the outputs that are wanted ask of each call before them.

Objectives are pushed back from the outputs through the nodes that make them (Parrot: Lin et al.,
OSDI 2024, section 5.2). A node is asked by each of its readers and serves the strictest. It passes
on what it is asked kind by kind, the strictest of each, since a first token within a second may ask
more of what comes before than a deadline of a minute does, which is the stricter kind. Steps pass
on what they are asked as it is, since they take no time.

Times are divided by expected work. With above(c) the tokens that are written on the longest way up
to the end of chain c, and own(c) those that it writes itself, a reader c with a deadline of d
seconds needs what it reads by

    d (above(c) - own(c)) / above(c)

so that on the longest way each call has time in proportion to what it writes.

Chains that feed one reader and do not wait for each other are a task group: nothing is gained where
one of them ends before the last one does. Who feeds several readers belongs to the group of the one
with the strictest objective.

What no output needs is not deduced, nor is it run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from adwright.core.config import settings
from adwright.programs.graph import Chain, Graph, Node
from adwright.programs.program import Objective, strictest

_NOTHING: AbstractSet[str] = frozenset()


@dataclass(frozen=True)
class Deduced:
    """What is asked of a chain.

    group: its task group, named after the node or output that it feeds; None where it is alone.
    depth: calls on the longest way to an output that is wanted, this one included: 1 for the last.
    critical_tokens: that are written on the way on which most are, its own included, if each call
        writes as much as it may.
    """

    objective: Objective
    group: str | None
    depth: int
    critical_tokens: int


@dataclass(frozen=True)
class Deduction:
    """What is asked of all that is needed. chains: by id. objectives: of variables."""

    chains: Mapping[str, Deduced]
    objectives: Mapping[str, Objective]

    def get_objective(self, variable: str) -> Objective | None:
        """What is asked of a variable; None where nobody needs it."""
        return self.objectives.get(variable)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The chains of each task group."""
        found: dict[str, tuple[str, ...]] = {}
        for chain_id, each in self.chains.items():
            if each.group is not None:
                found[each.group] = (*found.get(each.group, ()), chain_id)
        return found


def needed_nodes(
    graph: Graph, wanted: Iterable[str], known: AbstractSet[str] = _NOTHING
) -> set[str]:
    """Ids of the nodes that must run for the variables `wanted`, where those in `known` are there
    already."""
    found: set[str] = set()
    left = [variable for variable in wanted if variable not in known]
    while left:
        node_id = graph.producers.get(left.pop())
        if node_id is not None and node_id not in found:
            found.add(node_id)
            left += [one for one in graph.nodes[node_id].inputs if one not in known]
    return found


def deduce(
    graph: Graph, wanted: Mapping[str, Iterable[Objective]], known: AbstractSet[str] = _NOTHING
) -> Deduction:
    """Deduce what is asked of each chain. wanted: what each variable that is asked for is asked
    for by, one or more objectives. known: variables that are there already, through which nothing
    is asked."""
    needed = needed_nodes(graph, wanted, known)
    nodes = [node for node_id, node in graph.nodes.items() if node_id in needed]
    above = _above(graph, nodes, known)
    told = {variable: _of_each_kind(asked) for variable, asked in wanted.items()}
    behind: dict[str, tuple[int, int]] = {}
    depths: dict[str, tuple[int, int]] = {}
    for node in reversed(nodes):
        asked = _of_each_kind(each for one in node.outputs for each in told.get(one, ()))
        ways = [behind.get(one, (0, 0)) for one in node.outputs]
        depth, tokens = max(one[0] for one in ways), max(one[1] for one in ways)
        share, here = 1.0, (depth, tokens)
        if isinstance(node, Chain):
            here = (depth + 1, tokens + _own(node))
            share = (above[node.node_id] - _own(node)) / above[node.node_id]
        depths[node.node_id] = here
        for variable in node.inputs:
            # What is known already, and given texts, are asked for nothing.
            if variable in known or graph.producers.get(variable) is None:
                continue
            passed = asked
            if isinstance(node, Chain):
                # Before a call with nothing to wait for there are only steps, which take no time.
                passed = tuple(one.of_producers(share or 1.0) for one in asked)
            told[variable] = _of_each_kind((*told.get(variable, ()), *passed))
            before = behind.get(variable, (0, 0))
            behind[variable] = (max(before[0], here[0]), max(before[1], here[1]))
    objectives = {variable: strictest(asked) for variable, asked in told.items() if asked}
    groups = _groups(graph, nodes, wanted, objectives, depths, known)
    chains = {
        node.node_id: Deduced(
            objectives[node.output], groups.get(node.node_id), *depths[node.node_id]
        )
        for node in nodes
        if isinstance(node, Chain)
    }
    return Deduction(chains, objectives)


def _own(chain: Chain) -> int:
    return chain.settings.max_tokens


def _of_each_kind(asked: Iterable[Objective]) -> tuple[Objective, ...]:
    """The strictest of each kind."""
    found: dict[str, Objective] = {}
    for one in sorted(asked, key=lambda each: each.strictness):
        found.setdefault(one.kind, one)
    return tuple(found.values())


def _above(graph: Graph, nodes: Iterable[Node], known: AbstractSet[str]) -> dict[str, int]:
    """Tokens that are written on the longest way up to the end of each node."""
    found: dict[str, int] = {}
    for node in nodes:
        feeders = (graph.producers.get(one) for one in node.inputs if one not in known)
        most = max((found[one] for one in feeders if one is not None), default=0)
        found[node.node_id] = most + (_own(node) if isinstance(node, Chain) else 0)
    return found


def _groups(
    graph: Graph,
    nodes: Iterable[Node],
    wanted: Iterable[str],
    objectives: Mapping[str, Objective],
    depths: Mapping[str, tuple[int, int]],
    known: AbstractSet[str],
) -> dict[str, str]:
    """The task group of each chain that is not alone.

    Sets of chains are bits of a number, so that thousands of them are united at once.
    """
    ids: list[str] = []
    feeding: dict[str, int] = {}  # of a variable: the chains whose text it is made of
    upstream: dict[str, int] = {}  # and all chains before those
    offers: list[tuple[Objective, int, str, int]] = []
    for node in nodes:
        inputs = [one for one in node.inputs if one not in known]
        fed = node.fed_by if isinstance(node, Chain) else node.inputs
        feeders = _union(feeding, (one for one in fed if one not in known))
        before = _union(upstream, inputs)
        if isinstance(node, Chain):
            objective = objectives[node.output]
            offers.append((objective, depths[node.node_id][0], node.node_id, feeders & ~before))
            bit = 1 << len(ids)
            ids.append(node.node_id)
            feeding[node.output], upstream[node.output] = bit, before | _union(feeding, inputs)
        else:
            feeding.update(dict.fromkeys(node.outputs, feeders))
            upstream.update(dict.fromkeys(node.outputs, before))
    for variable in wanted:
        objective = objectives[variable]
        apart = feeding.get(variable, 0) & ~upstream.get(variable, 0)
        offers.append((objective, -1, variable, apart))
    return _chosen(offers, ids)


def _union(sets: Mapping[str, int], variables: Iterable[str]) -> int:
    found = 0
    for one in variables:
        found |= sets.get(one, 0)
    return found


def _chosen(offers: list[tuple[Objective, int, str, int]], ids: list[str]) -> dict[str, str]:
    """The strictest objective has the first choice; then who has most calls behind it."""
    offers.sort(key=lambda each: (each[0].strictness, -each[1]))
    found: dict[str, str] = {}
    free = (1 << len(ids)) - 1
    for _, _, name, members in offers:
        alike = members & free
        if alike.bit_count() > 1:
            found |= {ids[at]: name for at in _bits(alike)}
            free &= ~alike
    return found


def _bits(members: int) -> Iterator[int]:
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


# --------------------------------------------------------------------------------------------------
# What will be read soon: of chains that wait, what they begin with and how far off they are.
#
# An engine that knows keeps what is read next, and gives up first what is read last or never (steps
# to execution: KVFlow, Pan et al., 2025).


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


# --------------------------------------------------------------------------------------------------
# Prefixes: what prompts begin with in common, told by hashes at the borders of variables.
#
#     h(border) = hash(seed, text up to the border)
#
# where the seed holds whoever may share (the tenant, or a domain of several), the model, the
# adapter, and the version of what makes tokens of texts. Two prompts have the same hash at a border
# only where all of these and every token before it are the same. How the tokens before it were
# divided into variables plays no part: a text that stands in one prompt as a constant and in the
# other as a variable is shared, too.
#
# Equal texts are equal tokens, so that texts stand for their tokens where only these are counted.
#
# A tenant without the seed of another cannot tell what that one's hashes stand for.

_BYTES = 16


@settings
class PrefixSeed:
    """Who shares prefixes, and of what.

    domain: the tenant; or the name of a domain, for prefixes that several tenants may share.
    public: whether it is such a domain: a tenant's own name never reaches one.
    version: of the tokenizer and the chat template, or whatever else makes tokens of texts.
    """

    domain: str
    model: str
    adapter: str | None = None
    version: str = ""
    public: bool = False

    def key(self) -> bytes:
        """The bytes that a hash begins with: no two seeds have the same."""
        parts = [self.domain, self.model, self.adapter, self.version, self.public]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=32).digest()


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of a prompt at its borders, the shortest first.

    hashes: one a border, 128 bits. tokens: up to each border, ascending; the last is all of them.
    """

    hashes: tuple[int, ...]
    tokens: tuple[int, ...]


def text_prefixes(
    segments: Iterable[str], count: Callable[[str], int], seed: PrefixSeed
) -> Prefixes:
    """The prefixes of a prompt. segments: cut at the borders of variables, see `Chain.segments`.
    count: tokens of a segment by itself. A border behind no new token is none."""
    running = hashlib.blake2b(seed.key(), digest_size=_BYTES, person=b"text")
    hashes: list[int] = []
    counts: list[int] = []
    total = 0
    for segment in segments:
        if not segment:
            continue
        running.update(segment.encode())
        if own := count(segment):
            total += own
            hashes.append(int.from_bytes(running.digest()))
            counts.append(total)
    return Prefixes(tuple(hashes), tuple(counts))
