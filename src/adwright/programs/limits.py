"""How large a program may be. All of it is looked at before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.programs.graph import Chain, Graph
from adwright.programs.template import ConstantText

__all__ = ["ProgramLimits", "about_tokens", "check_tokens", "prompt_tokens", "require_within"]

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

    calls: int = 1000
    steps: int = 2000
    nodes: int = 3000
    variables: int = 3000
    edges: int = 20_000
    fan_out: int = 1000
    depth: int = 1000
    template_characters: int = 200_000
    text_characters: int = 1 << 20
    all_characters: int = 1 << 26
    awaited_tokens: int = 1024
    context_tokens: int = 131_072
    total_tokens: int = 20_000_000

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) < 1:
                raise ConfigError(
                    f"{each.name} must be at least 1",
                    where=f"ProgramLimits.{each.name} {getattr(self, each.name)}",
                    hint="a limit is the most that is admitted",
                )


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
