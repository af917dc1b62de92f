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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.program import NativeStep, Program, SemanticCall
from adwright.programs.template import ConstantText

__all__ = ["Chain", "Graph", "Node", "VariableText"]

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
