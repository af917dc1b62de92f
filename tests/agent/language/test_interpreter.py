"""Running scripts in a world in memory."""

from __future__ import annotations

import copy
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.drivers.protocol import DriverError
from adwright.agent.language.kinds import (
    LARGEST_NUMBER,
    LONGEST_TEXT,
    ArgumentValue,
    ElementHandle,
    PlainValue,
    ScriptValue,
    SecretName,
    apply_operator,
    bounded_text,
    joined_sources,
    matching_handles,
    negated,
)
from adwright.agent.language.problems import (
    BudgetMeter,
    RunBudget,
    ScriptError,
    ScriptProblem,
    quoted,
)
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
from adwright.agent.language.statements import (
    CheckedScript,
    CheckRules,
    RunOutcome,
    check_arguments,
    check_script,
    run_script,
)
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError
from tests.support.agent.escapes import ESCAPES
from tests.support.agent.plain_world import PlainWorld
from tests.support.agent.random_scripts import damaged, scripts
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()


def world() -> PlainWorld:
    return PlainWorld(
        texts={"budget__total": "1,200.50", "mail__text": "Spring", "offer_edit__name": "Old"},
        rows={"offers__rows": ["Spring 20%", "Autumn 10%", "spring 5%"]},
        checked={"offer_edit__active": True},
    )


def run(
    source: str,
    where: PlainWorld | None = None,
    arguments: dict[str, ArgumentValue] | None = None,
    *,
    budget: RunBudget | None = None,
    rules: CheckRules | None = None,
) -> RunOutcome:
    checked = check_script(read_script(source), DOCUMENT, rules)
    place = world() if where is None else where
    return run_script(checked, DOCUMENT, place, arguments or {}, clock=FixedClock(), budget=budget)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1 + 2 * 3", "7"),
        ("7 / 2", "3.5"),
        ("number(get_text($budget__total)) + 1", "1201.50"),
        ("len($offers__rows)", "3"),
        ("len(match($offers__rows, 'SPRING'))", "2"),
        ("get_text(match($offers__rows, 'autumn')[0])", "Autumn 10%"),
        ("get_text($offers__rows[2])", "spring 5%"),
        ("get_attributes($offer_edit__active, 'checked')", "true"),
        ("get_attributes($offer_edit__name, 'value')", "Old"),
        ("lower('ÄB')", "äb"),
        ("'a' + text(1.50)", "a1.50"),
        ("-2 < 1 and not false", "true"),
        ("'x' in 'axb' or 1 / 0 == 1", "true"),
        ("false and 1 / 0 == 1", "false"),
        ("scroll('down')", "true"),
        ("[1, 2, 3][1]", "2"),
    ],
)
def test_values(value: str, said: str) -> None:
    assert run(f"answer({value})").answers == (said,)


def test_acts_are_done_in_order() -> None:
    place = world()
    source = """
param code: text
param share: number
rows = match($offers__rows, code)
for row in rows:
    tap(inside(row, $offers__edit))
    set_text($offer_edit__share, share)
    choose($offer_edit__status, "Open")
    choose($offer_edit__active, false)
    tap($offer_edit__save)
    break
back()
"""
    lines: list[int] = []
    checked = check_script(read_script(source), DOCUMENT)
    outcome = run_script(
        checked,
        DOCUMENT,
        place,
        {"code": "spring", "share": Decimal("12.50")},
        clock=FixedClock(),
        on_line=lines.append,
    )
    assert place.done == [
        ("tap", "offers__rows[0] offers__edit", None),
        ("set_text", "offer_edit__share", "12.50"),
        ("choose", "offer_edit__status", "Open"),
        ("choose", "offer_edit__active", False),
        ("tap", "offer_edit__save", None),
        ("back", "", None),
    ]
    assert (outcome.acts, outcome.writes) == (6, 1)
    assert lines == [4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_a_secret_is_handed_on_by_name() -> None:
    place = world()
    run('set_text($sign_in__password, secret("admin"))', place)
    assert place.done == [("set_text", "sign_in__password", SecretName("admin"))]


def test_answers_keep_their_sources() -> None:
    place = world()
    run("answer('done')\nanswer(get_text($mail__text))", place)
    assert place.said == [("done", frozenset()), ("Spring", frozenset({"mail__text"}))]


def test_loops_end_and_variables_stay() -> None:
    source = "x = 0\nfor i in range(10):\n    if i == 3:\n        break\n    x = x + i\nanswer(x)"
    assert run(source).answers == ("3",)
    empty = "for row in match($offers__rows, 'no such'):\n    answer(1)"
    assert run(empty).answers == ()


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        ("x = 1\nanswer([1, 2][x + 1])", "index", 2),
        ("answer([1][-1])", "index", 1),
        ("answer(number('many'))", "value", 1),
        ("answer(1 / 0)", "value", 1),
        ("answer(get_text($mail__to))", "not_found", 1),
        ("expect(get_text($mail__text) == 'Autumn')", "expectation", 1),
        ("x = 'a'\nfor i in range(20):\n    x = x + x", "value", 3),
        ("for i in range(1000):\n    for j in range(1000):\n        x = 1", "budget", 3),
    ],
)
def test_a_run_stops_with_the_line(source: str, code: str, line: int) -> None:
    with pytest.raises(ScriptError) as caught:
        run(source)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == (code, line)


def test_a_driver_that_fails_stops_the_run() -> None:
    class Broken(PlainWorld):
        def text(self, target: ElementHandle) -> str:
            raise DriverError("the page is gone")

    with pytest.raises(ScriptError, match="the page is gone") as caught:
        run("x = 1\nanswer(get_text($mail__text))", Broken())
    assert (caught.value.code, caught.value.problems[0].line) == ("driver", 2)


def test_values_of_fields_are_checked_when_they_are_known() -> None:
    source = "param share: number\nset_text($offer_edit__share, share)"
    assert run(source, arguments={"share": 90}).acts == 1
    with pytest.raises(ScriptError, match="at most 90"):
        run(source, arguments={"share": 91})


def test_page_data_is_stopped_at_the_field_too() -> None:
    # As if the checker had not looked: the rules are those of another script.
    script = read_script("set_text($mail__to, get_text($mail__text))")
    place = world()
    checked = CheckedScript(script, "shop", "1", (), ())
    with pytest.raises(ScriptError) as caught:
        run_script(checked, DOCUMENT, place, {}, clock=FixedClock())
    assert caught.value.code == "tainted_write"
    assert place.done == []


def test_a_long_list_is_not_cut_in_silence() -> None:
    place = PlainWorld(rows={"offers__rows": [str(n) for n in range(51)]})
    source = "for row in $offers__rows:\n    x = get_text(row)\n"
    with pytest.raises(ScriptError, match="51 items"):
        run(source, place)
    assert run(source, place, rules=CheckRules(most_items=51)).acts == 0


def test_budgets_stop_acts_and_writes() -> None:
    source = "for i in range(3):\n    tap($mail__send)"
    place = world()
    with pytest.raises(ScriptError) as caught:
        run(source, place, budget=RunBudget(writes=2))
    assert caught.value.code == "budget"
    assert len(place.done) == 2
    with pytest.raises(ScriptError, match="acted 1 times"):
        run(source, budget=RunBudget(acts=1))


def test_items_within_items_are_bounded() -> None:
    source = "x = $offers__rows[0]\nfor i in range(9):\n    x = inside(x, $offers__edit)"
    with pytest.raises(ScriptError, match="4 deep"):
        run(source)


def test_a_script_runs_on_the_document_it_was_checked_on() -> None:
    checked = check_script(read_script("back()"), DOCUMENT)
    with pytest.raises(ScriptError, match="checked on shop 1") as caught:
        run_script(checked, shop_document("2"), world(), {}, clock=FixedClock())
    assert caught.value.code == "wrong_state"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "has no value"),
        ({"n": 1, "m": 2}, "no parameter"),
        ({"n": "1"}, "is a whole"),
        ({"n": True}, "is a whole"),
        ({"n": Decimal(1)}, "is a whole"),
    ],
)
def test_arguments_have_kinds(arguments: dict[str, ArgumentValue], words: str) -> None:
    script = read_script("param n: whole\nanswer(n)")
    with pytest.raises(ScriptError, match=words):
        check_arguments(script.parameters, arguments)
    assert check_arguments(script.parameters, {"n": 3})["n"].data == 3


def test_a_number_as_argument_is_finite() -> None:
    script = read_script("param n: number\nanswer(n)")
    with pytest.raises(ScriptError, match="finite"):
        check_arguments(script.parameters, {"n": Decimal("NaN")})


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0, max_value=2**63))
def test_any_text_runs_or_is_refused(seed: int) -> None:
    given: dict[str, ArgumentValue] = {"a": "x", "b": 1, "row": True, "total": Decimal(2)}
    steps = 0
    with suppress(ScriptError):
        script = read_script(damaged(seed))
        arguments = {one.name: given[one.name] for one in script.parameters if one.name in given}
        checked = check_script(script, DOCUMENT)
        budget = RunBudget(steps=500)
        clock = FixedClock()
        steps = run_script(checked, DOCUMENT, world(), arguments, clock=clock, budget=budget).steps
    assert steps <= 500


def test_the_one_item_with_a_text_is_found() -> None:
    seen = world()
    run('tap(inside(find($offers__rows, "Autumn"), $offers__edit))', seen)
    assert seen.done == [("tap", "offers__rows[1] offers__edit", None)]
    with pytest.raises(ScriptError, match="0 items"):
        run('answer(get_text(find($offers__rows, "Winter")))', world())
    with pytest.raises(ScriptError, match="find takes a list"):
        check_script(read_script('rows = $offers__rows\ntap(find(rows, "Spring"))'), DOCUMENT)


WHOLES = st.integers(-LARGEST_NUMBER, LARGEST_NUMBER)
DECIMALS = st.decimals(-(10**9), 10**9, places=4, allow_nan=False, allow_infinity=False)


def compute(operator: str, left: PlainValue, right: PlainValue) -> PlainValue:
    value = apply_operator(operator, ScriptValue(left), ScriptValue(right))  # type: ignore[arg-type]
    return value.data


@given(st.sampled_from("+-*"), WHOLES, WHOLES)
def test_whole_numbers_are_exact_or_refused(operator: str, left: int, right: int) -> None:
    true = {"+": left + right, "-": left - right, "*": left * right}[operator]
    if abs(true) <= LARGEST_NUMBER:
        assert compute(operator, left, right) == true
        assert isinstance(compute(operator, left, right), int)
    else:
        with pytest.raises(ScriptError):
            compute(operator, left, right)


@given(st.sampled_from("+-"), DECIMALS, DECIMALS)
def test_decimals_are_exact(operator: str, left: Decimal, right: Decimal) -> None:
    one, other = Fraction(left), Fraction(right)
    found = compute(operator, left, right)
    assert isinstance(found, Decimal)
    assert Fraction(found) == (one + other if operator == "+" else one - other)


@given(WHOLES, WHOLES)
def test_numbers_are_ordered(left: int, right: int) -> None:
    assert compute("<", left, right) == (left < right)
    assert compute(">=", left, Decimal(right)) == (left >= right)
    assert compute("<=", left, right) == (left <= right)
    assert compute(">", left, right) == (left > right)


def test_a_quotient_is_decimal() -> None:
    assert compute("/", 1, 4) == Decimal("0.25")
    with pytest.raises(ScriptError, match="divided by 0"):
        compute("/", 1, 0)


def test_equality_knows_kinds() -> None:
    assert compute("==", 1, Decimal("1.0")) is True
    assert compute("==", 1, True) is False
    assert compute("!=", "1", 1) is True


def test_in_looks_into_texts_and_lists() -> None:
    assert compute("in", "b", "abc") is True
    items = (ScriptValue(1, frozenset("x")), ScriptValue(2))
    assert compute("in", 2, items) is True
    assert compute("in", True, items) is False
    found = apply_operator("in", ScriptValue(2), ScriptValue(items))
    assert found.sources == {"x"}
    with pytest.raises(ScriptError):
        compute("in", 1, 2)


def test_sources_go_on() -> None:
    left, right = ScriptValue("a", frozenset("x")), ScriptValue("b", frozenset("y"))
    for operator in ("+", "==", "in"):
        assert apply_operator(operator, left, right).sources == {"x", "y"}  # type: ignore[arg-type]
    assert negated(ScriptValue(1, frozenset("x"))) == ScriptValue(-1, frozenset("x"))


@pytest.mark.parametrize("wrong", ["a", True, None])
def test_only_numbers_are_computed_with(wrong: PlainValue) -> None:
    with pytest.raises(ScriptError):
        compute("-", wrong, 1)
    with pytest.raises(ScriptError):
        negated(ScriptValue(wrong))


def test_a_text_is_bounded() -> None:
    assert bounded_text("a" * LONGEST_TEXT)
    with pytest.raises(ScriptError, match="at most"):
        compute("+", "a" * LONGEST_TEXT, "a")


def test_sources_are_joined() -> None:
    values = [ScriptValue("a", frozenset("x")), ScriptValue(1), ScriptValue("b", frozenset("y"))]
    assert joined_sources(values) == {"x", "y"}
    assert joined_sources([]) == frozenset()


def test_an_item_is_known_by_what_was_seen() -> None:
    assert ElementHandle("a", 0, "Spring") != ElementHandle("a", 0, "Autumn")


def test_whole_words_are_matched_before_parts() -> None:
    items = [ElementHandle("a", n, text) for n, text in enumerate(("offer-10 Tea", "offer-1 Tea"))]
    assert [one.place for one in matching_handles(items, "OFFER-1")] == [1]
    assert [one.place for one in matching_handles(items, "tea")] == [0, 1]
    assert [one.place for one in matching_handles(items, "off")] == [0, 1]
    assert matching_handles(items, "milk") == ()


def test_steps_acts_and_writes_are_counted() -> None:
    meter = BudgetMeter(RunBudget(steps=1, acts=2, writes=1), FixedClock())
    meter.step()
    with pytest.raises(ScriptError, match="1 steps"):
        meter.step()
    meter.act(writes=True)
    with pytest.raises(ScriptError, match="written 1 times"):
        meter.act(writes=True)
    meter.act(writes=False)
    with pytest.raises(ScriptError, match="acted 2 times"):
        meter.act(writes=False)
    assert (meter.steps, meter.acts, meter.writes) == (1, 2, 1)


def test_time_ends_a_run() -> None:
    clock = FixedClock()
    meter = BudgetMeter(RunBudget(seconds=5), clock)
    clock.advance(4.9)
    meter.act(writes=False)
    clock.advance(0.1)
    with pytest.raises(ScriptError, match="5 seconds") as caught:
        meter.act(writes=False)
    assert caught.value.code == "budget"


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
