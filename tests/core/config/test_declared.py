"""Settings that are built in Python: choices, types, bounds, and unknown names."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import numpy as np
import pytest
from pydantic import TypeAdapter

import adwright
from adwright.core.config import (
    Count,
    Gt,
    Help,
    Le,
    MinLen,
    Natural,
    NotNegative,
    choices_of,
    from_jsonable,
    require_count,
    settings,
    to_jsonable,
)
from adwright.core.errors import ConfigError, MissingExtraError


@dataclass(frozen=True)
class Optimiser:
    rate: float = 0.1
    kind: Literal["adam", "sgd"] = "adam"


Colour = Literal["red", "green"]


@settings
class Paint:
    colour: Colour = "red"
    second: Colour | None = None
    more: tuple[Colour, ...] = ()
    coats: Literal[1, 2] = 1
    name: str = ""
    sizes: tuple[int, ...] = ()
    other: Optimiser | None = None


@settings
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


@settings
class Fit:
    epochs: Count
    learning_rate: float = 0.1
    shuffle: bool = True
    name: str = ""
    out: Path = Path("runs")
    layers: tuple[int, ...] = (8,)
    betas: tuple[float, float] = (0.9, 0.98)
    names: tuple[str, ...] | None = None
    most: int | None = None
    optimiser: Optimiser = field(default_factory=Optimiser)
    anything: Any = None
    share: Annotated[float, Gt(0), Le(1), Help("Of the rows.")] = 0.5
    decay: NotNegative = 0.0
    seeds: tuple[Natural, ...] = ()
    kinds: Annotated[tuple[str, ...], MinLen(1)] = ("a",)
    rounds: Count | None = None

    def __post_init__(self) -> None:
        if self.epochs > 100:
            raise ConfigError("too many epochs")


@settings
class Bare:
    width: int = 1


def test_values_of_the_right_type_are_taken() -> None:
    class Stand:
        """Acts as an optimiser."""

    odd: Any = Stand()
    found = Fit(
        np.int64(3),
        1,
        np.bool_(True),
        np.str_("a"),
        Path("a"),
        [1, 2],
        (1, np.float32(0.5)),
        ("a",),
        None,
        odd,
        "anything",
    )
    assert (found.epochs, found.layers, found.optimiser) == (3, [1, 2], odd)
    assert from_jsonable(Fit, to_jsonable(Fit(2, most=4))) == Fit(2, most=4)
    assert Bare(2).width == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"epochs": "3"},
            "epochs is a whole number, not '3' of type str [Fit.epochs] -> "
            "leave out the quotation marks",
        ),
        ({"epochs": 1.0}, "epochs is a whole number, not 1.0 of type float [Fit.epochs]"),
        ({"epochs": True}, "epochs is a whole number, not True of type bool"),
        ({"epochs": None}, "epochs is a whole number, not None of type NoneType"),
        ({"learning_rate": "0.1"}, "learning_rate is a number, not '0.1' of type str"),
        ({"learning_rate": False}, "learning_rate is a number, not False of type bool"),
        ({"shuffle": 1}, "shuffle is True or False, not 1 of type int"),
        ({"name": 3}, "name is a text, not 3 of type int [Fit.name] -> pass a value of that type"),
        (
            {"out": "runs/a"},
            "out is a Path, not 'runs/a' of type str [Fit.out] -> write Path('runs",
        ),
        ({"layers": 8}, "layers is several values, each a whole number, not 8 of type int"),
        ({"layers": (8, "4")}, "layers is a whole number, not '4' of type str"),
        ({"betas": (0.9, "1")}, "betas is a number, not '1' of type str"),
        ({"names": "a"}, "-> write ('a',)"),
        ({"most": 1.5}, "most is a whole number or None, not 1.5 of type float"),
        ({"share": 0}, "share must be above 0 and at most 1, not 0 [Fit.share] -> the usual is 0"),
        ({"share": float("nan")}, "share must be above 0 and at most 1, not nan"),
        ({"epochs": 0}, "epochs must be at least 1, not 0 [Fit.epochs] -> correct it"),
        ({"decay": float("inf")}, "decay must not be negative and finite, not inf"),
        ({"seeds": (0, -1)}, "seeds must not be negative, not -1 [Fit.seeds]"),
        ({"kinds": ()}, "kinds must have at least 1, not () [Fit.kinds] -> the usual is ('a',)"),
        ({"rounds": 0}, "rounds must be at least 1, not 0 [Fit.rounds] -> correct it"),
        ({"share": "0.5"}, "share is a number, not '0.5' of type str"),
        ({"optimiser": "adam"}, "optimiser is a Optimiser, not 'adam' of type str"),
        ({"optimiser": {"rate": 1}}, "optimiser is a Optimiser, not {'rate': 1} of type dict"),
    ],
)
def test_a_value_of_another_type_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Fit(**{"epochs": 1, **values})
    assert message in str(caught.value)


def test_types_are_checked_before_the_config_looks_at_its_values() -> None:
    with pytest.raises(ConfigError, match="too many"):
        Fit(101)
    wrong: Any = "0"
    with pytest.raises(ConfigError, match="whole number"):
        Fit(wrong)
    with pytest.raises(ConfigError, match=r"Bare\.width"):
        Bare(wrong)


def test_choices_come_before_types() -> None:
    wrong: Any = "2"
    with pytest.raises(ConfigError, match="colour cannot be"):
        Paint(wrong, name=wrong)
    with pytest.raises(ConfigError, match="name is a text, not 7"):
        Paint(name=7)  # type: ignore[arg-type]


def test_counts_of_arguments() -> None:
    require_count("k", 1)
    require_count("k", np.int64(5))
    with pytest.raises(ConfigError, match=r"k is a whole number, not '3' of type str"):
        require_count("k", "3")
    with pytest.raises(ConfigError, match=r"k must be at least 1 \[k 0\]"):
        require_count("k", 0)


ROOMS = ("data.batches", "models", "training", "demos")


def configs() -> list[type[Any]]:
    """The configs of what is trained, and of its trainings."""
    found: dict[type[Any], None] = {}
    for module in pkgutil.walk_packages(adwright.__path__, "adwright."):
        if not module.name.startswith(tuple(f"adwright.{room}" for room in ROOMS)):
            continue
        try:
            loaded = importlib.import_module(module.name)
        except (ImportError, MissingExtraError):
            continue
        for cls in vars(loaded).values():
            ours = isinstance(cls, type) and cls.__module__ == module.name
            if ours and is_dataclass(cls) and cls.__name__.endswith("Config"):
                found[cls] = None
    return list(found)


#: Those that the loop makes for itself, those of no model, and those of other rooms' own.
NEEDED = {"PairsConfig"}  # has a field without a default, of which it speaks first
OTHERS = {"LoopConfig", "SequenceConfig", "InterestConfig", "CascadeDemoConfig", "RetrainConfig"}


def test_every_config_of_a_training_checks_types_and_names() -> None:
    found = [cls for cls in configs() if cls.__name__ not in OTHERS]
    assert {"FitConfig", "DINConfig", "HSTUConfig", "StreamConfig"} <= {c.__name__ for c in found}
    for cls in found:
        with pytest.raises(ConfigError, match=f"{cls.__name__} takes no 'made_up'"):
            cls(made_up=1)
        hints = get_type_hints(cls)
        for each in fields(cls):
            plain = hints[each.name] in (int, float, bool, str)
            if plain and each.init and cls.__name__ not in NEEDED:
                wrong: Any = {each.name: object()}
                with pytest.raises(ConfigError, match=rf"{each.name} is .*{cls.__name__}\."):
                    cls(**wrong)


def test_a_bound_of_a_file_is_said_in_the_same_words() -> None:
    with pytest.raises(ConfigError) as caught:
        from_jsonable(Fit, {"epochs": 0, "share": 2, "seeds": [-1]}, source="run.toml")
    told = str(caught.value)
    assert told.startswith("epochs must be at least 1, not 0 [run.toml, key epochs]")
    assert "share: share must be at most 1, not 2" in told
    assert "seeds.0: seeds must not be negative, not -1" in told


def test_the_help_of_a_field_is_in_its_schema() -> None:
    share = TypeAdapter(Fit).json_schema()["properties"]["share"]
    assert (share["description"], share["maximum"]) == ("Of the rows.", 1)


def test_settings_of_a_base_are_checked_once_more_with_those_of_the_heir() -> None:
    @settings(kw_only=True)
    class Wide(Bare):
        height: Natural

    assert (Wide(height=0).height, Wide(width=2, height=1).width) == (0, 2)
    with pytest.raises(ConfigError, match="height must not be negative"):
        Wide(height=-1)
    with pytest.raises(ConfigError, match="did you mean height"):
        Wide(heigth=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="height"):
        Wide()  # type: ignore[call-arg]
