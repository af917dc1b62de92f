"""Running scripts in a world in memory."""

from __future__ import annotations

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
from adwright.agent.language.problems import BudgetMeter, RunBudget, ScriptError
from adwright.agent.language.script import read_script
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
from tests.support.agent.plain_world import PlainWorld
from tests.support.agent.random_scripts import damaged
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


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"writes": -1}, {"acts": 1.5}, {"seconds": 0}])
def test_a_budget_is_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RunBudget(**wrong)  # type: ignore[arg-type]
