"""Bounds of a schema or grammar, and the errors that name them.

They are looked at in one pass, before anything compiles the text: compilers recurse over it,
expand its repetitions and, on OpenVINO, hold up every other thread meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adwright.core.errors import ConfigError

__all__ = ["ConstraintBounds", "longest_chain", "require_at_most"]


@dataclass(frozen=True)
class ConstraintBounds:
    """The most that a schema or grammar may have.

    text_bytes: in UTF-8. parts: objects of a schema, rules of a grammar. depth: of nesting.
    chain: definitions, or rules, each of which leads to the next. literal: characters of one
    string. repetition: count of one repetition in a grammar. expanded: characters, classes and
    names of a grammar once each repetition is written out. states: about as many as an automaton
    has that counts the characters of strings and classes; see `schema_states`.

    Ordinary schemas have 10 to 100 parts in 1 to 10 kB, and no bound is near. llguidance compiles
    what is admitted in well below a second. XGrammar, in OpenVINO, is quadratic in the optional
    properties and takes up to 20 ms for each state, so that engine sets `states`.
    """

    text_bytes: int = 1 << 17
    parts: int = 500
    depth: int = 64
    chain: int = 100
    literal: int = 8192
    repetition: int = 2000
    expanded: int = 200_000
    states: int = 1_000_000


def require_at_most(what: str, value: int, bound: int) -> None:
    """Raise ConfigError, with both numbers, where `value` is above `bound`."""
    if value > bound:
        raise ConfigError(
            f"the schema or grammar has {value} {what}, at most {bound} are taken",
            where="json_schema, grammar",
            hint="make it smaller",
        )


def longest_chain(leads_to: Mapping[str, Sequence[str]], start: str) -> int:
    """Names on the longest way from `start` on which none stands twice in a row of calls.

    leads_to: the names that each name leads to; unknown ones lead nowhere. Where names lead back
    to themselves the way ends there.
    """
    lengths: dict[str, int] = {}
    open_ones = {start}
    ways = [(start, iter(leads_to.get(start, ())))]
    while ways:
        name, rest = ways[-1]
        after = next((one for one in rest if one not in open_ones and one not in lengths), None)
        if after is not None:
            open_ones.add(after)
            ways.append((after, iter(leads_to.get(after, ()))))
            continue
        ways.pop()
        open_ones.discard(name)
        lengths[name] = 1 + max((lengths.get(one, 0) for one in leads_to.get(name, ())), default=0)
    return lengths[start]
