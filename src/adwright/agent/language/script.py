r"""Read a script: its words are checked one by one, and Python's own parser makes the tree.

    script = read_script('tap($offers__new)\nset_text($offer__name, "Spring")\n')

    script     = { "param" NAME ":" kind NEWLINE } { statement }
    statement  = NAME "=" expression | call | "break"
               | "if" expression block { "elif" expression block } [ "else" block ]
               | "for" NAME "in" expression block
    expression = values joined by or, and, not, == != < <= > >= in, + - * /, indexed by [ ]
    value      = TEXT | NUMBER | "true" | "false" | ELEMENT | NAME | call | list

Only ASCII stands outside of quotes and comments, so that no letter can pass for another. Controls,
invisible and reordering characters are refused everywhere, comments included. What Python's parser
(`ast.parse`, which runs nothing) is given holds none of the script's texts, numbers and elements:
in their places stand marks of the same length. Of the tree that it makes, only the nodes named
above are taken; length and depth are bounded before and after. Names of verbs and elements are
looked up by the checker.
"""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce
from typing import Literal, NoReturn, get_args

from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem, quoted
from adwright.core.config import settings
from adwright.core.errors import ConfigError

# --------------------------------------------------------------------------------------------------
# The syntax tree of a script: what the parser makes, and all later steps read.
#
# Positions do not count when two trees are compared, so that a script that is printed and read
# again equals itself.


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


KEYWORDS = frozenset(
    ("and", "break", "elif", "else", "false", "for", "if", "in", "not", "or", "param", "true")
)
MOST_CHARACTERS, MOST_WORDS, MOST_LEVELS = 20_000, 5_000, 6
MOST_NESTED, MOST_OPERATORS = 12, 32
_MOST_TEXT, _MOST_ITEMS = 2_000, 200
_STATEMENTS = "a statement is NAME = value, verb(...), if, for or break, one a line"
_WORD = re.compile(
    r"""
    (?P<text> "(?:[^"\\]|\\[nt"'\\])*" | '(?:[^'\\]|\\[nt"'\\])*' )
    | (?P<element> \$[A-Za-z_]\w{0,199}(?!\w) )
    | (?P<name> [A-Za-z]\w{0,79}(?!\w) )
    | (?P<number> \d{1,15}(?:\.\d{1,15})?(?![\w.]) )
    | (?P<sign> [=!<>]= | [<>=+\-*/()\[\],:] )
    """,
    re.ASCII | re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t"}
#: Controls, formats (zero width, bidirectional), surrogates, private and unassigned, separators.
_FORBIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_HINTS = {
    ".": "there is no attribute access; write verb(value), as in get_text($x)",
    "{": "there are no dictionaries and no formatting; join text with +",
    ";": "write one statement a line",
    "!": "write not",
    "$": "a dollar sign stands before the name of an element, as in $offers__new",
    "_": "a name begins with a letter",
}
#: Habits of other languages.
_HABITS = {
    "True": "write true",
    "False": "write false",
    "None": "there is no empty value",
    "import": "nothing can be imported",
    "def": "there are no functions; write the steps",
    "while": "write for i in range(n)",
    "lambda": "there are no functions; write the steps",
    "return": "write answer(value)",
    "class": "there are no classes",
}
_OPERATORS: Mapping[type[ast.AST], Operator] = {
    **{ast.Or: "or", ast.And: "and", ast.In: "in", ast.Eq: "==", ast.NotEq: "!="},
    **{ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="},
    **{ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"},
}


def is_allowed_in_text(character: str) -> bool:
    """Whether a character may stand in a script: visible, or a plain blank."""
    return unicodedata.category(character) not in _FORBIDDEN


def read_script(source: str) -> Script:
    """The tree of a script.

    Raises ScriptError that says line, column and what to do.
    """
    if len(source) > MOST_CHARACTERS:
        what = f"a script has at most {MOST_CHARACTERS:,} characters"
        _refuse("too_long", what, SourcePosition(1, 1), "shorten it")
    marked = _MarkedScript(source.replace("\r\n", "\n").split("\n"))
    body = _ScriptReader(marked.words).block(marked.parsed())
    return Script(body, tuple(marked.parameters))


def _refuse(code: ProblemCode, what: str, at: SourcePosition, hint: str = "") -> NoReturn:
    raise ScriptError([ScriptProblem(code, what, at.line, at.column, hint)])


class _MarkedScript:
    """words: by their places, as they stand. lines: with marks for what is no sign and no word of
    the language. parameters: of the lines at the top, which are blanked out."""

    def __init__(self, lines: list[str]) -> None:
        self.words: dict[SourcePosition, str] = {}
        self.parameters: list[ScriptParameter] = []
        self._open = 0
        self._begun = False
        self._before = ("", SourcePosition())
        self._lines = [self._marked(number, line) for number, line in enumerate(lines, 1)]

    def parsed(self) -> list[ast.stmt]:
        """What Python's parser makes of it. Raises ScriptError."""
        try:
            return ast.parse("\n".join(self._lines)).body
        except SyntaxError as error:
            at = SourcePosition(max(error.lineno or 1, 1), max(error.offset or 1, 1))
            if isinstance(error, IndentationError):
                _refuse("indent", error.msg, at, "indent a block, and nothing else, by four blanks")
            if re.search("never closed|unmatched|does not match", error.msg):
                _refuse("bracket", error.msg, at, "close each bracket once")
            word = self.words.get(at, "")
            found = f", found {quoted(word)}" if word else ""
            _refuse("expected", f"{error.msg}{found}", at, _STATEMENTS)
        except (RecursionError, MemoryError):
            _refuse("too_deep", "the script is too intricate", SourcePosition(1, 1), "shorten it")

    def _marked(self, number: int, line: str) -> str:
        for column, one in enumerate(line, 1):
            if not is_allowed_in_text(one):
                what = f"{quoted(one)} is a control or an invisible character"
                hint = "indent with four blanks" if one == "\t" else "remove it"
                _refuse("character", what, SourcePosition(number, column), hint)
        marked, words, place = "", list[str](), 0
        while place < len(line) and line[place] != "#":
            if line[place] == " ":
                marked, place = marked + " ", place + 1
                continue
            at = SourcePosition(number, place + 1)
            found = _WORD.match(line, place)
            if found is None:
                _refuse_character(line, place, at)
            kind, word = found.lastgroup or "", found[0]
            behind = self._before[1] == at and self._before[0] in ("name", "element", "number")
            if (kind in ("text", "element") and behind) or {kind, self._before[0]} == {"text"}:
                _refuse("expected", "two words stand side by side", at, "join texts with +")
            self._count(word, at)
            self.words[at] = word
            words.append(word)
            marked += _mark(kind, word, at)
            place = found.end()
            self._before = (kind, SourcePosition(number, place + 1))
        if words[:1] == ["param"] and not self._open:
            self._parameter(words, SourcePosition(number, len(line) - len(line.lstrip()) + 1))
            return ""
        self._begun = self._begun or bool(words)
        return marked.rstrip()

    def _count(self, word: str, at: SourcePosition) -> None:
        if len(self.words) >= MOST_WORDS:
            _refuse("too_long", f"a script has at most {MOST_WORDS:,} words", at, "shorten it")
        self._open = max(self._open + (word in "([") - (word in ")]"), 0)
        if self._open >= MOST_NESTED:
            what = f"expressions nest at most {MOST_NESTED} deep"
            _refuse("too_deep", what, at, "give a part of it to a variable")

    def _parameter(self, words: list[str], at: SourcePosition) -> None:
        if self._begun or at.column > 1:
            _refuse("expected", "parameters come first", at, "move it to the top")
        kinds: dict[str, ParameterKind] = {one: one for one in PARAMETER_KINDS}
        match words:
            case [_, name, ":", kind] if kind not in kinds:
                what = f"{quoted(kind)} is no kind of parameter"
                _refuse("keyword", what, at, f"one of {', '.join(PARAMETER_KINDS)}")
            case [_, name, ":", kind] if name.isidentifier():
                _require_free(name, at)
                self.parameters.append(ScriptParameter(name, kinds[kind], at=at))
            case _:
                _refuse("expected", "a parameter has a name and a kind", at, "param code: text")


def _mark(kind: str, word: str, at: SourcePosition) -> str:
    """What Python is given in the place of a word, as long as this."""
    match kind:
        case "text":
            if len(word) > _MOST_TEXT + 2:
                _refuse("too_long", f"a text has at most {_MOST_TEXT:,} characters", at)
            return f"'{'-' * (len(word) - 2)}'"
        case "number":
            return "1" * len(word)
        case "element":
            return "_" * len(word)
        case "name" if word in _HABITS:
            _refuse("expected", f"{word} is no word of the language", at, _HABITS[word])
        case "name" if keyword.iskeyword(word) and word not in KEYWORDS:
            return "_" * len(word)  # to us it is a name like any other
    return word


def _refuse_character(line: str, place: int, at: SourcePosition) -> NoReturn:
    one = line[place]
    if one in "\"'":
        escape = re.search(r"\\(?![nt\"'\\])", re.sub(r"\\[nt\"'\\]", "--", line[place:]))
        if escape is not None:
            hint = "escapes are \\n \\t \\\" \\' \\\\; write other characters themselves"
            there = SourcePosition(at.line, at.column + escape.start())
            _refuse("escape", "this is no escape", there, hint)
        _refuse("text_end", "the text does not end on its line", at, f"add {one}")
    if one.isascii() and one.isdigit():
        _refuse("number", "this is no number", at, "as in 12 or 12.50, of at most 15 digits")
    if one.isascii() and one.isalpha():
        _refuse("too_long", "this name is too long", at, "shorten it")
    hint = _HINTS.get(one, "outside of quotes only plain ASCII letters, digits and signs stand")
    name = unicodedata.name(one, "")
    shown = f"{quoted(one)} ({name.lower()})" if not one.isascii() and name else quoted(one)
    _refuse("character", f"{shown} is no part of the language", at, hint)


def _require_free(name: str, at: SourcePosition) -> str:
    if name in KEYWORDS:
        _refuse("keyword", f"{name} is a word of the language", at, "rename it")
    return name


class _ScriptReader:
    """Makes statements and values of Python's nodes. words: what stands at each place."""

    def __init__(self, words: Mapping[SourcePosition, str]) -> None:
        self._words = words
        self._loops = 0
        self._levels = 0
        self._nested = 0

    def block(self, nodes: list[ast.stmt]) -> tuple[Statement, ...]:
        """The statements of a block."""
        return tuple(self._statement(one) for one in nodes)

    def _inner(self, outer: ast.stmt, nodes: list[ast.stmt]) -> tuple[Statement, ...]:
        at = _place(nodes[0])
        if at.line == outer.lineno:
            _refuse("expected", "the block begins on the next line", at, "indent it by four blanks")
        self._levels += 1
        if self._levels > MOST_LEVELS:
            _refuse("too_deep", f"blocks nest at most {MOST_LEVELS} deep", at)
        found = self.block(nodes)
        self._levels -= 1
        return found

    def _statement(self, node: ast.stmt) -> Statement:
        at = _place(node)
        match node:
            case ast.Assign(targets=[target], value=value):
                return Assignment(self._name(target), self._whole(value), at=at)
            case ast.Expr(value=ast.Call() as call):
                term = self._whole(call)
                if isinstance(term, VerbCall):
                    return Act(term, at=at)
            case ast.If():
                return self._branch(node)
            case ast.For(orelse=[]):
                variable, sequence = self._name(node.target), self._whole(node.iter)
                self._loops += 1
                body = self._inner(node, node.body)
                self._loops -= 1
                return Repetition(variable, sequence, body, at=at)
            case ast.Break():
                if not self._loops:
                    _refuse("loop", "break stands in no loop", at, "remove it")
                return BreakLoop(at=at)
        _refuse("expected", "this is no statement", at, _STATEMENTS)

    def _branch(self, node: ast.If) -> Branch:
        # Each elif stands in the otherwise of the one before.
        chain, otherwise = [node], node.orelse
        while otherwise and self._words[_place(otherwise[0])] == "elif":
            chain += [one for one in otherwise if isinstance(one, ast.If)]
            otherwise = chain[-1].orelse
        if len(chain) > MOST_NESTED + 1:
            _refuse("too_deep", f"an if has at most {MOST_NESTED} elif", _place(chain[-1]))
        rest = self._inner(chain[-1], otherwise) if otherwise else ()
        for one in reversed(chain):
            then = self._inner(one, one.body)
            branch = Branch(self._whole(one.test), then, rest, at=_place(one))
            rest = (branch,)
        return branch

    def _name(self, node: ast.expr) -> str:
        at = _place(node)
        word = self._words.get(at, "")
        if not isinstance(node, ast.Name) or word.startswith("$"):
            _refuse("expected", "a name is expected here", at, _STATEMENTS)
        return _require_free(word, at)

    # --- expressions -------------------------------------------------------------------

    def _whole(self, node: ast.expr) -> Expression:
        """A value, not as a part of another."""
        counted = (ast.BinOp, ast.Compare, ast.Subscript)
        nodes = list(ast.walk(node))
        joined = sum(len(one.values) - 1 for one in nodes if isinstance(one, ast.BoolOp))
        if joined + sum(isinstance(one, counted) for one in nodes) > MOST_OPERATORS:
            what = f"an expression has at most {MOST_OPERATORS} operators"
            _refuse("too_deep", what, _place(node), "give a part of it to a variable")
        return self._value(node)

    def _value(self, node: ast.expr) -> Expression:
        at = _place(node)
        match node:
            case ast.BoolOp(op=op, values=[first, *others]):
                operator = _OPERATORS[type(op)]
                return reduce(
                    lambda left, right: BinaryTerm(operator, left, self._value(right), at=at),
                    others,
                    self._value(first),
                )
            case ast.Compare(ops=[op], left=left, comparators=[right]) if type(op) in _OPERATORS:
                return self._binary(op, left, right, at)
            case ast.Compare(ops=[_, _, *_]):
                _refuse("expected", "comparisons do not chain", at, "join two with and")
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
                return self._binary(op, left, right, at)
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                return self._unary(node.op, operand, at)
            case ast.Subscript(value=sequence, slice=index):
                return IndexedTerm(self._value(sequence), self._value(index), at=at)
            case ast.Call(func=ast.Name() as func, args=items, keywords=[]):
                return VerbCall(self._name(func), self._items(items, at), at=at)
            case ast.Call(keywords=[_, *_]):
                hint = "values have no names; their order says what they are"
                _refuse("expected", "= stands in a value", at, hint)
            case ast.List(elts=items):
                return ListLiteral(self._items(items, at), at=at)
            case ast.Name() | ast.Constant():
                return self._word(self._words[at], at)
        _refuse("expected", "this is no value", at, "a text, a number, a variable or an element")

    def _binary(
        self, op: ast.AST, left: ast.expr, right: ast.expr, at: SourcePosition
    ) -> BinaryTerm:
        return BinaryTerm(_OPERATORS[type(op)], self._value(left), self._value(right), at=at)

    def _unary(self, op: ast.unaryop, operand: ast.expr, at: SourcePosition) -> Expression:
        self._nested += 1
        if self._nested > MOST_NESTED:
            _refuse("too_deep", f"expressions nest at most {MOST_NESTED} deep", at)
        term, behind = self._value(operand), SourcePosition(at.line, at.column + 1)
        self._nested -= 1
        if isinstance(op, ast.Not):
            return UnaryTerm("not", term, at=at)
        # A number directly behind its minus is a negative one; "-(3)" is minus a number.
        if isinstance(operand, ast.Constant) and _place(operand) == behind:
            if isinstance(term, WholeLiteral):
                return WholeLiteral(-term.value, at=at)
            if isinstance(term, DecimalLiteral):
                return DecimalLiteral(-term.value, at=at)
        return UnaryTerm("-", term, at=at)

    def _items(self, nodes: list[ast.expr], at: SourcePosition) -> tuple[Expression, ...]:
        if len(nodes) > _MOST_ITEMS:
            _refuse("too_long", f"at most {_MOST_ITEMS} values", at)
        return tuple(self._value(one) for one in nodes)

    def _word(self, word: str, at: SourcePosition) -> Expression:
        if word[0] in "\"'":
            value = re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[1]), word[1:-1])
            return TextLiteral(value, at=at)
        if word[0] == "$":
            return ElementUse(word[1:], at=at)
        if word in ("true", "false"):
            return TruthLiteral(word == "true", at=at)
        if word[0].isdigit():
            if "." in word:
                return DecimalLiteral(Decimal(word), at=at)
            return WholeLiteral(int(word), at=at)
        return VariableUse(_require_free(word, at), at=at)


def _place(node: ast.expr | ast.stmt) -> SourcePosition:
    return SourcePosition(node.lineno, node.col_offset + 1)


# --------------------------------------------------------------------------------------------------
# Write a tree as a script: `read_script(print_script(tree))` equals the tree.
#
# Only the brackets that are needed are written, so that a script that is kept, compared and
# reviewed has one form.

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
