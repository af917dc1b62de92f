"""Read a script: words to a tree, by recursive descent with bounds on depth and length.

    script = read_script('tap($offers__new)\\nset_text($offer__name, "Spring")\\n')

    script     = { "param" NAME ":" kind NEWLINE } { statement }
    statement  = NAME "=" expression | call | "break"
               | "if" expression block { "elif" expression block } [ "else" block ]
               | "for" NAME "in" expression block
    block      = ":" NEWLINE INDENT statement { statement } DEDENT
    expression = and { "or" and }       and = not { "and" not }        not = "not" not | comparison
    comparison = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") sum ]
    sum = product { ("+" | "-") product }      product = unary { ("*" | "/") unary }
    unary = "-" unary | primary { "[" expression "]" }
    primary = TEXT | NUMBER | "true" | "false" | ELEMENT | NAME | call | list | "(" expression ")"

Names of verbs and elements are looked up by the checker. Nothing is ever evaluated by Python.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import NoReturn

from adwright.agent.language.lexer import ScriptWord, WordKind, script_words
from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem, quoted
from adwright.agent.language.tree import (
    OPERATORS,
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
    ParameterKind,
    Repetition,
    Script,
    ScriptParameter,
    SourcePosition,
    Statement,
    TextLiteral,
    TruthLiteral,
    UnaryTerm,
    VariableUse,
    VerbCall,
    WholeLiteral,
)

__all__ = ["KEYWORDS", "MOST_NESTED", "MOST_OPERATORS", "read_script"]

KEYWORDS = frozenset(
    ("and", "break", "elif", "else", "false", "for", "if", "in", "not", "or", "param", "true")
)
MOST_NESTED, MOST_OPERATORS, _MOST_ITEMS = 12, 32, 200
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in")
_STATEMENTS = "a statement is NAME = value, verb(...), if, for or break"
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


def read_script(source: str) -> Script:
    """The tree of a script.

    Raises ScriptError that says line, column and what to do.
    """
    return _Parser(script_words(source)).script()


class _Parser:
    def __init__(self, words: list[ScriptWord]) -> None:
        self._words = words
        self._place = 0
        self._nested = 0
        self._operators = 0
        self._loops = 0

    # --- words -----------------------------------------------------------------------

    @property
    def _word(self) -> ScriptWord:
        return self._words[self._place]

    def _next(self) -> ScriptWord:
        word = self._word
        if word.kind != "end":
            self._place += 1
        return word

    def _is(self, kind: WordKind, value: str = "") -> bool:
        return self._word.kind == kind and (not value or self._word.value == value)

    def _is_sign(self, *signs: str) -> bool:
        return self._word.kind == "sign" and self._word.value in signs

    def _is_keyword(self, *names: str) -> bool:
        return self._word.kind == "name" and self._word.value in names

    def _expect(self, kind: WordKind, value: str = "", hint: str = "") -> ScriptWord:
        if not self._is(kind, value):
            self._refuse_word(f"expected {value or _called(kind)}", hint)
        return self._next()

    def _fail(self, code: ProblemCode, what: str, at: SourcePosition, hint: str = "") -> NoReturn:
        raise ScriptError([ScriptProblem(code, what, at.line, at.column, hint)])

    def _refuse_word(self, expected: str, hint: str = "") -> NoReturn:
        word = self._word
        habit = _HABITS.get(word.value, "") if word.kind == "name" else ""
        found = quoted(word.value) if word.value else f"the {_called(word.kind)}"
        self._fail("expected", f"{expected}, found {found}", word.at, habit or hint)

    def _name(self, what: str) -> ScriptWord:
        word = self._expect("name", hint=f"name {what}")
        if word.value in KEYWORDS or word.value in _HABITS:
            self._fail("keyword", f"{word.value} is a word of the language", word.at, "rename it")
        return word

    # --- statements --------------------------------------------------------------------

    def script(self) -> Script:
        parameters: list[ScriptParameter] = []
        while self._is_keyword("param"):
            parameters.append(self._parameter())
        body: list[Statement] = []
        while not self._is("end"):
            body.append(self._statement())
        return Script(tuple(body), tuple(parameters))

    def _parameter(self) -> ScriptParameter:
        at = self._next().at
        name = self._name("the parameter").value
        self._expect("sign", ":", "as in param code: text")
        kind = self._expect("name", hint=f"one of {', '.join(PARAMETER_KINDS)}")
        if kind.value not in PARAMETER_KINDS:
            what = f"{quoted(kind.value)} is no kind of parameter"
            self._fail("keyword", what, kind.at, f"one of {', '.join(PARAMETER_KINDS)}")
        self._expect("newline")
        known: dict[str, ParameterKind] = {one: one for one in PARAMETER_KINDS}
        return ScriptParameter(name, known[kind.value], at)

    def _statement(self) -> Statement:
        word = self._word
        if word.kind == "indent":
            self._fail("indent", "this line is indented without a block", word.at, "unindent it")
        if word.kind != "name" or word.value in _HABITS:
            self._refuse_word("expected a statement", _STATEMENTS)
        match word.value:
            case "if":
                return self._branch()
            case "for":
                return self._repetition()
            case "break":
                return self._break()
            case "elif" | "else":
                self._fail("expected", f"{word.value} has no if", word.at, "add the if before it")
            case "param":
                self._fail("expected", "parameters come first", word.at, "move it to the top")
        self._operators = 0
        after = self._words[self._place + 1]
        if after.kind == "sign" and after.value == "=":
            name = self._name("the variable")
            self._next()
            value = self._expression()
            self._expect("newline", hint="write one statement a line")
            return Assignment(name.value, value, name.at)
        if after.kind == "sign" and after.value == "(":
            call = self._call()
            self._expect("newline", hint="write one statement a line")
            return Act(call, call.at)
        self._next()
        self._refuse_word(f"expected = or ( after {quoted(word.value)}", _STATEMENTS)

    def _break(self) -> BreakLoop:
        word = self._next()
        if not self._loops:
            self._fail("loop", "break stands in no loop", word.at, "remove it")
        self._expect("newline", hint="write one statement a line")
        return BreakLoop(word.at)

    def _branch(self) -> Branch:
        at = self._next().at
        self._operators = 0
        condition = self._expression()
        then = self._block()
        # Each elif stands in the otherwise of the one before: bounded as blocks are.
        parts: list[tuple[SourcePosition, Expression, tuple[Statement, ...]]] = []
        while self._is_keyword("elif"):
            if len(parts) == MOST_NESTED:
                self._fail("too_deep", f"an if has at most {MOST_NESTED} elif", self._word.at)
            place = self._next().at
            self._operators = 0
            parts.append((place, self._expression(), self._block()))
        otherwise: tuple[Statement, ...] = ()
        if self._is_keyword("else"):
            self._next()
            otherwise = self._block()
        for place, test, block in reversed(parts):
            otherwise = (Branch(test, block, otherwise, place),)
        return Branch(condition, then, otherwise, at)

    def _repetition(self) -> Repetition:
        at = self._next().at
        variable = self._name("the variable of the loop").value
        if not self._is_keyword("in"):
            self._refuse_word("expected in", "as in for row in $offers__rows:")
        self._next()
        self._operators = 0
        sequence = self._expression()
        self._loops += 1
        body = self._block()
        self._loops -= 1
        return Repetition(variable, sequence, body, at)

    def _block(self) -> tuple[Statement, ...]:
        self._expect("sign", ":", "a block begins with a colon")
        self._expect("newline", hint="the block begins on the next line")
        self._expect("indent", hint="indent the block by four blanks")
        body: list[Statement] = []
        while not self._is("dedent"):
            body.append(self._statement())
        self._next()
        return tuple(body)

    # --- expressions -------------------------------------------------------------------

    def _expression(self) -> Expression:
        return self._nest(lambda: self._chain(self._conjunction, "or"))

    def _nest(self, read: Callable[[], Expression]) -> Expression:
        self._nested += 1
        if self._nested > MOST_NESTED:
            what = f"expressions nest at most {MOST_NESTED} deep"
            self._fail("too_deep", what, self._word.at, "give a part of it to a variable")
        found = read()
        self._nested -= 1
        return found

    def _operator(self, *allowed: str) -> tuple[Operator, SourcePosition] | None:
        word = self._word
        if word.kind not in ("sign", "name") or word.value not in allowed:
            return None
        self._operators += 1
        if self._operators > MOST_OPERATORS:
            what = f"an expression has at most {MOST_OPERATORS} operators"
            self._fail("too_deep", what, word.at, "give a part of it to a variable")
        self._next()
        known: dict[str, Operator] = {one: one for one in OPERATORS}
        return known[word.value], word.at

    def _chain(self, part: Callable[[], Expression], *operators: str) -> Expression:
        left = part()
        while found := self._operator(*operators):
            left = BinaryTerm(found[0], left, part(), found[1])
        return left

    def _conjunction(self) -> Expression:
        return self._chain(self._negation, "and")

    def _negation(self) -> Expression:
        if not self._is_keyword("not"):
            return self._comparison()
        at = self._next().at
        return UnaryTerm("not", self._nest(self._negation), at)

    def _comparison(self) -> Expression:
        left = self._sum()
        found = self._operator(*_COMPARISONS)
        if found is None:
            return left
        term = BinaryTerm(found[0], left, self._sum(), found[1])
        if self._is_sign(*_COMPARISONS) or self._is_keyword("in"):
            self._fail("expected", "comparisons do not chain", self._word.at, "join two with and")
        return term

    def _sum(self) -> Expression:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Expression:
        return self._chain(self._unary, "*", "/")

    def _unary(self) -> Expression:
        if not self._is_sign("-"):
            return self._indexed()
        at = self._next().at
        if self._is("whole"):
            number = self._next()
            return self._index_of(WholeLiteral(-int(number.value), at))
        if self._is("decimal"):
            number = self._next()
            return self._index_of(DecimalLiteral(-Decimal(number.value), at))
        return UnaryTerm("-", self._nest(self._unary), at)

    def _indexed(self) -> Expression:
        return self._index_of(self._primary())

    def _index_of(self, found: Expression) -> Expression:
        while self._is_sign("["):
            at = self._next().at
            self._operators += 1
            if self._operators > MOST_OPERATORS:
                what = f"an expression has at most {MOST_OPERATORS} operators"
                self._fail("too_deep", what, at, "give a part of it to a variable")
            index = self._expression()
            self._expect("sign", "]")
            found = IndexedTerm(found, index, at)
        return found

    def _primary(self) -> Expression:
        word = self._word
        match word.kind:
            case "text":
                return TextLiteral(self._next().value, word.at)
            case "whole":
                return WholeLiteral(int(self._next().value), word.at)
            case "decimal":
                return DecimalLiteral(Decimal(self._next().value), word.at)
            case "element":
                return ElementUse(self._next().value, word.at)
            case "sign" if word.value == "(":
                self._next()
                found = self._expression()
                self._expect("sign", ")")
                return found
            case "sign" if word.value == "[":
                self._next()
                return ListLiteral(self._items("]"), word.at)
            case "name" if word.value in ("true", "false"):
                return TruthLiteral(self._next().value == "true", word.at)
            case "name" if word.value not in KEYWORDS and word.value not in _HABITS:
                after = self._words[self._place + 1]
                if after.kind == "sign" and after.value == "(":
                    return self._call()
                return VariableUse(self._next().value, word.at)
        self._refuse_word("expected a value", "a text, a number, a variable or an element")

    def _call(self) -> VerbCall:
        word = self._name("the verb")
        self._next()
        return VerbCall(word.value, self._items(")"), word.at)

    def _items(self, close: str) -> tuple[Expression, ...]:
        items: list[Expression] = []
        while not self._is_sign(close):
            if len(items) == _MOST_ITEMS:
                self._fail("too_long", f"at most {_MOST_ITEMS} values", self._word.at)
            items.append(self._expression())
            if self._is_sign(close):
                break
            if self._is_sign("="):
                hint = "values have no names; their order says what they are"
                self._fail("expected", "= stands in a value", self._word.at, hint)
            self._expect("sign", ",", f"values are parted by commas and end with {close}")
        self._next()
        return tuple(items)


def _called(kind: str) -> str:
    names = {"newline": "end of the line", "end": "end of the script", "indent": "indented block"}
    return names.get(kind, {"dedent": "end of the block", "whole": "number"}.get(kind, kind))
