"""Reading scripts: trees, precise errors, and never an error of the host."""

from __future__ import annotations

import copy
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.language.problems import ScriptError, ScriptProblem, quoted
from adwright.agent.language.script import (
    KEYWORDS,
    MOST_CHARACTERS,
    MOST_LEVELS,
    MOST_NESTED,
    MOST_OPERATORS,
    MOST_WORDS,
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
    is_allowed_in_text,
    print_script,
    quote_text,
    read_script,
)
from adwright.core.errors import ConfigError
from tests.support.agent.escapes import ESCAPES
from tests.support.agent.random_scripts import scripts

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


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("import os", "expected", "nothing can be imported"),
        ("x = True", "expected", "write true"),
        ("while true:", "expected", "range"),
        ("def f():", "expected", "no functions"),
        ("tap(x=1)", "expected", "values have no names"),
        ("x = 1 y = 2", "expected", "found 'y'"),
        ("x = f'{a}'", "expected", "side by side"),
        ("1 = x", "expected", "a statement is"),
        ("x", "expected", "a statement is"),
        ("if = 1", "expected", "found '='"),
        ("x = ", "expected", "invalid syntax"),
        ("a = 1 < 2 < 3", "expected", "do not chain"),
        ("a = 1 in b in c", "expected", "do not chain"),
        ("if a\n    back()", "expected", "expected ':'"),
        ("if a:\nback()", "indent", "four blanks"),
        ("else:\n    back()", "expected", "found 'else'"),
        ("back()\nparam a: text", "expected", "to the top"),
        ("    param a: text", "expected", "to the top"),
        ("param a text", "expected", "a kind"),
        ("$a = 1", "expected", "a name"),
        ("true = 1", "keyword", "rename"),
        ("tap($a) = 1", "expected", "found"),
        ("a = b = 1", "expected", "no statement"),
        ("a += 1", "expected", "no statement"),
        ("a: b = 1", "expected", "no statement"),
        ("for a in b:\n    back()\nelse:\n    back()", "expected", "no statement"),
        ("if a: back()", "expected", "next line"),
        ("if a:\n    break", "loop", "no loop"),
        *(
            (f"x = {one}", "expected", "no value")
            for one in ("1 if a else b", "a, b", "()", "[a for a in b]", "a[1:2]", "a not in b")
        ),
        *((f"x = {one}", "expected", "no value") for one in ("a ** b", "a // b", "+a", "(a := 1)")),
        *(
            (f"x = {one}", "expected", "")
            for one in ("f(*a)", "f(**a)", "$a(1)", "f(1)(2)", "a is b")
        ),
        ("x = 'a' 'b'", "expected", "side by side"),
        ("x = ['a'\n    'b']", "expected", "side by side"),
        ("x = a$b", "expected", "side by side"),
        ("x = $b'a'", "expected", ""),
        ("x = 1$b", "expected", "side by side"),
        ("x = '''a'''", "expected", "side by side"),
        ("param a: object", "keyword", "text, whole, number, truth"),
        ("param if: text", "keyword", "rename"),
        ("for a on b:\n    back()", "expected", "found 'on'"),
        ("for not in b:\n    back()", "expected", "found 'not'"),
        ("break", "loop", "no loop"),
        ("back()\n    back()", "indent", "and nothing else"),
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


def test_a_line_goes_on_within_brackets_and_comments_say_nothing() -> None:
    wanted = read_script("tap($a)\nback()\n")
    assert read_script("tap(\n  $a  # this one\n)\r\n\r\n   # only words\r\nback()") == wanted


def test_escapes_are_few() -> None:
    assert value(r'"a\n\t\"\'\\"') == TextLiteral("a\n\t\"'\\")
    assert value(r"'\\n'") == TextLiteral("\\n")


def test_places_are_those_of_the_words() -> None:
    (branch,) = read_script('# why\nif $a__b:\n    x = ["é", 1, from]\n').body
    assert isinstance(branch, Branch)
    (inner,) = branch.then
    assert isinstance(inner, Assignment)
    assert isinstance(inner.value, ListLiteral)
    assert [(one.at.line, one.at.column) for one in (branch, inner, *inner.value.items)] == [
        *((2, 1), (3, 5), (3, 10), (3, 15), (3, 18))
    ]
    assert inner.value.items[2] == VariableUse("from")  # a word of Python's alone


@pytest.mark.parametrize(
    ("source", "code", "column"),
    [
        ("x.y", "character", 2),
        ("\tback()", "character", 1),
        ("b\u0430ck()", "character", 2),  # a Cyrillic letter
        ("\uff42ack()", "character", 1),  # a wide letter
        ("# \u202e reordered", "character", 3),
        ("x = 'a\u200bb'", "character", 7),
        ("x = '\x00'", "character", 6),
        ("{", "character", 1),
        ("_x = 1", "character", 1),
        ("__import__('os')", "character", 1),
        ("$", "character", 1),
        ("$é", "character", 1),
        ("x = 1e5", "number", 5),
        ("x = 1.2.3", "number", 5),
        ("x = 0x10", "number", 5),
        ("x = 1234567890123456", "number", 5),
        ("x = \u0661", "character", 5),  # an Arabic digit
        ("x = 'a", "text_end", 5),
        ("x = '\\x41'", "escape", 6),
        ("x = 'a\\", "escape", 7),
        ("  back()", "indent", 2),
        ("        back()", "indent", 8),
        ("tap($a", "bracket", 4),
        ("tap)", "bracket", 4),
        ("tap(]", "bracket", 5),
        ("a" * 81, "too_long", 1),
    ],
)
def test_what_is_no_word_is_refused_where_it_stands(source: str, code: str, column: int) -> None:
    with pytest.raises(ScriptError) as caught:
        read_script(source)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line, problem.column) == (code, 1, column)


def test_a_look_alike_is_named() -> None:
    with pytest.raises(ScriptError, match="cyrillic small letter a"):
        read_script("b\u0430ck()")


@pytest.mark.parametrize(
    "source",
    [
        "#" * (MOST_CHARACTERS + 1),
        "1 " * (MOST_WORDS + 1),
        f"x = '{'a' * 2001}'",
        "".join(" " * 4 * n + "if x:\n" for n in range(MOST_LEVELS + 1))
        + " " * 4 * (MOST_LEVELS + 1)
        + "back()\n",
    ],
)
def test_a_script_is_bounded(source: str) -> None:
    with pytest.raises(ScriptError) as caught:
        read_script(source)
    assert caught.value.code in ("too_long", "too_deep")


def test_visible_characters_may_stand_in_text() -> None:
    assert all(map(is_allowed_in_text, "aé漢 €😀"))
    assert not any(map(is_allowed_in_text, "\n\u200d\u2028\ud800\ue000"))


PRINTER_A, PRINTER_B = VariableUse("a"), VariableUse("b")


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0, max_value=2**63))
def test_a_printed_script_reads_as_itself(seed: int) -> None:
    tree = scripts(seed)
    printed = print_script(tree)
    again = read_script(printed)
    assert again == tree
    assert print_script(again) == printed


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (UnaryTerm("-", WholeLiteral(3)), "-(3)"),
        (UnaryTerm("-", WholeLiteral(-3)), "--3"),
        (UnaryTerm("-", UnaryTerm("-", PRINTER_A)), "--a"),
        (UnaryTerm("-", BinaryTerm("+", PRINTER_A, PRINTER_B)), "-(a + b)"),
        (BinaryTerm("-", PRINTER_A, BinaryTerm("-", PRINTER_A, PRINTER_B)), "a - (a - b)"),
        (BinaryTerm("==", BinaryTerm("<", PRINTER_A, PRINTER_B), PRINTER_B), "(a < b) == b"),
        (BinaryTerm("and", BinaryTerm("or", PRINTER_A, PRINTER_B), PRINTER_B), "(a or b) and b"),
        (UnaryTerm("not", BinaryTerm("and", PRINTER_A, PRINTER_B)), "not (a and b)"),
        (BinaryTerm("==", UnaryTerm("not", PRINTER_A), PRINTER_B), "(not a) == b"),
        (DecimalLiteral(Decimal("5")), "5.0"),
        (DecimalLiteral(Decimal("1E+3")), "1000.0"),
        (TextLiteral('say "hi"\n'), '"say \\"hi\\"\\n"'),
    ],
)
def test_only_needed_brackets_are_written(tree: object, text: str) -> None:
    script = Script((Assignment("x", tree),))  # type: ignore[arg-type]
    assert print_script(script) == f"x = {text}\n"
    assert read_script(f"x = {text}") == script


def test_text_that_no_script_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot hold"):
        quote_text("a\u202eb")


def test_names_are_no_keywords() -> None:
    assert "x" not in KEYWORDS


def test_operators_and_kinds_are_those_of_the_language() -> None:
    one = WholeLiteral(1)
    for wrong in (
        lambda: BinaryTerm("**", one, one),  # type: ignore[arg-type]
        lambda: UnaryTerm("~", one),  # type: ignore[arg-type]
        lambda: ScriptParameter("x", "object"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError):
            wrong()


def test_an_error_says_where_and_what_to_do() -> None:
    first = ScriptProblem("index", "there is no item 3", 2, 5, "test len(...)")
    error = ScriptError([first, ScriptProblem("value", "no number")])
    assert str(error) == ("there is no item 3 (and 1 more) [line 2, column 5] -> test len(...)")
    assert error.code == "index"
    assert error.problems[1].where == ""


def test_an_error_can_be_sent() -> None:
    error = ScriptError([ScriptProblem("index", "there is no item 3", 2, 5)])
    again = copy.deepcopy(error)  # goes the way of pickling
    assert (str(again), again.problems) == (str(error), error.problems)


def test_quoted_text_is_short_and_visible() -> None:
    assert quoted("a\u202eb\n") == "'a\\u202eb\\n'"
    assert len(quoted("x" * 1000)) < 70
