"""Write a tree as a script: `read_script(print_script(tree))` equals the tree.

Only the brackets that are needed are written, so that a script that is kept, compared and reviewed
has one form.
"""

from __future__ import annotations

from collections.abc import Iterator

from adwright.agent.language.parser import is_allowed_in_text
from adwright.agent.language.problems import quoted
from adwright.agent.language.tree import (
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
    Repetition,
    Script,
    Statement,
    TextLiteral,
    TruthLiteral,
    UnaryTerm,
    VariableUse,
    VerbCall,
    WholeLiteral,
)
from adwright.core.errors import ConfigError

__all__ = ["print_expression", "print_script", "quote_text"]

#: How tightly an operator binds; "not" is 3, minus 7, what stands alone 8.
_BINDS = {
    **{"or": 1, "and": 2, "in": 4, "+": 5, "-": 5, "*": 6, "/": 6},
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 4),
}
_NOT, _MINUS, _ALONE = 3, 7, 8


def print_script(script: Script) -> str:
    """The script as text, each line ended.

    Raises ConfigError for a text that a script cannot hold (control characters).
    """
    lines = [f"param {one.name}: {one.kind}" for one in script.parameters]
    lines += _lines(script.body, 0)
    return "".join(f"{line}\n" for line in lines)


def print_expression(term: Expression) -> str:
    """One value as text."""
    return _print(term)


def quote_text(value: str) -> str:
    """Text in double quotes, with its escapes."""
    parts = []
    for one in value:
        escaped = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}.get(one)
        if escaped is None and not is_allowed_in_text(one):
            raise ConfigError(
                "a script cannot hold this character",
                where=quoted(value),
                hint="remove controls and invisible characters, or pass the text as a parameter",
            )
        parts.append(escaped or one)
    return '"' + "".join(parts) + '"'


def _lines(body: tuple[Statement, ...], level: int) -> Iterator[str]:
    blanks = " " * (4 * level)
    for one in body:
        match one:
            case Assignment(name, value):
                yield f"{blanks}{name} = {_print(value)}"
            case Act(call):
                yield blanks + _print(call)
            case BreakLoop():
                yield f"{blanks}break"
            case Repetition(variable, sequence, inner):
                yield f"{blanks}for {variable} in {_print(sequence)}:"
                yield from _lines(inner, level + 1)
            case Branch():
                yield from _branch(one, level, blanks)


def _branch(branch: Branch, level: int, blanks: str) -> Iterator[str]:
    word = "if"
    while True:
        yield f"{blanks}{word} {_print(branch.condition)}:"
        yield from _lines(branch.then, level + 1)
        match branch.otherwise:
            case ():
                return
            case (Branch() as inner,):
                branch, word = inner, "elif"
            case _:
                yield f"{blanks}else:"
                yield from _lines(branch.otherwise, level + 1)
                return


def _print(term: Expression, least: int = 0) -> str:
    text, binds = _bound(term)
    return f"({text})" if binds < least else text


def _bound(term: Expression) -> tuple[str, int]:
    """The text of a term, and how tightly it binds."""
    match term:
        case UnaryTerm("not", operand):
            return f"not {_print(operand, _NOT)}", _NOT
        case UnaryTerm(_, operand):
            # A number after a minus would be read as a negative one.
            inner = _print(operand, _MINUS)
            return f"-({inner})" if inner[0].isdigit() else f"-{inner}", _MINUS
        case BinaryTerm(operator, left, right):
            own = _BINDS[operator]
            # Chains lean to the left; comparisons do not chain.
            first = own + 1 if own == _BINDS["=="] else own
            return f"{_print(left, first)} {operator} {_print(right, own + 1)}", own
        case _:
            return _alone(term), _ALONE


def _alone(term: Expression) -> str:
    """The text of a term without operators."""
    match term:
        case TextLiteral(value):
            return quote_text(value)
        case DecimalLiteral(exact):
            plain = format(exact, "f")
            return plain if "." in plain else f"{plain}.0"
        case TruthLiteral(truth):
            return "true" if truth else "false"
        case ElementUse(name):
            return f"${name}"
        case VariableUse(name):
            return name
        case ListLiteral(items):
            return f"[{', '.join(map(_print, items))}]"
        case VerbCall(verb, arguments):
            return f"{verb}({', '.join(map(_print, arguments))})"
        case IndexedTerm(sequence, index):
            base = _print(sequence, _ALONE)
            # A minus binds less tightly than an index, that of a number too.
            base = f"({base})" if base.startswith("-") else base
            return f"{base}[{_print(index)}]"
        case WholeLiteral(number):
            return str(number)
        case _:
            return _print(term)
