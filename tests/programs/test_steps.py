"""Native steps: what each does, what it refuses, and that all are pure and bounded."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.programs.steps import (
    DistinctLines,
    FirstThat,
    Join,
    JsonField,
    JsonItems,
    Majority,
    Numbered,
    StepFunction,
    TextLines,
    Trim,
    check_arity,
    run_step,
)

SHORT = FirstThat({"type": "string", "maxLength": 5})
OBJECT = FirstThat({"type": "object", "required": ["a"]}, parse=True)


@pytest.mark.parametrize(
    ("function", "texts", "expected"),
    [
        (JsonField(("a",)), ['{"a": "x y"}'], ["x y"]),
        (JsonField(("a", 1)), ['{"a": [1, {"b": "é"}]}'], ['{"b":"é"}']),
        (JsonField(("a",)), ['{"a": null}'], ["null"]),
        (JsonItems(), ['["a", 2, ["b"]]'], ["a", "2"]),
        (TextLines(), [" 1. one \n\n- two\nthree"], ["one", "two"]),
        (TextLines(unmarked=False), ["1. one\n* two"], ["1. one", "* two"]),
        (TextLines(), ["100% wool\n-5 degrees"], ["100% wool", "-5 degrees"]),
        (Join(), ["a", "b", "c"], ["a\nb\nc"]),
        (Join(" / "), ["a"], ["a"]),
        (SHORT, ["too long", "short", "tiny"], ["short"]),
        (OBJECT, ["{}", "no", '{"a": 1}'], ['{"a": 1}']),
        (DistinctLines(), ["Red tea\nblue", "red  TEA \n\ngreen"], ["Red tea\nblue\ngreen"]),
        (Numbered(), ["x", "y"], ["1. x\n2. y"]),
        (Numbered("; "), ["x", "y"], ["1. x; 2. y"]),
        (Majority(), ["Yes.", "no", "no ", "yes."], ["Yes."]),
        (Majority(), ["a", "B b", "b  B"], ["B b"]),
        (Trim(), ['  "Tea!" '], ["Tea!"]),
        (Trim(), ["„Tee“"], ["Tee"]),
        (Trim(quoted=False), [' "Tea!" '], ['"Tea!"']),
        (Trim(characters=8), ["fresh green tea"], ["fresh"]),
        (Trim(characters=11), ["fresh green tea"], ["fresh green"]),
        (Trim(characters=12), ["fresh green tea"], ["fresh green"]),
        (Trim(characters=3), ["unbroken"], ["unb"]),
        (Trim(characters=0), [" "], [""]),
    ],
)
def test_what_a_step_does(function: StepFunction, texts: list[str], expected: list[str]) -> None:
    check_arity(function, len(texts), len(expected), where="step s")
    assert run_step(function, texts, len(expected)) == tuple(expected)


@pytest.mark.parametrize(
    ("function", "text", "outputs", "what"),
    [
        (JsonField(("a",)), "no", 1, "it is no JSON.*in 'no'"),
        (JsonField(("a", "b")), '{"a": {"c": 1}}', 1, r"nothing at \['a'\]\['b'\]"),
        (JsonField(("a", 2)), '{"a": [1]}', 1, r"nothing at \['a'\]\[2\]"),
        (JsonField(("a", -1)), '{"a": [1]}', 1, "nothing at"),
        (JsonField(("a",)), '{"a": "\\ud800"}', 1, "half a character"),
        (JsonItems(), "{}", 1, "no JSON list"),
        (JsonItems(), "[1]", 2, "there are 1 items, and 2 outputs"),
        (TextLines(), "a\n\n", 2, "there are 1 lines with text, and 2 outputs"),
        (SHORT, "much too long", 1, "none of 1 texts fits; the last"),
    ],
)
def test_texts_that_do_not_fit_are_an_error(
    function: StepFunction, text: str, outputs: int, what: str
) -> None:
    with pytest.raises(ValueInvalidError, match=what):
        run_step(function, [text], outputs)


@pytest.mark.parametrize(
    ("function", "inputs", "outputs", "what"),
    [
        (Trim(), 2, 1, "takes one input, not 2"),
        (Join(), 0, 1, "takes at least one input, not 0"),
        (Join(), 2, 2, "gives one output, not 2"),
        (JsonItems(), 1, 0, "gives at least one output, not 0"),
        (FirstThat({"type": "strin"}), 1, 1, "the schema cannot be used"),
    ],
)
def test_numbers_of_texts_are_checked(
    function: StepFunction, inputs: int, outputs: int, what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        check_arity(function, inputs, outputs, where="step s")
    assert caught.value.where == "step s"


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="path is empty"):
        JsonField(())
    with pytest.raises(ConfigError, match="more than 1000"):
        Join("x" * 1001)
    with pytest.raises(ConfigError, match="at least 0"):
        Trim(characters=-1)


@dataclass(frozen=True)
class Held:
    """A config with a step in it."""

    function: StepFunction


ALL: list[Any] = [
    JsonField(("a", 1)),
    JsonItems(),
    TextLines(),
    Join(),
    SHORT,
    DistinctLines(),
    Numbered(),
    Majority(),
    Trim(),
]


def test_every_step_goes_through_json() -> None:
    assert {type(one) for one in ALL} == set(get_args(get_args(StepFunction)[0]))
    for function in ALL:
        told = json.loads(json.dumps(to_jsonable(Held(function))))
        assert from_jsonable(Held, told) == Held(function)


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "python", "code": "4wAAAA=="},
        {"kind": "join", "code": "4wAAAA=="},
        {"kind": "eval"},
        {},
    ],
)
def test_parrot_fault_7_nothing_but_what_is_listed_can_be_asked_for(told: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"tag|unknown key|discriminator") as caught:
        from_jsonable(Held, {"function": told})
    assert "function" in caught.value.where  # there, clients' byte code was run in the server


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.integers(1, 3))
def test_a_step_is_pure_and_makes_little_more_than_it_is_given(
    texts: list[str], outputs: int
) -> None:
    for function in ALL:
        is_many = isinstance(function, JsonItems | TextLines)
        takes_one = isinstance(function, JsonField | JsonItems | TextLines | Trim)
        given = texts[:1] if takes_one else texts
        try:
            found = run_step(function, given, outputs if is_many else 1)
        except ValueInvalidError:
            continue
        assert found == run_step(function, given, len(found))
        assert sum(map(len, found)) <= sum(map(len, given)) + 5 * len(given)


@given(st.lists(st.sampled_from(["a", "A ", "b", "b b", ""]), min_size=1, max_size=9))
def test_majority_counts_as_one_counts_by_hand(texts: list[str]) -> None:
    said = [" ".join(one.lower().split()) for one in texts]
    most = max(Counter(said).values())
    expected = next(text for text, one in zip(texts, said, strict=True) if said.count(one) == most)
    assert run_step(Majority(), texts, 1) == (expected,)
