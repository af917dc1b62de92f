"""The syntax tree of a script: what the parser makes, and all later steps read.

Positions do not count when two trees are compared, so that a script that is printed and read again
equals itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, get_args

from adwright.core.config import settings

__all__ = [
    "OPERATORS",
    "PARAMETER_KINDS",
    "Act",
    "Assignment",
    "BinaryTerm",
    "Branch",
    "BreakLoop",
    "DecimalLiteral",
    "ElementUse",
    "Expression",
    "IndexedTerm",
    "ListLiteral",
    "Operator",
    "ParameterKind",
    "Repetition",
    "Script",
    "ScriptParameter",
    "SourcePosition",
    "Statement",
    "TextLiteral",
    "TruthLiteral",
    "UnaryTerm",
    "VariableUse",
    "VerbCall",
    "WholeLiteral",
]


@dataclass(frozen=True)
class SourcePosition:
    """A place in a script, from line 1 and column 1; 0 for what no script holds."""

    line: int = 0
    column: int = 0


#: Of what no script holds.
_NOWHERE = SourcePosition()


@dataclass(frozen=True)
class TextLiteral:
    """Text in quotes."""

    value: str
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class WholeLiteral:
    """A whole number."""

    value: int
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class DecimalLiteral:
    """A number with decimals, exact."""

    value: Decimal
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class TruthLiteral:
    """true or false."""

    value: bool
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class ListLiteral:
    """Values in square brackets."""

    items: tuple[Expression, ...]
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class VariableUse:
    """A variable or a parameter."""

    name: str
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class ElementUse:
    """An element of the document, which a script writes with a dollar sign before its name."""

    name: str
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class IndexedTerm:
    """One item of a list, from 0."""

    sequence: Expression
    index: Expression
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class VerbCall:
    """A verb and its arguments."""

    verb: str
    arguments: tuple[Expression, ...] = ()
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@settings
class UnaryTerm:
    """not a truth, or minus a number."""

    operator: Literal["not", "-"]
    operand: Expression
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


Operator = Literal["or", "and", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)


@settings
class BinaryTerm:
    """Two values and what is made of them."""

    operator: Operator
    left: Expression
    right: Expression
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


Expression = (
    TextLiteral
    | WholeLiteral
    | DecimalLiteral
    | TruthLiteral
    | ListLiteral
    | VariableUse
    | ElementUse
    | IndexedTerm
    | VerbCall
    | UnaryTerm
    | BinaryTerm
)


@dataclass(frozen=True)
class Assignment:
    """A variable gets a value."""

    name: str
    value: Expression
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Act:
    """A verb as a statement."""

    call: VerbCall
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Branch:
    """if and else; an elif is a Branch alone in `otherwise`."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Repetition:
    """for: the body once for each item."""

    variable: str
    sequence: Expression
    body: tuple[Statement, ...]
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class BreakLoop:
    """Leave the innermost loop."""

    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


Statement = Assignment | Act | Branch | Repetition | BreakLoop

ParameterKind = Literal["text", "whole", "number", "truth"]
PARAMETER_KINDS: tuple[ParameterKind, ...] = get_args(ParameterKind)


@settings
class ScriptParameter:
    """A value that is given when the script is run."""

    name: str
    kind: ParameterKind
    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Script:
    """A whole script."""

    body: tuple[Statement, ...]
    parameters: tuple[ScriptParameter, ...] = ()
