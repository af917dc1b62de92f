from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.config import (
    from_jsonable,
    load_toml,
    read_toml,
    to_jsonable,
    with_current_names,
    with_overrides,
)
from adwright.core.errors import AdwrightError, ConfigError


@dataclass(frozen=True)
class Optimiser:
    rate: float = 0.1
    kind: Literal["adam", "sgd"] = "adam"


@dataclass(frozen=True)
class Run:
    seed: int
    sizes: tuple[int, ...] = (8, 4)
    optimiser: Optimiser = field(default_factory=Optimiser)
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
        optimiser=Optimiser(rate=1.0, kind="sgd"),
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
    config = Run(seed, tuple(sizes), Optimiser(rate), Path("a/b"), until, {"x": rate}, flag)
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
