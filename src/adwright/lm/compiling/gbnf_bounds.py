"""The size of a grammar in GBNF, measured in one pass over its tokens."""

from __future__ import annotations

import re
from collections import defaultdict

from adwright.core.errors import ConfigError
from adwright.lm.compiling.bounds import ConstraintBounds, longest_chain, require_at_most

__all__ = ["check_gbnf"]

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
