"""Scripts against a document: what passes, what it may do, and each reason to refuse."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest

from adwright.agent.document.elements import Element, ValueConstraints
from adwright.agent.language.expression_kinds import (
    MESSAGES,
    ExpressionKinds,
    StateReach,
    automatic_routes,
    leads,
    nearest_elements,
)
from adwright.agent.language.kinds import (
    NOTHING,
    VERBS,
    ValueKind,
    number_in,
    read_decimal,
    why_text_unfit,
    why_unfit,
)
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import Act, Assignment, TextLiteral, WholeLiteral, read_script
from adwright.agent.language.statements import CheckedScript, CheckRules, check_script
from adwright.agent.policy.origins import FlowRule
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


NAMES = {
    "t": ValueKind("text"),
    "dirty": ValueKind("text", sources=frozenset({"mail__text"})),
    "n": ValueKind("whole"),
    "row": ValueKind("element", names=frozenset({"offers__rows"})),
}


def kind(source: str) -> tuple[ValueKind | None, list[str], list[str]]:
    """The kind, the codes of problems, and the elements that are looked at."""
    (statement,) = read_script(f"x = {source}").body
    assert isinstance(statement, Assignment)
    problems: list[str] = []
    visited: list[str] = []
    kinds = ExpressionKinds(
        shop_document(),
        lambda key, at, **words: problems.append(MESSAGES[key][0]),
        lambda names, at: visited.extend(names),
    )
    return kinds.kind(statement.value, NAMES), problems, visited


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("1 + 2", "whole"),
        ("1 + 2.5", "number"),
        ("1 / 2", "number"),
        ("-n", "whole"),
        ("t + 'x'", "text"),
        ("1 < 2.5", "truth"),
        ("t == 'x'", "truth"),
        ("'x' in t", "truth"),
        ("1 in [1, 2.5]", "truth"),
        ("1 in []", "truth"),
        ("not true or false", "truth"),
        ("[1, 2.5][0]", "number"),
        ("$offers__rows", "elements"),
        ("$offers__rows[0]", "element"),
        ("match($offers__rows, 'a')", "elements"),
        ("inside(row, $offers__edit)", "element"),
        ("len($offers__rows)", "whole"),
        ("range(3)[0]", "whole"),
        ("get_text(row)", "text"),
        ("get_attributes($offer_edit__active, 'checked')", "truth"),
        ("get_attributes($offer_edit__name, 'value')", "text"),
        ("scroll('down')", "truth"),
        ("scroll($offers__home, 'down')", "truth"),
        ("number(t)", "number"),
        ("secret('a')", "secret"),
    ],
)
def test_kinds_follow_from_parts(source: str, name: str) -> None:
    found, problems, _ = kind(source)
    assert problems == []
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("u", "unknown_name"),
        ("offers__rows", "unknown_name"),
        ("$offers__row", "unknown_element"),
        ("frobnicate()", "unknown_verb"),
        ("tap()", "arguments"),
        ("len(t, t)", "arguments"),
        ("1 + t", "wrong_type"),
        ("t < t", "wrong_type"),
        ("1 and true", "wrong_type"),
        ("row == row", "wrong_type"),
        ("1 == t", "wrong_type"),
        ("-t", "wrong_type"),
        ("not 1", "wrong_type"),
        ("[1, t]", "wrong_type"),
        ("[row]", "wrong_type"),
        ("[[1]]", "wrong_type"),
        ("[secret('a')]", "wrong_type"),
        ("t[0]", "wrong_type"),
        ("$offers__rows[t]", "wrong_type"),
        ("get_text($offers__rows)", "wrong_type"),
        ("match(row, 'a')", "wrong_type"),
        ("inside(row, row)", "arguments"),
        ("range(n)", "loop"),
        ("range(0)", "loop"),
        ("range(1001)", "loop"),
        ("get_attributes(row, '__class__')", "arguments"),
        ("get_attributes(row, t)", "arguments"),
        ("scroll('inwards')", "arguments"),
        ("scroll(row)", "arguments"),
        ("scroll('down', 'down')", "arguments"),
        ("secret(t)", "arguments"),
    ],
)
def test_what_has_no_kind_is_said_once(source: str, code: str) -> None:
    found, problems, _ = kind(source)
    assert found is None
    assert problems == [code]


def test_data_of_a_page_keeps_its_sources() -> None:
    for source in ("get_text($mail__text)", "dirty + 'x'", "lower(dirty)", "['a', dirty][0]"):
        found, _, _ = kind(source)
        assert found is not None
        assert found.sources == {"mail__text"}
    found, _, _ = kind("match($offers__rows, dirty)")
    assert found is not None
    assert not found.sources  # only compared


def test_what_is_looked_at_is_told() -> None:
    assert kind("get_text($mail__text)")[2] == ["mail__text"]
    assert kind("match($offers__rows, 'a')")[2] == ["offers__rows"]
    assert kind("$offers__rows[0]")[2] == ["offers__rows"]
    assert kind("get_text(row)")[2] == ["offers__rows"]
    assert kind("row")[2] == []


def test_nearest_elements_are_those_alike_and_of_the_state() -> None:
    names = ["offer__save", "offer__name", "mail__send"]
    assert nearest_elements("offer__sav", names) == "did you mean $offer__save, $offer__name?"
    assert "none like it" in nearest_elements("zzz", [])


REACH = StateReach(DOCUMENT)


def test_links_are_followed_and_writes_are_not() -> None:
    assert REACH.from_state("home") == REACH.everywhere
    assert REACH.from_state("offer_delete") == REACH.everywhere  # by its link to home


def test_a_state_behind_a_write_is_not_reached() -> None:
    # Without its link home, only the write leads out of the page that deletes.
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offer_delete__home")
    assert not leads(DOCUMENT.by_name["offer_delete__confirm"])
    document = type(DOCUMENT)("shop", "1", (), "offer_delete", DOCUMENT.states, kept)
    reach = StateReach(document)
    assert reach.from_state("offer_delete") == {"offer_delete"}
    assert not reach.is_reachable("mail", {"offer_delete"})
    assert reach.is_reachable("mail", {"home", "offers"})
    assert not reach.is_reachable("mail", {"home", "offer_delete"})
    assert not reach.is_reachable("mail", set())


def test_which_item_of_a_list_only_a_script_can_say() -> None:
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offers__new")
    reach = StateReach(type(DOCUMENT)("shop", "1", (), "home", DOCUMENT.states, kept))
    assert reach.from_state("home") == {"home", "offers", "mail", "budget", "sign_in"}


def test_states_of_one_address_are_reached_together() -> None:
    other = replace(DOCUMENT.state_by_name["offer_edit"], name="offer_new", skeleton="x")
    link = replace(DOCUMENT.by_name["mail__home"], name="offer_new__mail", state="offer_new")
    document = replace(
        DOCUMENT, states=(*DOCUMENT.states, other), elements=(*DOCUMENT.elements, link)
    )
    reach = StateReach(document)
    assert "offer_new" in reach.from_state("home")
    assert reach.after(document.by_name["offers__new"]) == {"offer_edit", "offer_new"}


def test_after_an_act_one_is_where_it_leads() -> None:
    by_name = DOCUMENT.by_name
    assert REACH.after(by_name["offer_edit__save"]) == {"offers"}
    assert REACH.after(by_name["offer_edit__name"]) == {"offer_edit"}


def test_enter_may_do_the_worst_of_its_page() -> None:
    assert REACH.enter_effect({"offers"}) == "navigate"
    assert REACH.enter_effect({"offer_edit"}) == "commit"
    assert REACH.enter_effect({"offer_edit", "offer_delete"}) == "destructive"
    assert REACH.enter_effect({"sign_in"}) == "unknown"


def test_a_runner_goes_by_itself_only_where_nothing_is_written() -> None:
    ways = automatic_routes(DOCUMENT)
    assert ways.edges == ()  # the one edge needs a name
    assert ways.by_name["home__mail"].target == "mail"
    assert ways.by_name["mail__send"].target is None
    assert ways.by_name["offers__edit"].target is None


TEXT, WHOLE, NUMBER = ValueKind("text"), ValueKind("whole"), ValueKind("number")
LISTS = [ValueKind("list"), ValueKind("list", TEXT), ValueKind("list", WHOLE)]
ALL = [TEXT, WHOLE, NUMBER, ValueKind("truth"), ValueKind("element"), NOTHING, *LISTS]


def test_a_whole_number_is_a_number() -> None:
    assert NUMBER.accepts(WHOLE)
    assert not WHOLE.accepts(NUMBER)
    assert WHOLE.joined(NUMBER) == NUMBER


@pytest.mark.parametrize(("one", "other"), list(product(ALL, ALL)))
def test_joining_does_not_depend_on_the_order(one: ValueKind, other: ValueKind) -> None:
    joined = one.joined(other)
    assert joined == other.joined(one)
    assert joined is None or (joined.accepts(one) and joined.accepts(other))


def test_joining_keeps_all_sources_and_elements() -> None:
    one = ValueKind("text", names=frozenset("a"), sources=frozenset("x"))
    other = ValueKind("text", names=frozenset("b"), sources=frozenset("y"))
    assert one.joined(other) == ValueKind("text", names=frozenset("ab"), sources=frozenset("xy"))


def test_a_verb_takes_known_kinds() -> None:
    with pytest.raises(ConfigError, match="no kind"):
        replace(VERBS["tap"], takes=(("object",),))  # type: ignore[arg-type]
    assert VERBS["tap"].fewest == 1
    assert VERBS["scroll"].fewest == 1


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_has_an_example_that_is_read(name: str) -> None:
    verb = VERBS[name]
    source = verb.example if verb.gives == "nothing" else f"x = {verb.example}"
    (statement,) = read_script(source).body
    call = statement.call if isinstance(statement, Act) else statement.value  # type: ignore[union-attr]
    assert isinstance(statement, Act | Assignment)
    assert verb.fewest <= len(call.arguments) <= len(verb.takes)  # type: ignore[union-attr]
    assert call.verb == name  # type: ignore[union-attr]


FIELDS = shop_document().by_name


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", Decimal(12)),
        (" -12.50 ", Decimal("-12.5")),
        ("1,234.5", Decimal("1234.5")),
        ("12,50", Decimal("12.5")),
        ("1,00,000", Decimal(100000)),
        ("1,2345", None),
        ("1,23,4", None),
        ("1e9999999", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("\u0661", None),
        ("", None),
        ("9" * 41, None),
        ("twelve", None),
    ],
)
def test_numbers_are_plain(text: str, number: Decimal | None) -> None:
    assert read_decimal(text) == number


@pytest.mark.parametrize(
    ("verb", "name", "kind", "fits"),
    [
        ("set_text", "offer_edit__name", "text", True),
        ("set_text", "offer_edit__save", "text", False),
        ("set_text", "offer_edit__status", "text", False),
        ("set_text", "sign_in__password", "text", False),
        ("set_text", "sign_in__password", "secret", True),
        ("set_text", "offer_edit__name", "secret", True),
        ("set_text", "offer_edit__share", "secret", False),
        ("choose", "offer_edit__name", "text", False),
        ("choose", "offer_edit__active", "truth", True),
        ("choose", "offer_edit__active", "text", False),
        ("choose", "offer_edit__status", "truth", False),
    ],
)
def test_verbs_go_with_fields(verb: str, name: str, kind: str, fits: bool) -> None:
    problem = why_unfit(verb, FIELDS[name], kind, TextLiteral("Open"))  # type: ignore[arg-type]
    assert (problem is None) == fits
    assert problem is None or (problem.code == "wrong_type" and problem.hint)


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("offer_edit__status", "Open", None),
        ("offer_edit__status", "open", "wrong_option"),
        ("offer_edit__name", "x" * 40, None),
        ("offer_edit__name", "x" * 41, "constraint"),
        ("offer_edit__name", "", "constraint"),
        ("offer_edit__share", "90", None),
        ("offer_edit__share", "90.5", "constraint"),
        ("offer_edit__share", "-1", "constraint"),
        ("offer_edit__share", "much", "constraint"),
        ("mail__text", "", None),
    ],
)
def test_values_go_with_bounds(name: str, text: str, code: str | None) -> None:
    problem = why_text_unfit(FIELDS[name], text)
    assert (problem and problem.code) == code
    literal = TextLiteral(text)
    verb = "choose" if FIELDS[name].value_type == "choice" else "set_text"
    assert why_unfit(verb, FIELDS[name], "text", literal) == problem


def test_a_number_is_held_to_the_bounds_of_its_field() -> None:
    field = FIELDS["offer_edit__share"]
    assert why_unfit("set_text", field, "whole", WholeLiteral(5)) is None
    assert why_unfit("set_text", field, "whole", WholeLiteral(95)) is not None


def test_dates_have_bounds() -> None:
    limits = ValueConstraints(lowest="2026-01-01", highest="2026-12-31")
    field = Element("a__day", "a", "textbox", "Day", value_type="date", constraints=limits)
    texts = ("2026-06-01", "2026-06-01T10:00", "2025-12-31", "2027-01-01", "tomorrow", "")
    fits = [why_text_unfit(field, one) is None for one in texts]
    assert fits == [True, True, False, False, False, True]
    loose = replace(field, constraints=replace(limits, lowest="soon"))
    assert why_text_unfit(loose, "2025-12-31") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("Rent for $1,250.50", "1250.50"), ("2h 05m", "125"), ("45 min", "45"), ("-3", "-3")],
)
def test_the_one_number_of_a_text(text: str, number: str) -> None:
    assert number_in(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "none", "3 of 7", "1e3"])
def test_a_text_with_no_number_or_several_has_none(text: str) -> None:
    assert number_in(text) is None
