"""The syntax tree of a script: what the parser makes, and all later steps read.

Positions do not count when two trees are compared, so that a script that is printed and read again
equals itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, get_args

from adwright.core.config import settings


@dataclass(frozen=True)
class SourcePosition:
    """A place in a script, from line 1 and column 1; 0 for what no script holds."""

    line: int = 0
    column: int = 0


#: Of what no script holds.
_NOWHERE = SourcePosition()


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A part of a script. at: where it begins."""

    at: SourcePosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class TextLiteral(_Placed):
    """Text in quotes."""

    value: str


@dataclass(frozen=True)
class WholeLiteral(_Placed):
    """A whole number."""

    value: int


@dataclass(frozen=True)
class DecimalLiteral(_Placed):
    """A number with decimals, exact."""

    value: Decimal


@dataclass(frozen=True)
class TruthLiteral(_Placed):
    """true or false."""

    value: bool


@dataclass(frozen=True)
class ListLiteral(_Placed):
    """Values in square brackets."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class VariableUse(_Placed):
    """A variable or a parameter."""

    name: str


@dataclass(frozen=True)
class ElementUse(_Placed):
    """An element of the document, which a script writes with a dollar sign before its name."""

    name: str


@dataclass(frozen=True)
class IndexedTerm(_Placed):
    """One item of a list, from 0."""

    sequence: Expression
    index: Expression


@dataclass(frozen=True)
class VerbCall(_Placed):
    """A verb and its arguments."""

    verb: str
    arguments: tuple[Expression, ...] = ()


@settings
class UnaryTerm(_Placed):
    """not a truth, or minus a number."""

    operator: Literal["not", "-"]
    operand: Expression


Operator = Literal["or", "and", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)


@settings
class BinaryTerm(_Placed):
    """Two values and what is made of them."""

    operator: Operator
    left: Expression
    right: Expression


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
class Assignment(_Placed):
    """A variable gets a value."""

    name: str
    value: Expression


@dataclass(frozen=True)
class Act(_Placed):
    """A verb as a statement."""

    call: VerbCall


@dataclass(frozen=True)
class Branch(_Placed):
    """if and else; an elif is a Branch alone in `otherwise`."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class Repetition(_Placed):
    """for: the body once for each item."""

    variable: str
    sequence: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class BreakLoop(_Placed):
    """Leave the innermost loop."""


Statement = Assignment | Act | Branch | Repetition | BreakLoop

ParameterKind = Literal["text", "whole", "number", "truth"]
PARAMETER_KINDS: tuple[ParameterKind, ...] = get_args(ParameterKind)


@settings
class ScriptParameter(_Placed):
    """A value that is given when the script is run."""

    name: str
    kind: ParameterKind


@dataclass(frozen=True)
class Script:
    """A whole script."""

    body: tuple[Statement, ...]
    parameters: tuple[ScriptParameter, ...] = ()
