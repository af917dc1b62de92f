"""Scripts against a document: what passes, what it may do, and each reason to refuse."""

from __future__ import annotations

import pytest

from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import CheckedScript, CheckRules, check_script
from adwright.agent.policy.taint import FlowRule
from adwright.core.errors import ConfigError
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()


def check(source: str, rules: CheckRules | None = None) -> CheckedScript:
    return check_script(read_script(source), DOCUMENT, rules)


def codes(source: str, rules: CheckRules | None = None) -> list[tuple[str, int]]:
    with pytest.raises(ScriptError) as caught:
        check(source, rules)
    return [(one.code, one.line) for one in caught.value.problems]


GOOD = """
param code: text
param share: number
for row in match($offers__rows, code):
    tap(inside(row, $offers__edit))
    set_text($offer_edit__share, share)
    choose($offer_edit__status, "Open")
    choose($offer_edit__active, true)
    tap($offer_edit__save)
    break
answer(text(len($offers__rows)))
"""


def test_a_good_script_says_what_it_may_do() -> None:
    checked = check(GOOD)
    assert [(one.element, one.effect, one.most, one.line) for one in checked.effects] == [
        ("offers__edit", "navigate", 50, 5),
        ("offer_edit__share", "draft", 50, 6),
        ("offer_edit__status", "draft", 50, 7),
        ("offer_edit__active", "draft", 50, 8),
        ("offer_edit__save", "commit", 50, 9),
    ]
    assert checked.most_writes == 50
    assert (checked.app, checked.version) == ("shop", "1")
    assert "offers__rows" in checked.elements


@pytest.mark.parametrize(
    ("source", "most"),
    [
        ("tap($mail__send)", 1),
        ("for i in range(3):\n    tap($mail__send)", 3),
        ("for i in range(3):\n    for t in ['a', 'b']:\n        tap($mail__send)", 6),
        ("for row in $offers__rows:\n    tap($mail__send)", 50),
        ("if true:\n    tap($mail__send)", 1),
        ("tap($home__offers)", 0),
    ],
)
def test_writes_are_counted_with_all_loops(source: str, most: int) -> None:
    assert check(source).most_writes == most


def test_most_items_bounds_what_loops_count() -> None:
    source = "for row in $offers__rows:\n    tap($mail__send)"
    assert check(source, CheckRules(most_items=7)).most_writes == 7


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("tap($offer__new)", [("unknown_element", 1)]),
        ("tap(row)", [("unknown_name", 1)]),
        ("tap($offers__rows)", [("wrong_type", 1)]),
        ("set_text($offer_edit__save, 'a')", [("wrong_type", 1)]),
        ("choose($offer_edit__status, 'Ope')", [("wrong_option", 1)]),
        ("set_text($offer_edit__share, 91)", [("constraint", 1)]),
        ("set_text($sign_in__password, 'hunter2')", [("wrong_type", 1)]),
        ("x = secret('a')", [("wrong_type", 1)]),
        ("x = tap($home__mail)", [("wrong_type", 1)]),
        ("answer(secret('a'))", [("wrong_type", 1)]),
        ("len($offers__rows)", [("arguments", 1)]),
        ("x = 1\nx = 'a'", [("wrong_type", 2)]),
        ("if 1:\n    back()", [("wrong_type", 1)]),
        ("for x in 3:\n    back()", [("loop", 1)]),
        ("for x in []:\n    back()", [("loop", 1)]),
        ("for x in 'abc':\n    back()", [("loop", 1)]),
        ("tap($sign_in__reset)", [("forbidden_effect", 1)]),
        ("tap($home__sign_in)\nenter()", [("forbidden_effect", 2)]),
        ("if true:\n    x = 1\nanswer(x)", [("unknown_name", 3)]),
        ("for i in range(2):\n    x = 1\nanswer(x)", [("unknown_name", 3)]),
        ("param a: text\nparam a: text", [("unknown_name", 2)]),
        (
            "tap($a)\ntap($b)\nanswer(c)",
            [("unknown_element", 1), ("unknown_element", 2), ("unknown_name", 3)],
        ),
    ],
)
def test_reasons_to_refuse(source: str, found: list[tuple[str, int]]) -> None:
    assert codes(source) == found


def test_a_variable_that_has_a_value_on_all_ways_is_known() -> None:
    assert check("if true:\n    x = 1\nelse:\n    x = 2.5\nanswer(x)")
    assert check("for i in range(2):\n    if i == 1:\n        x = 1\n    else:\n        break\n")


def test_the_nearest_element_is_named() -> None:
    with pytest.raises(ScriptError, match=r"did you mean \$offer_edit__save"):
        check("tap($offer_edit__sav)")


@pytest.mark.parametrize(
    "source",
    [
        "set_text($mail__to, get_text($mail__text))",
        "x = get_text($mail__text)\nset_text($mail__to, x + '!')",
        "x = 'a'\nif true:\n    x = get_text($mail__text)\nset_text($mail__to, x)",
        # Only the second round carries it.
        "x = 'a'\ny = 'a'\nfor i in range(3):\n    set_text($mail__to, x)\n    x = y\n"
        "    y = get_text($mail__text)",
        "x = 'a'\nfor i in range(3):\n    if i == 1:\n        x = get_text($mail__text)\n"
        "        break\nset_text($mail__to, x)",
        "for x in ['a', get_text($mail__text)]:\n    set_text($mail__to, x)",
        "set_text($mail__to, lower(get_text($mail__text)))",
        "set_text($offer_edit__share, number(get_text($mail__text)))",
        "set_text($mail__to, text(len(get_text($mail__text))))",
        "set_text($mail__to, get_attributes($mail__text, 'value'))",
    ],
)
def test_page_data_goes_into_no_field(source: str) -> None:
    assert "tainted_write" in {code for code, _ in codes(source)}


def test_a_rule_lets_one_flow_through() -> None:
    source = "set_text($mail__to, get_text($mail__text))"
    assert check(source, CheckRules(flows=(FlowRule("mail__text", "mail__to"),)))
    other = CheckRules(flows=(FlowRule("mail__text", "offer_edit__name"),))
    assert codes(source, other) == [("tainted_write", 1)]


def test_comparing_and_showing_page_data_is_free() -> None:
    assert check("x = get_text($mail__text)\nif x == 'a':\n    set_text($mail__to, 'b')\nanswer(x)")


def test_forbidden_effects_are_a_setting() -> None:
    assert codes("tap($mail__send)", CheckRules(forbidden=("message",))) == [
        ("forbidden_effect", 1)
    ]
    assert check("tap($sign_in__reset)", CheckRules(forbidden=()))


def test_a_state_behind_a_write_is_unreachable() -> None:
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offer_edit__delete")
    assert len(kept) == len(DOCUMENT.elements) - 1
    document = type(DOCUMENT)("shop", "1", (), "home", DOCUMENT.states, kept)
    with pytest.raises(ScriptError) as caught:
        check_script(read_script("tap($offer_delete__confirm)"), document)
    assert caught.value.code == "unreachable"


def test_an_intricate_script_is_refused_in_time() -> None:
    # Each round over the loop carries what the last variable has one variable further.
    start = "".join(f"v{n} = 'a'\n" for n in range(240))
    body = "".join(f"    v{n} = v{n + 1}\n" for n in range(239))
    source = f"{start}for i in range(2):\n{body}    v239 = get_text($mail__text)\n"
    assert codes(source)[-1][0] == "too_deep"


def test_only_so_many_problems_are_listed() -> None:
    assert len(codes("tap($nothing)\n" * 400)) == 50


def test_rules_are_checked() -> None:
    with pytest.raises(ConfigError):
        CheckRules(forbidden=("harm",))  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        CheckRules(most_items=0)
