"""Bounds of a schema or grammar, and the errors that name them.

They are looked at in one pass, before anything compiles the text: compilers recurse over it,
expand its repetitions and, on OpenVINO, hold up every other thread meanwhile.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from llguidance import LLParserLimits


# --------------------------------------------------------------------------------------------------
# The limits that llguidance keeps by itself, the same wherever it runs.
#
# They bound what compiles, and the work and memory of each mask while an answer is written.


def parser_limits() -> LLParserLimits:
    """Its own limits, but for the states of a lexer: 250,000 of them may be half a gigabyte for
    each answer. Raises ImportError without llguidance."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        max_items_in_row=2000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=50_000,
        max_lexer_states=20_000,
        max_grammar_size=200_000,
        verbose_errors=False,
    )


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


# --------------------------------------------------------------------------------------------------
# The size of a grammar in GBNF, measured in one pass over its tokens.

#: A comment, a literal, a class, a repetition, a sign, or a name. What is not closed reaches to the
#: end, so that no character is looked at twice.
_TOKEN = re.compile(
    r"""\#[^\r\n]*+ | "(?:\\.|[^"\\])*+"? | \[(?:\\.|[^\]\\])*+\]? | \{[\s\d,]*+\}? | ::= | [()*+?]
    | [\w-]++""",
    re.DOTALL | re.VERBOSE,
)
_ROOT = "root"
#: Digits of a count that are read; more are above any bound.
_DIGITS = 9


def check_gbnf(grammar: str, bounds: ConstraintBounds) -> None:
    """Raise ConfigError where `grammar` is above a bound, or is empty; the bytes are looked at
    elsewhere, and what is wrong in other ways is left to a compiler."""
    if not grammar.strip():
        raise ConfigError(
            "the grammar is empty", where="grammar", hint="give it a rule: root ::= ..."
        )
    rules: dict[str, list[str]] = defaultdict(list)
    rule, name, size = "", "", _Size(bounds)
    for found in _TOKEN.finditer(grammar):
        token = found.group()
        if token == "::=":
            require_at_most("rules", len(rules) + 1, bounds.parts)
            rule, name = name, ""
            # Compilers disagree: one takes the last of them, another fails at it late.
            if rule in rules:
                raise ConfigError(
                    "a rule stands twice in the grammar", where=f"rule {rule[:80]}", hint="drop one"
                )
            rules[rule] = []
            continue
        if name:
            rules[rule].append(name)
        name = token if token[0] not in '#"[{()*+?' else ""
        size.add(token)
    if name:
        rules[rule].append(name)
    require_at_most("rules in a row", longest_chain(rules, _ROOT), bounds.chain)


class _Size:
    """Symbols, and classes among them, once each repetition is written out."""

    def __init__(self, bounds: ConstraintBounds) -> None:
        self._bounds = bounds
        self._groups = [(0, 0)]  # of each open group, the whole first
        self._last = (0, 0)  # of the item before

    def add(self, token: str) -> None:
        """Count a token. Raises ConfigError where that is above a bound."""
        bounds = self._bounds
        match token[0]:
            case "(":
                self._groups.append((0, 0))
                require_at_most("levels of nesting", len(self._groups), bounds.depth)
            case ")" if len(self._groups) > 1:
                self._last = self._groups.pop()
                self._count(self._last)
            case "{":
                more = _most_times(token, bounds) - 1
                self._count((self._last[0] * more, self._last[1] * more))
                self._last = (self._last[0] * (more + 1), self._last[1] * (more + 1))
            case '"' | "[":
                require_at_most("characters in one string", len(token), bounds.literal)
                self._last = (len(token), 0) if token[0] == '"' else (1, 1)
                self._count(self._last)
            case "#" | ")" | "*" | "+" | "?":
                pass
            case _:
                self._last = (1, 0)
                self._count(self._last)

    def _count(self, more: tuple[int, int]) -> None:
        symbols, classes = self._groups[-1]
        self._groups[-1] = (symbols + more[0], classes + more[1])
        require_at_most("symbols with all repetitions", self._groups[-1][0], self._bounds.expanded)
        require_at_most("counted characters", self._groups[-1][1], self._bounds.states)


def _most_times(token: str, bounds: ConstraintBounds) -> int:
    """The larger count of a repetition such as {2,5}, 1 at least."""
    counts = re.findall(r"\d+", token)
    most = max((int(one[:_DIGITS]) for one in counts), default=1)
    require_at_most("repetitions of one item", most, bounds.repetition)
    return max(most, 1)


# --------------------------------------------------------------------------------------------------
# The size of a JSON schema, measured in one pass without recursion.

#: Their values are data: objects in them are no schemas.
_DATA = frozenset(("const", "default", "enum", "examples"))
_DEFINITIONS = frozenset(("$defs", "definitions"))
_SCHEMA_BOUNDS_ROOT = "#"
_LENGTHS = ("minLength", "maxLength")
#: Compilers count longer strings in another way.
_COUNTED = 128
#: A class of characters in a pattern, or a repetition and its counts.
_PATTERN = re.compile(r"\\.|[.\[]|\{(\d+)(?:,(\d*))?\}")
#: What one repetition in a pattern takes more than a length.
_REPEATED = 4
#: What an array of bounded length takes.
_ARRAY = 10


def check_schema(schema: Mapping[str, Any], bounds: ConstraintBounds) -> None:
    """Raise ConfigError where `schema` is above a bound; the bytes are looked at elsewhere."""
    parts = states = 0
    refs: dict[str, list[str]] = defaultdict(list)
    # Of each value: its key, how deep it lies, the definition that it belongs to, whether it is
    # data.
    left: list[tuple[str, Any, int, str, bool]] = [("", schema, 1, _SCHEMA_BOUNDS_ROOT, False)]
    while left:
        key, value, depth, owner, is_data = left.pop()
        match value:
            case str():
                require_at_most("characters in one string", len(value), bounds.literal)
                if key == "$ref" and not is_data:
                    refs[owner].append(value)
            case Mapping():
                parts += not is_data
                states += 0 if is_data else schema_states(value)
                _check_names(value, bounds)
                for name, inner in value.items():
                    inside = is_data or name in _DATA
                    own = f"#/{key}/{name}" if key in _DEFINITIONS and not is_data else owner
                    left.append((name, inner, depth + 1, own, inside))
            case Sequence():
                left.extend(("", inner, depth + 1, owner, is_data) for inner in value)
            case _:
                continue
        if not isinstance(value, str):
            require_at_most("levels of nesting", depth, bounds.depth)
        require_at_most("objects", parts, bounds.parts)
        require_at_most("counted characters", states, bounds.states)
    require_at_most(
        "references in a row", longest_chain(refs, _SCHEMA_BOUNDS_ROOT) - 1, bounds.chain
    )


def schema_states(part: Mapping[str, Any]) -> int:
    """About how many states the lengths and patterns of one object of a schema take."""
    lengths = [part[name] for name in _LENGTHS if isinstance(part.get(name), int | float)]
    states = int(min(max(lengths, default=0), _COUNTED))
    states += _ARRAY if "minItems" in part or "maxItems" in part else 0
    patterns = [part.get("pattern"), *_keys(part.get("patternProperties"))]
    for pattern in patterns:
        if isinstance(pattern, str):
            for found in _PATTERN.finditer(pattern):
                counts = [int(one[:9]) for one in found.groups() if one]
                states += _REPEATED * max(counts) if counts else 1
    return states


def _keys(value: object) -> list[str]:
    return list(value) if isinstance(value, Mapping) else []


def _check_names(found: Mapping[str, Any], bounds: ConstraintBounds) -> None:
    longest = max((len(str(name)) for name in found), default=0)
    require_at_most("characters in one string", longest, bounds.literal)
