"""Reading scripts: trees, precise errors, and never an error of the host."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.language.parser import KEYWORDS, MOST_NESTED, MOST_OPERATORS, read_script
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.tree import (
    Act,
    Assignment,
    BinaryTerm,
    Branch,
    BreakLoop,
    DecimalLiteral,
    ElementUse,
    IndexedTerm,
    ListLiteral,
    Repetition,
    Script,
    ScriptParameter,
    TextLiteral,
    TruthLiteral,
    UnaryTerm,
    VariableUse,
    VerbCall,
    WholeLiteral,
)
from tests.support.agent.escapes import ESCAPES

A, B = VariableUse("a"), VariableUse("b")


def value(source: str) -> object:
    (statement,) = read_script(f"x = {source}\n").body
    assert isinstance(statement, Assignment)
    return statement.value


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("1", WholeLiteral(1)),
        ("-1", WholeLiteral(-1)),
        ("-1.50", DecimalLiteral(Decimal("-1.50"))),
        ("true", TruthLiteral(True)),
        ("'it'", TextLiteral("it")),
        ("[]", ListLiteral(())),
        ("[1, 2,]", ListLiteral((WholeLiteral(1), WholeLiteral(2)))),
        ("$a__b[0]", IndexedTerm(ElementUse("a__b"), WholeLiteral(0))),
        ("-a", UnaryTerm("-", A)),
        ("not a and b", BinaryTerm("and", UnaryTerm("not", A), B)),
        ("a or a and b", BinaryTerm("or", A, BinaryTerm("and", A, B))),
        ("a + a * b", BinaryTerm("+", A, BinaryTerm("*", A, B))),
        ("(a + a) * b", BinaryTerm("*", BinaryTerm("+", A, A), B)),
        ("a - a - b", BinaryTerm("-", BinaryTerm("-", A, A), B)),
        ("not a == b", UnaryTerm("not", BinaryTerm("==", A, B))),
        ("a in b", BinaryTerm("in", A, B)),
        ("len(a)[0]", IndexedTerm(VerbCall("len", (A,)), WholeLiteral(0))),
    ],
)
def test_values_are_read_as_they_bind(source: str, tree: object) -> None:
    assert value(source) == tree


def test_statements_are_read() -> None:
    source = """
param code: text
for row in $rows:
    if a:
        break
    elif b:
        tap(row)
    else:
        back()
"""
    inner = Branch(B, (Act(VerbCall("tap", (VariableUse("row"),))),), (Act(VerbCall("back")),))
    assert read_script(source) == Script(
        (Repetition("row", ElementUse("rows"), (Branch(A, (BreakLoop(),), (inner,)),)),),
        (ScriptParameter("code", "text"),),
    )


def is_read_or_refused(source: str) -> bool:
    try:
        return isinstance(read_script(source), Script)
    except ScriptError as error:
        return error.problems[0].line >= 1


def test_an_empty_script_is_one() -> None:
    assert read_script("  \n# nothing\n") == Script(())


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("import os", "expected", "nothing can be imported"),
        ("x = True", "expected", "write true"),
        ("while true:", "expected", "range"),
        ("def f():", "expected", "no functions"),
        ("tap(x=1)", "expected", "values have no names"),
        ("x = 1 y = 2", "expected", "one statement a line"),
        ("x = f'{a}'", "expected", "end of the line"),
        ("1 = x", "expected", "a statement is"),
        ("x", "expected", "= or ("),
        ("if = 1", "expected", "a value"),
        ("x = ", "expected", "a value"),
        ("a = 1 < 2 < 3", "expected", "do not chain"),
        ("a = 1 in b in c", "expected", "do not chain"),
        ("if a\n    back()", "expected", "colon"),
        ("if a:\nback()", "expected", "four blanks"),
        ("else:\n    back()", "expected", "has no if"),
        ("back()\nparam a: text", "expected", "to the top"),
        ("param a: object", "keyword", "text, whole, number, truth"),
        ("param if: text", "keyword", "rename"),
        ("for a on b:\n    back()", "expected", "expected in"),
        ("for not in b:\n    back()", "keyword", "rename"),
        ("break", "loop", "no loop"),
        ("back()\n    back()", "indent", "without a block"),
        (f"x = {'(' * 50}1{')' * 50}", "too_deep", "nest at most"),
        (f"x = {'[' * 50}1{']' * 50}", "too_deep", "nest at most"),
        (f"x = {'not ' * 50}a", "too_deep", "nest at most"),
        (f"x = {'-' * 50}a", "too_deep", "nest at most"),
        (f"x = {' + '.join('a' * 50)}", "too_deep", "operators"),
        (f"x = a{'[0]' * 50}", "too_deep", "operators"),
        (f"x = [{','.join('a' * 300)}]", "too_long", "at most 200"),
        ("if a:\n    back()\n" + "elif a:\n    back()\n" * 20, "too_deep", "elif"),
    ],
)
def test_mistakes_are_named(source: str, code: str, words: str) -> None:
    with pytest.raises(ScriptError) as caught:
        read_script(source)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert caught.value.problems[0].line >= 1


def test_bounds_admit_what_is_below_them() -> None:
    assert value("(" * (MOST_NESTED - 1) + "a" + ")" * (MOST_NESTED - 1)) == A
    assert isinstance(value(" + ".join("a" * (MOST_OPERATORS + 1))), BinaryTerm)


@pytest.mark.parametrize("source", ESCAPES)
def test_an_escape_is_read_as_plain_words_or_refused(source: str) -> None:
    assert is_read_or_refused(source)


WORDS = [*sorted(KEYWORDS), *("tap", "x", "$a", "(", ")", "[", "]", ":", ",", "=", "1", "'t'")]
WORDS += ["\n", "\n    ", "\n        ", "+", "-", "<", "2.5", "#", "é", "."]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)))
def test_any_text_is_read_or_refused(source: str) -> None:
    assert is_read_or_refused(source)
