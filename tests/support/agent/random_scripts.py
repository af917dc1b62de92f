"""Random scripts: trees of any shape, and texts that are nearly scripts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import get_args

from adwright.agent.language.kinds import ATTRIBUTES, DIRECTIONS, VERBS
from adwright.agent.language.script import (
    PARAMETER_KINDS,
    Act,
    Assignment,
    BinaryTerm,
    Branch,
    BreakLoop,
    DecimalLiteral,
    ElementUse,
    Expression,
    IndexedTerm,
    ListLiteral,
    Operator,
    Repetition,
    Script,
    ScriptParameter,
    Statement,
    TextLiteral,
    TruthLiteral,
    UnaryTerm,
    VariableUse,
    VerbCall,
    WholeLiteral,
    print_script,
)
from tests.support.agent.shop_document import shop_document

_NAMES = ("a", "b", "row", "total")
_TEXTS = ("", "Spring", "é 漢", 'a "b" \\', "line\nline", "12.50", "__class__", "{0}", *ATTRIBUTES)
_ELEMENTS = (*(one.name for one in shop_document().elements), "missing__one")
_PIECES = (
    *("(", ")", "[", "]", ":", ",", "=", "==", "<", "-", "not", "in", "and", "break", "\n"),
    *("    ", "$", "'", '"', "\\", "#", ".", "__", "é", "\u0430", "\x00", "9" * 20, "if true:\n"),
    *("param x: text\n", "{", "}", "\u202e", "lambda", "import os", "exec('1')"),
)


def scripts(seed: int) -> Script:
    """One random tree, the same for the same seed."""
    source = _Source(random.Random(seed))
    names = source.some(_NAMES)
    parameters = tuple(ScriptParameter(one, source.one(PARAMETER_KINDS)) for one in names)
    return Script(source.body(0, in_loop=False), parameters)


def damaged(seed: int) -> str:
    """The text of one random tree, with up to six pieces put in, taken out or doubled."""
    rng = random.Random(seed)
    text = print_script(scripts(seed))
    for _ in range(rng.randint(0, 6)):
        at = rng.randint(0, len(text))
        match rng.randint(0, 2):
            case 0:
                text = text[:at] + rng.choice(_PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randint(1, 8) :]
            case _:
                text = text[:at] + text[max(0, at - 20) : at] * rng.randint(1, 4) + text[at:]
    return text


class _Source:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def one(self, choices: Sequence[str]) -> str:
        return self.rng.choice(choices)

    def some(self, choices: Sequence[str]) -> list[str]:
        return self.rng.sample(choices, self.rng.randint(0, 2))

    def body(self, level: int, *, in_loop: bool) -> tuple[Statement, ...]:
        count = self.rng.randint(1, 3)
        return tuple(self.statement(level, in_loop=in_loop) for _ in range(count))

    def statement(self, level: int, *, in_loop: bool) -> Statement:
        kind = self.rng.randint(0, 5 if level < 3 else 2)
        if kind == 0:
            return Assignment(self.one(_NAMES), self.value(3))
        if kind == 1 and in_loop:
            return BreakLoop()
        if kind <= 3:
            return Act(self.call(2))
        if kind == 4:
            other = self.body(level + 1, in_loop=in_loop) if self.rng.random() < 0.5 else ()
            return Branch(self.value(3), self.body(level + 1, in_loop=in_loop), other)
        return Repetition(self.one(_NAMES), self.value(2), self.body(level + 1, in_loop=True))

    def call(self, depth: int) -> VerbCall:
        verb = VERBS[self.one((*VERBS, "tap", "set_text", "get_text"))]
        arguments = []
        for wanted in verb.takes:
            if self.rng.random() < 0.05:
                continue
            fits = "element" in wanted and self.rng.random() < 0.8
            arguments.append(ElementUse(self.one(_ELEMENTS)) if fits else self.value(depth - 1))
        if verb.name == "scroll":
            arguments = [TextLiteral(self.one(DIRECTIONS))]
        return VerbCall(verb.name if self.rng.random() < 0.97 else "frobnicate", tuple(arguments))

    def value(self, depth: int) -> Expression:
        rng = self.rng
        kind = rng.randint(0, 6 if depth <= 0 else 11)
        if kind <= 6:
            return self.leaf(kind)
        match kind:
            case 7:
                return ListLiteral(tuple(self.value(depth - 1) for _ in range(rng.randint(0, 3))))
            case 8:
                return IndexedTerm(self.value(depth - 1), self.value(depth - 1))
            case 9:
                return UnaryTerm(rng.choice(("not", "-")), self.value(depth - 1))
            case 10:
                return self.call(depth)
        left, right = self.value(depth - 1), self.value(depth - 1)
        return BinaryTerm(rng.choice(get_args(Operator)), left, right)

    def leaf(self, kind: int) -> Expression:
        rng = self.rng
        match kind:
            case 0:
                return TextLiteral(self.one(_TEXTS))
            case 1:
                return WholeLiteral(rng.randint(-20, 20))
            case 2:
                return DecimalLiteral(Decimal(rng.randint(-2000, 2000)).scaleb(-rng.randint(0, 3)))
            case 3:
                return TruthLiteral(rng.random() < 0.5)
            case 4 | 5:
                return VariableUse(self.one(_NAMES))
        return ElementUse(self.one(_ELEMENTS))
