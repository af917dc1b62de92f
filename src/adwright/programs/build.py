"""Build the graph of a program, and refuse what is none with its place and what to do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from adwright.core.config import closest_name
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.engine.grammar import check_bounds
from adwright.programs.graph import Chain, Graph, Node, VariableText
from adwright.programs.limits import ProgramLimits, check_tokens, require_within
from adwright.programs.program import Program, SemanticCall
from adwright.programs.schema import OutputSchema
from adwright.programs.steps import check_arity
from adwright.programs.template import NAME, ConstantText, Misplaced, Template

__all__ = ["build_graph", "check_text", "misplaced_texts"]

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
    for placeholder, settings in call.settings.items():
        _check_settings(settings, f"{where}, output {placeholder}")
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
