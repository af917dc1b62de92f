"""The graph of a program: who makes a variable, who reads it, and what can be scheduled.

A call is cut behind every place where the model writes. The parts are its chains: each begins with
what the chain before it read and wrote, reads its own texts behind that, and writes one variable.

    Write an ad for {{product}}. {{ad:output}} Now shorten it. {{short:output}}
    |---------- chain 1 -----------------------|
                                               |------- chain 2 -----------------|

A chain can start once the variables of its own part are set and the chain before it has ended. So a
chain, like a step, is a node of the graph, and every edge is a variable: the second chain reads
what the first one wrote.

`build.build_graph` makes graphs and refuses what is none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from adwright.core.config import Count, closest_name, settings
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.engine.hf_tokens import check_bounds
from adwright.programs.program import NativeStep, Program, SemanticCall
from adwright.programs.steps import (
    NAME,
    ConstantText,
    Misplaced,
    OutputSchema,
    Template,
    check_arity,
)

_DEFAULT = GenerationConfig()


@dataclass(frozen=True)
class VariableText:
    """A piece of a prompt that is the text of a variable."""

    variable: str


@dataclass(frozen=True)
class Chain:
    """A part of a call that ends where the model writes: the unit of scheduling.

    pieces: of the whole call, the variables that its outputs write in their places. start, end:
        its own part of them, in which its output does not stand; it begins behind the output of the
        chain before. after: the id of that chain; None for the first.
    placeholder, output: where it writes, and into which variable.
    """

    call: SemanticCall
    placeholder: str
    output: str
    pieces: tuple[ConstantText | VariableText, ...]
    start: int
    end: int
    after: str | None = None

    @property
    def node_id(self) -> str:
        """Its place in the graph: the call and the placeholder, "writer.ad"."""
        return f"{self.call.name}.{self.placeholder}"

    @property
    def settings(self) -> GenerationConfig:
        """How its output is generated."""
        return self.call.settings.get(self.placeholder, _DEFAULT)

    @property
    def own(self) -> tuple[ConstantText | VariableText, ...]:
        """What it reads behind what the chain before it read and wrote."""
        return self.pieces[self.start : self.end]

    @property
    def prompt(self) -> tuple[ConstantText | VariableText, ...]:
        """All that it reads, from the beginning of the call on."""
        return self.pieces[: self.end]

    @property
    def reads(self) -> tuple[str, ...]:
        """The variables of all that it reads, each once, as they come."""
        return tuple(
            dict.fromkeys(one.variable for one in self.prompt if isinstance(one, VariableText))
        )

    @cached_property
    def fed_by(self) -> tuple[str, ...]:
        """The variables of its own part, each once, as they come."""
        return tuple(
            dict.fromkeys(one.variable for one in self.own if isinstance(one, VariableText))
        )

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The variables that it waits for: those, behind what the chain before it writes."""
        before = self.pieces[self.start - 1] if self.start else None
        first = (before.variable,) if isinstance(before, VariableText) else ()
        return tuple(dict.fromkeys((*first, *self.fed_by)))

    @property
    def outputs(self) -> tuple[str, ...]:
        """What it writes, as of any node."""
        return (self.output,)

    def known_segments(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        """What is known of the prompt by now: its segments before the first text that is not."""
        found: list[str] = []
        for one in self.prompt:
            if isinstance(one, VariableText) and one.variable not in texts:
                break
            found.append(one.text if isinstance(one, ConstantText) else texts[one.variable])
        return tuple(found)

    def segments(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        """The prompt, cut at the borders of variables. texts: of each variable."""
        return tuple(
            one.text if isinstance(one, ConstantText) else texts[one.variable]
            for one in self.prompt
        )


Node = Chain | NativeStep


@dataclass(frozen=True)
class Graph:
    """A program whose parts fit.

    nodes: by id, each behind those that it reads from. producers: the node that makes a variable;
    those that are given or awaited have none. readers: the nodes that read a variable, in order.
    """

    program: Program
    nodes: Mapping[str, Node]
    producers: Mapping[str, str]
    readers: Mapping[str, Sequence[str]]

    @property
    def variables(self) -> tuple[str, ...]:
        """All of them: given, awaited and made."""
        return (*self.program.values, *self.program.awaited, *self.producers)

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The chains, each behind those that it reads from."""
        return tuple(one for one in self.nodes.values() if isinstance(one, Chain))

    def get_producer(self, variable: str) -> Node | None:
        """The node that makes a variable; None for one that is given or awaited."""
        found = self.producers.get(variable)
        return None if found is None else self.nodes[found]

    def get_consumers(self, variable: str) -> tuple[Node, ...]:
        """The nodes that read a variable, in order."""
        return tuple(self.nodes[one] for one in self.readers.get(variable, ()))


# --------------------------------------------------------------------------------------------------
# How large a program may be. All of it is looked at before anything runs.

#: Characters of a token, as of ordinary English.
_CHARACTERS = 4


@settings
class ProgramLimits:
    """The most that a program, with all that is added to it while it runs, may have.

    calls, steps, nodes: of the graph; each output of a call is a node. variables: given and
    awaited ones. edges: variables that nodes read, added up. fan_out: readers of one variable.
    depth: nodes on the longest way. template_characters: of one template. text_characters: of one
    variable, whoever sets it. all_characters: of all variables together. awaited_tokens: that one
    awaited variable is taken to have. context_tokens: of one prompt and its answer. total_tokens:
    read and written by all calls, if each writes as much as it may.
    """

    calls: Count = 1000
    steps: Count = 2000
    nodes: Count = 3000
    variables: Count = 3000
    edges: Count = 20_000
    fan_out: Count = 1000
    depth: Count = 1000
    template_characters: Count = 200_000
    text_characters: Count = 1 << 20
    all_characters: Count = 1 << 26
    awaited_tokens: Count = 1024
    context_tokens: Count = 131_072
    total_tokens: Count = 20_000_000


def require_within(what: str, found: int, most: int, *, where: str = "program") -> None:
    """Raise ConfigError, with both numbers, where `found` is above the limit `most`."""
    if found > most:
        raise ConfigError(
            f"it has {found:,} {what}, at most {most:,} are taken",
            where=where,
            hint="make it smaller, or divide it into several programs",
        )


def about_tokens(text: str) -> int:
    """How many tokens a text has, about: no tokenizer is asked, engines count exactly."""
    return -(-len(text) // _CHARACTERS)


def prompt_tokens(graph: Graph, limits: ProgramLimits) -> dict[str, int]:
    """Of each chain, how many tokens it may have to read, about: every answer before it is as long
    as it may be."""
    program = graph.program
    texts = {name: about_tokens(text) for name, text in program.values.items()}
    texts |= dict.fromkeys(program.awaited, limits.awaited_tokens)
    found: dict[str, int] = {}
    for node in graph.nodes.values():
        if not isinstance(node, Chain):
            # A step makes no more of its texts than they are, but for a separator or number each.
            whole = sum(texts[one] + 1 for one in node.inputs)
            texts |= dict.fromkeys(node.outputs, whole)
            continue
        before = 0
        if node.after is not None:
            before = found[node.after] + _written(graph, node.after)
        found[node.node_id] = before + _read(node, texts)
        texts[node.output] = node.settings.max_tokens
    return found


def check_tokens(graph: Graph, limits: ProgramLimits) -> None:
    """Raise ConfigError where a prompt with its answer may not fit the context, or all of them
    together are too many."""
    prompts = prompt_tokens(graph, limits)
    total = 0
    for node_id, read in prompts.items():
        tokens = read + _written(graph, node_id)
        where = f"chain {node_id}"
        require_within("tokens to read and write", tokens, limits.context_tokens, where=where)
        total += tokens
    require_within("tokens to read and write", total, limits.total_tokens)


def _written(graph: Graph, node_id: str) -> int:
    node = graph.nodes[node_id]
    return node.settings.max_tokens if isinstance(node, Chain) else 0


def _read(chain: Chain, texts: Mapping[str, int]) -> int:
    """Tokens of its own part."""
    return sum(
        about_tokens(one.text) if isinstance(one, ConstantText) else texts[one.variable]
        for one in chain.own
    )


# --------------------------------------------------------------------------------------------------
# Build the graph of a program, and refuse what is none with its place and what to do about it.

_LIMITS = ProgramLimits()
_SHOWN = 40
#: Names among which the one that was meant is looked for.
_LOOKED_AT = 500


def build_graph(program: Program, limits: ProgramLimits = _LIMITS) -> Graph:
    """The graph of a program.

    Raises ConfigError, with the call, step or variable: for a name that is none or stands twice, a
    template that cannot be read, a variable that two make or nobody does, a cycle, a schema that
    cannot be used, and whatever is above a limit.
    """
    require_within("calls", len(program.calls), limits.calls)
    require_within("steps", len(program.steps), limits.steps)
    given = len(program.values) + len(program.awaited)
    require_within("given and awaited variables", given, limits.variables)
    require_within("outputs", len(program.outputs), limits.nodes + limits.variables)
    names = [*(one.name for one in program.calls), *(one.name for one in program.steps)]
    _check_names("call or step", names)
    for name, text in program.values.items():
        check_text(name, text, limits)
    nodes = list(_nodes(program, limits))
    require_within("chains and steps", len(nodes), limits.nodes)
    producers = _producers(program, nodes)
    readers = _readers(program, nodes, producers)
    require_within("variables read", sum(map(len, readers.values())), limits.edges)
    for variable, found in readers.items():
        require_within("readers", len(found), limits.fan_out, where=f"variable {variable}")
    graph = Graph(program, _in_order(nodes, producers, limits), producers, readers)
    _check_outputs(graph)
    check_tokens(graph, limits)
    return graph


def check_text(name: str, text: str, limits: ProgramLimits) -> None:
    """Raise ConfigError where a text cannot be that of the variable `name`."""
    where = f"variable {name}"
    require_within("characters", len(text), limits.text_characters, where=where)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "the text has half a character, a surrogate",
            where=where,
            hint="read it as UTF-8",
        ) from error


def misplaced_texts(
    calls: Iterable[SemanticCall], changing: frozenset[str] = frozenset()
) -> dict[str, tuple[Misplaced, ...]]:
    """Of each call in whose template text that changes stands badly, where: see
    `Template.misplaced`. changing: variables that differ from run to run."""
    found: dict[str, tuple[Misplaced, ...]] = {}
    for call in calls:
        template = Template.parse(call.template, where=f"call {call.name}, template")
        differ = frozenset(one for one in template.inputs if call.variable(one) in changing)
        if misplaced := template.misplaced(differ):
            found[call.name] = misplaced
    return found


def _nodes(program: Program, limits: ProgramLimits) -> Iterator[Node]:
    templates: dict[str, Template] = {}
    for call in program.calls:
        where = f"call {call.name}"
        if call.template not in templates:
            most = limits.template_characters
            size = len(call.template)
            require_within("characters", size, most, where=f"{where}, template")
            templates[call.template] = Template.parse(call.template, where=f"{where}, template")
        yield from _chains(call, templates[call.template], where)
    for step in program.steps:
        where = f"step {step.name}"
        check_arity(step.function, len(step.inputs), len(step.outputs), where=where)
        yield step


def _chains(call: SemanticCall, template: Template, where: str) -> Iterator[Chain]:
    """Cut a call behind each of its outputs; what stands behind the last is read by nobody."""
    slots = {one.name for one in template.slots}
    _check_known("binding", call.bindings, slots, where)
    _check_known("setting", call.settings, template.outputs, where)
    for placeholder, asked in call.settings.items():
        _check_settings(asked, f"{where}, output {placeholder}")
    pieces = tuple(
        one if isinstance(one, ConstantText) else VariableText(call.variable(one.name))
        for one in template.pieces
    )
    start, after = 0, None
    for end, piece in enumerate(template.pieces):
        if isinstance(piece, ConstantText) or not piece.is_output:
            continue
        if end == 0:
            raise ConfigError(
                f"nothing stands before the output {piece.name}, so there is nothing to go on from",
                where=where,
                hint="begin the template with a text",
            )
        output = call.variable(piece.name)
        chain = Chain(call, piece.name, output, pieces, start, end, after)
        yield chain
        start, after = end + 1, chain.node_id


def _check_settings(settings: GenerationConfig, where: str) -> None:
    try:
        check_bounds(settings)
        if settings.json_schema is not None:
            OutputSchema(settings.json_schema, where=where)
    except ConfigError as error:
        raise ConfigError(error.what, where=where, hint=error.hint) from error


def _check_known(what: str, given: Iterable[str], known: Iterable[str], where: str) -> None:
    names = set(known)
    for name in given:
        if name not in names:
            close = closest_name(name, sorted(names)[:_LOOKED_AT])
            raise ConfigError(
                f"there is a {what} for {name[:_SHOWN]!r}, which is no placeholder of that kind",
                where=where,
                hint=f"did you mean {close}?"
                if close
                else f"it has {', '.join(sorted(names)[:5])}",
            )


def _check_names(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if NAME.fullmatch(name) is None:
            raise ConfigError(
                f"{name[:_SHOWN]!r} cannot be the name of a {what}",
                where=f"{what} {name[:_SHOWN]}",
                hint="take a letter or _, then letters, digits, _ and -, at most 64 in all",
            )
        if name in seen:
            raise ConfigError(
                f"two have the name {name}", where=f"{what} {name}", hint="rename one of them"
            )
        seen.add(name)


def _producers(program: Program, nodes: Iterable[Node]) -> dict[str, str]:
    """The node that makes each variable."""
    found: dict[str, str] = {}
    made = [(variable, node) for node in nodes for variable in node.outputs]
    given = dict.fromkeys(program.values, "it is given")
    _check_names("variable", given)
    _check_names("variable", program.awaited)
    for variable in program.awaited:
        if variable in given:
            raise _twice(variable, given[variable], "it is awaited")
        given[variable] = "it is awaited"
    _check_names("variable", dict.fromkeys(variable for variable, _ in made))
    for variable, node in made:
        if variable in given:
            raise _twice(variable, given[variable], f"{node.node_id} makes it")
        if variable in found:
            raise _twice(variable, f"{found[variable]} makes it", f"{node.node_id} makes it")
        found[variable] = node.node_id
    return found


def _twice(variable: str, one: str, other: str) -> ConfigError:
    return ConfigError(
        f"it is set twice: {one}, and {other}",
        where=f"variable {variable}",
        hint="a variable is set once: give one of them another name, or bind it to one",
    )


def _readers(
    program: Program, nodes: Iterable[Node], producers: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """The nodes that read each variable."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    known = {*producers, *program.values, *program.awaited}
    for node in nodes:
        for variable in dict.fromkeys(node.inputs):
            if variable not in known:
                raise _unbound(variable, known, f"{_words(node)}, variable {variable[:_SHOWN]}")
            found[variable].append(node.node_id)
    return {variable: tuple(nodes) for variable, nodes in found.items()}


def _unbound(variable: str, known: Iterable[str], where: str) -> ConfigError:
    close = closest_name(variable, sorted(known)[:_LOOKED_AT])
    hint = "give it in values, list it in awaited, or let a call or step write it"
    return ConfigError(
        f"nobody sets {variable[:_SHOWN]}",
        where=where,
        hint=f"did you mean {close}? Else {hint}" if close else hint,
    )


def _in_order(
    nodes: Iterable[Node], producers: Mapping[str, str], limits: ProgramLimits
) -> dict[str, Node]:
    """The nodes, each behind those that it reads from (Kahn, 1962)."""
    left = {node.node_id: node for node in nodes}
    before = {
        name: {producers[one] for one in node.inputs if one in producers}
        for name, node in left.items()
    }
    behind: defaultdict[str, list[str]] = defaultdict(list)
    for name, found in before.items():
        for one in found:
            behind[one].append(name)
    waits = {name: len(found) for name, found in before.items()}
    depth = dict.fromkeys(left, 1)
    ready = [name for name, count in waits.items() if not count]
    ordered: dict[str, Node] = {}
    for name in ready:  # grows while it is walked
        ordered[name] = left.pop(name)
        require_within("nodes one behind another", depth[name], limits.depth, where=f"node {name}")
        for one in behind[name]:
            depth[one] = max(depth[one], depth[name] + 1)
            waits[one] -= 1
            if not waits[one]:
                ready.append(one)
    if left:
        raise _cycle(left, before)
    return ordered


def _cycle(left: Mapping[str, Node], before: Mapping[str, set[str]]) -> ConfigError:
    """Each node that is left reads from another one that is: so walking back runs in a circle."""
    way = [next(iter(left))]
    while way[-1] not in way[:-1]:
        way.append(min(one for one in before[way[-1]] if one in left))
    ring = way[way.index(way[-1]) :][::-1]
    return ConfigError(
        f"they wait for each other: {' -> '.join(ring)}",
        where=_words(left[ring[0]]),
        hint="a variable cannot be made from itself: break the ring at one of them",
    )


def _words(node: Node) -> str:
    return f"call {node.call.name}" if isinstance(node, Chain) else f"step {node.name}"


def _check_outputs(graph: Graph) -> None:
    known = set(graph.variables)
    for at, wanted in enumerate(graph.program.outputs):
        if wanted.variable not in known:
            raise _unbound(wanted.variable, known, f"outputs.{at}")


# --------------------------------------------------------------------------------------------------
# Which nodes somebody needs just now.
#
# A variable is in demand while somebody asks for it, or a needed node reads it. A node is needed
# while one of the variables that it makes is in demand and not settled. So what nobody reads is not
# run, a call shared by two readers lives as long as one of them does, and what has become of no use
# can be ended at once. Each change costs as much as it changes.


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
