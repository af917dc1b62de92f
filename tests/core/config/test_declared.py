"""Settings that are built in Python: choices, types, bounds, and unknown names."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import date
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from annotated_types import Predicate
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

import adwright
from adwright.core.config import (
    Count,
    Ge,
    Gt,
    Help,
    Le,
    Lt,
    MinLen,
    Natural,
    NotNegative,
    check_literals,
    choices_of,
    closest_name,
    from_jsonable,
    load_toml,
    names_at,
    read_toml,
    require_count,
    settings,
    suggesting,
    to_jsonable,
    with_current_names,
    with_overrides,
)
from adwright.core.errors import AdwrightError, ConfigError, MissingExtraError


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


ROOMS = tuple(f"adwright.{room}" for room in ("data.batches", "models", "training", "demos"))


@cache
def dataclasses_of_all() -> tuple[type[Any], ...]:
    found: dict[type[Any], None] = {}
    for module in pkgutil.walk_packages(adwright.__path__, "adwright."):
        if module.name.endswith("__main__") or ".migrations." in module.name:
            continue
        try:
            loaded = importlib.import_module(module.name)
        except (ImportError, MissingExtraError):
            continue
        for cls in vars(loaded).values():
            if isinstance(cls, type) and cls.__module__ == module.name and is_dataclass(cls):
                found[cls] = None
    return tuple(found)


def configs() -> list[type[Any]]:
    """The configs of what is trained, and of its trainings."""
    ours = [cls for cls in dataclasses_of_all() if cls.__module__.startswith(ROOMS)]
    return [cls for cls in ours if cls.__name__.endswith("Config")]


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


def beyond(bound: Any) -> object:
    """A value that a bound leaves out, by as little as may be."""
    match bound:
        case Ge():
            return bound.ge - 1
        case Gt():
            return bound.gt
        case Le():
            return bound.le + 1
        case Lt():
            return bound.lt
        case MinLen():
            return ()
    return math.inf


def refused_values(hint: Any, *, several: bool = False) -> Iterator[object]:
    """Of what a field declares: a value beyond each bound, and one that is none of its choices."""
    if get_origin(hint) is Annotated:
        for bound in hint.__metadata__:
            if isinstance(bound, Ge | Gt | Le | Lt | MinLen | Predicate):
                yield (beyond(bound),) if several else beyond(bound)
        hint = get_args(hint)[0]
    if choices_of(hint):
        yield ("no such choice",) if several else "no such choice"
    elif get_origin(hint) in (Union, UnionType) or (get_origin(hint) is tuple and not several):
        for part in get_args(hint):
            yield from refused_values(part, several=several or get_origin(hint) is tuple)


def fitting(hint: Any) -> object:
    """A value of a field that has no usual one."""
    if get_origin(hint) in (Union, UnionType):
        return fitting(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return ()
    plain = {int: 1, float: 0.5, str: "a", bool: True, Path: Path("a")}
    return (*choices_of(hint), plain.get(hint, object()))[0]


def test_every_bound_and_choice_that_is_declared_is_held_to() -> None:
    """Of all settings: no room has to prove its own."""
    refused = 0
    for cls in dataclasses_of_all():
        after = getattr(cls, "__post_init__", None)
        asked = after is not None and "check_literals" in after.__code__.co_names
        if not (asked or hasattr(after, "checks")) or inspect.isabstract(cls):
            continue
        usual = {
            one.name: one.default
            if one.default is not MISSING
            else one.default_factory()
            if one.default_factory is not MISSING
            else fitting(get_type_hints(cls)[one.name])
            for one in fields(cls)
        }
        for name, hint in get_type_hints(cls, include_extras=True).items():
            for wrong in refused_values(hint) if name in usual else ():
                config = object.__new__(cls)
                for other, value in {**usual, name: wrong}.items():
                    object.__setattr__(config, other, value)
                with pytest.raises(ConfigError, match=rf"\[{cls.__name__}\.{name}\]"):
                    check_literals(config)
                refused += 1
    assert refused > 900


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


@dataclass(frozen=True)
class PlainOptimiser:
    rate: float = 0.1
    kind: Literal["adam", "sgd"] = "adam"


@dataclass(frozen=True)
class Run:
    seed: int
    sizes: tuple[int, ...] = (8, 4)
    optimiser: PlainOptimiser = field(default_factory=PlainOptimiser)
    folder: Path | None = None
    until: date | None = None
    weights: dict[str, float] = field(default_factory=dict)
    flag: bool = False


@dataclass(frozen=True)
class Checked:
    rate: float

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ConfigError("the rate is not positive", where="key rate", hint="raise it")


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_every_kind_of_field(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
seed = 3
sizes = [16, 8]
folder = "runs/a"
until = 2024-05-01
flag = true
weights = { a = 1, b = 2.5 }
[optimiser]
rate = 1
kind = "sgd"
""",
    )
    assert load_toml(path, Run) == Run(
        seed=3,
        sizes=(16, 8),
        optimiser=PlainOptimiser(rate=1.0, kind="sgd"),
        folder=Path("runs/a"),
        until=date(2024, 5, 1),
        weights={"a": 1.0, "b": 2.5},
        flag=True,
    )


def test_defaults_stay(tmp_path: Path) -> None:
    assert load_toml(str(write(tmp_path, "seed = 1")), Run) == Run(seed=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 1\nsede = 2", "unknown key .*run.toml, key sede"),
        ("seed = 1\n[optimiser]\nrat = 2", "unknown key .*run.toml, key optimiser.rat"),
        ("flag = true", "required key is missing .*key seed"),
        ('seed = "1"', 'valid integer, got "1" .*key seed'),
        ("seed = true", "valid integer, got true .*key seed"),
        ("seed = 1.0", "valid integer, got 1.0 .*key seed"),
        ("seed = 1\nsizes = [1, 'a']", 'valid integer, got "a" .*key sizes.1'),
        ("seed = 1\nflag = 1", "valid boolean.*key flag"),
        ('seed = 1\n[optimiser]\nkind = "lion"', "'adam' or 'sgd'.*key optimiser.kind"),
        ("seed = ", "not valid TOML"),
        ("seed = 1\nseed = 2", "not valid TOML"),
    ],
)
def test_error_names_file_key_and_value(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_toml(write(tmp_path, text), Run)
    assert "run.toml" in str(caught.value)


def test_all_problems_are_named(tmp_path: Path) -> None:
    text = 'seed = "1"\nsizez = [1]\nzzz = 2\n[optimiser]\nrat = 2'
    with pytest.raises(ConfigError) as caught:
        load_toml(write(tmp_path, text), Run)
    error = caught.value
    assert "valid integer" in error.what
    assert error.where.endswith("run.toml, key seed")
    for said in (
        "correct the value; 3 more: ",
        "optimiser.rat: unknown key (did you mean rate? Else remove it)",
        "sizez: unknown key (did you mean sizes? Else remove it)",
        "zzz: unknown key (remove it)",
    ):
        assert said in error.hint


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist .*none\.toml"):
        load_toml(tmp_path / "none.toml", Run)


def test_folder_and_foreign_encoding(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is a folder, and a run file in TOML is wanted"):
        load_toml(tmp_path, Run)
    (tmp_path / "a.toml").write_bytes("seed = 1 # caf\xe9".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot be read.*a\.toml"):
        load_toml(tmp_path / "a.toml", Run)


def test_error_of_the_config_itself_gains_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not positive \[.*run.toml, key rate\] -> raise it"):
        load_toml(write(tmp_path, "rate = -1"), Checked)


@given(
    st.integers(-(2**63), 2**63),
    st.lists(st.integers(-100, 100)),
    st.floats(),
    st.none() | st.dates(),
    st.booleans(),
)
def test_round_trip(
    seed: int, sizes: list[int], rate: float, until: date | None, flag: bool
) -> None:
    config = Run(seed, tuple(sizes), PlainOptimiser(rate), Path("a/b"), until, {"x": rate}, flag)
    values = to_jsonable(config)
    back = from_jsonable(Run, values)
    # Compared as text, since NaN differs from itself.
    assert repr(back) == repr(config)


def test_jsonable_is_plain() -> None:
    values = to_jsonable(Run(1, folder=Path("a"), until=date(2024, 1, 2)))
    assert values["sizes"] == [8, 4]
    assert values["folder"] == "a"
    assert values["until"] == "2024-01-02"
    assert values["optimiser"] == {"rate": 0.1, "kind": "adam"}


@pytest.mark.parametrize("config", [{"seed": 1}, Run, 3])
def test_only_a_config_becomes_jsonable(config: object) -> None:
    with pytest.raises(ConfigError, match="instance of a dataclass"):
        to_jsonable(config)


def test_field_that_breaks_its_annotation_is_found() -> None:
    seed: Any = "one"
    with pytest.raises(ConfigError, match="annotation"):
        to_jsonable(Run(seed))


def test_from_jsonable_is_strict_and_names_the_class() -> None:
    with pytest.raises(ConfigError, match=r"unknown key .*Run, key x"):
        from_jsonable(Run, {"seed": 1, "x": 2})
    with pytest.raises(ConfigError, match="not plain data"):
        from_jsonable(Run, {"seed": object()})


def test_errors_are_adwright_errors() -> None:
    assert issubclass(ConfigError, AdwrightError)


def test_overrides_leave_what_is_none() -> None:
    config = Run(seed=3)
    assert with_overrides(config, {"seed": None, "flag": None}) == config
    assert with_overrides(config, {"seed": 4, "flag": False, "folder": None}) == Run(seed=4)
    with pytest.raises(ConfigError, match="not positive"):
        with_overrides(Checked(1), {"rate": -1.0})


def test_old_names_of_keys_are_replaced_with_a_warning() -> None:
    names = {"old": "new", "worn": "fresh"}
    assert with_current_names({"new": 1, "other": 2}, names, source="f") == {"new": 1, "other": 2}
    with pytest.warns(UserWarning, match=r"^f: old is now called new$"):
        assert with_current_names({"old": 1}, names, source="f") == {"new": 1}
    with pytest.raises(ConfigError, match="old is the old name of new"):
        with_current_names({"old": 1, "new": 2}, names, source="f")


def test_tables_are_read_and_errors_name_their_source(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 3\n[optimiser]\nrat = 1\n")
    values = read_toml(path)
    assert values == {"seed": 3, "optimiser": {"rat": 1}}
    with pytest.raises(ConfigError, match=r"elsewhere, key optimiser\.rat"):
        from_jsonable(Run, values, source="elsewhere")


@dataclass(frozen=True)
class Whole:
    fit: Fit = field(default_factory=lambda: Fit(1))
    seed: int = 0


@suggesting
def train(task: str, *, fit: Fit | None = None, base: bool = False) -> str:
    """Answers with its task."""
    return task


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Fit(1, lr=0.1), "Fit takes no 'lr' [Fit] -> did you mean learning_rate?"),
        (lambda: Fit(1, epoch=3), "did you mean epochs?"),
        (lambda: Fit(1, rate=3), "did you mean optimiser=Optimiser(rate=...)?"),
        (lambda: Fit(1, zzz=3), "Fit takes no 'zzz' [Fit] -> it takes epochs, learning_rate, "),
        (
            lambda: train("a", epochs=1),
            "train takes no 'epochs' [train] -> did you mean fit=Fit(ep",
        ),
        (lambda: train("a", bass=True), "did you mean base?"),
    ],
)
def test_an_unknown_keyword_is_answered_with_the_one_that_was_meant(
    call: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert message in str(caught.value)


def test_known_keywords_pass() -> None:
    assert train("a", fit=Fit(1)) == "a"
    assert Fit(epochs=2, learning_rate=0.5).learning_rate == 0.5
    with pytest.raises(TypeError, match="epochs"):
        Fit()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lr", "learning_rate"),
        ("epoch", "epochs"),
        ("history", "max_history"),
        ("negativ_rate", "negative_rate"),
        ("zzz", None),
    ],
)
def test_the_closest_name(name: str, found: str | None) -> None:
    known = ["learning_rate", "epochs", "max_history", "negative_rate", "decay"]
    assert closest_name(name, known) == found


def test_the_names_at_a_place() -> None:
    assert names_at(Whole) == ["fit", "seed"]
    assert names_at(Whole, ("fit", "optimiser")) == ["rate", "kind"]
    assert names_at(Whole, ("seed",)) == []
    assert names_at(Whole, ("nowhere", "else")) == []
