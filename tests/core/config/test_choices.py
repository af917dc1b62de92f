"""A field with choices takes nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from adwright.core.config import (
    check_literals,
    from_jsonable,
    to_jsonable,
)
from adwright.core.config.choices import check_choice, choices_of
from adwright.core.errors import ConfigError


@dataclass(frozen=True)
class Optimiser:
    rate: float = 0.1
    kind: Literal["adam", "sgd"] = "adam"


Colour = Literal["red", "green"]


@dataclass(frozen=True)
class Paint:
    colour: Colour = "red"
    second: Colour | None = None
    more: tuple[Colour, ...] = ()
    coats: Literal[1, 2] = 1
    name: str = ""
    sizes: tuple[int, ...] = ()
    other: Optimiser | None = None

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class Lacquer(Paint):
    gloss: Literal["high", "low"] = "high"


def test_choices_are_taken() -> None:
    for coats in (1, 2):
        Paint("".join(["gr", "een"]), "red", ("red", "green"), coats, "any", (7,))  # type: ignore
    assert Paint(second=None) == Paint()
    assert from_jsonable(Paint, to_jsonable(Paint(more=("green",)))) == Paint(more=("green",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"colour": "gren"},
            "colour cannot be 'gren' [Paint.colour] -> use one of 'red', 'green'; "
            "the closest is 'green'",
        ),
        ({"colour": None}, "colour cannot be None [Paint.colour] -> use one of 'red', 'green'"),
        ({"colour": ["red"]}, "colour cannot be ['red'] [Paint.colour] -> use one of 'red'"),
        ({"second": "x"}, "[Paint.second] -> use one of 'red', 'green', None"),
        ({"more": ("red", "x")}, "more cannot be 'x' [Paint.more] -> use one of 'red', 'green'"),
        ({"more": "red"}, "more is a tuple of choices, not 'red' [Paint.more] -> write ('red',)"),
        ({"more": 3}, "more is a tuple of choices, not 3 [Paint.more] -> write (3,)"),
        ({"coats": 3}, "coats cannot be 3 [Paint.coats] -> use one of 1, 2"),
        ({"coats": True}, "coats cannot be True [Paint.coats] -> use one of 1, 2"),
        ({"coats": "1"}, "coats cannot be '1' [Paint.coats] -> use one of 1, 2"),
    ],
)
def test_what_is_no_choice_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Paint(**values)
    assert message in str(caught.value)


def test_choices_of_a_base_class_are_those_of_its_heirs() -> None:
    heir: Any = Lacquer
    for name in ("colour", "gloss"):
        with pytest.raises(ConfigError, match=rf"\[Lacquer\.{name}\]"):
            heir(**{name: "x"})


def test_what_is_no_literal_has_no_choices() -> None:
    assert choices_of(Literal["a", 1]) == ("a", 1)
    assert choices_of(Literal["a"] | None) == ("a", None)
    assert choices_of(int | None) == choices_of(str) == ()


def test_a_choice_is_checked_by_its_name() -> None:
    check_choice(Optimiser(), "kind", ("adam",), many=False)
    with pytest.raises(ConfigError, match=r"kind cannot be 'adam' .*use one of 'x'"):
        check_choice(Optimiser(), "kind", ("x",), many=False)
