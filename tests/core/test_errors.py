from __future__ import annotations

import pickle

import pytest

from adwright.core import errors
from adwright.core.addresses import login_of, shown_address
from adwright.core.errors import (
    AdwrightError,
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    DataError,
    FileUnreadableError,
    MissingExtraError,
    SchemaError,
    ValueInvalidError,
)


def every_error() -> list[type[AdwrightError]]:
    return [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, AdwrightError)
    ]


def test_message_has_the_three_parts() -> None:
    error = AdwrightError("it broke", where="a.toml, key x", hint="mend it")
    assert str(error) == "it broke [a.toml, key x] -> mend it"


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [("", "", "it broke"), ("here", "", "it broke [here]"), ("", "mend it", "it broke -> mend it")],
)
def test_empty_parts_leave_no_trace(where: str, hint: str, text: str) -> None:
    assert str(AdwrightError("it broke", where=where, hint=hint)) == text


def test_data_error_names_file_row_column_and_value() -> None:
    error = DataError("bad price", file="a.csv", row=0, column="price", value=-1.5, hint="drop it")
    assert str(error) == "bad price [a.csv, row 0, column price, value -1.5] -> drop it"
    assert (error.file, error.row, error.column, error.value) == ("a.csv", 0, "price", -1.5)


def test_data_error_can_show_none_but_leaves_out_what_was_not_given() -> None:
    assert str(DataError("bad", value=None)) == "bad [value None]"
    assert str(DataError("bad")) == "bad"


def test_long_value_is_shortened_in_the_message_only() -> None:
    error = DataError("bad", value="x" * 1000)
    assert len(str(error)) < 120
    assert error.value == "x" * 1000


def test_tree() -> None:
    for kind in every_error():
        assert issubclass(kind, AdwrightError)
    assert SchemaError.__bases__ == (DataError,)
    assert ValueInvalidError.__bases__ == (DataError,)
    assert FileUnreadableError.__bases__ == (DataError,)
    assert ArtifactCorruptError.__bases__ == (ArtifactError,)
    assert ArtifactUnsafeError.__bases__ == (ArtifactError,)
    assert not issubclass(ConfigError, DataError)


def test_the_drawn_tree_names_each_class() -> None:
    for kind in every_error():
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", every_error())
def test_survives_the_trip_between_processes(kind: type[AdwrightError]) -> None:
    if kind is MissingExtraError:
        error: AdwrightError = MissingExtraError("the HTTP service", "service")
    elif issubclass(kind, DataError):
        error = kind("bad", file="a.csv", row=3, column="c", value=[1], hint="h")
    else:
        error = kind("bad", where="w", hint="h")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, as a pool makes them
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_missing_extra_gives_the_command() -> None:
    error = MissingExtraError("the HTTP service", "service")
    assert "pip install 'adwright[service]'" in str(error)
    assert (error.feature, error.extra) == ("the HTTP service", "service")


def test_passwords_of_addresses_are_masked_everywhere() -> None:
    url = "http://shop:p@ss:word@host:8000/v1?api_key=abc&x=1"
    shown = "http://shop:***@host:8000/v1?api_key=***&x=1"
    error = AdwrightError(f"no answer of {url}", where=url, hint=f"look at '{url}'")
    assert str(error) == f"no answer of {shown} [{shown}] -> look at '{shown}'"
    assert pickle.loads(pickle.dumps(error)).args == (f"no answer of {shown}",)  # noqa: S301
    for secret in (
        "https://h/v1?access_token=S",
        "https://h/v1?x=1&X-Api-Key=S&y=2",
        "https://h/v1?subscription-key=S",
        "https://h/c?sv=1&sig=S",
        "https://S@h/v1",
        "https://S:@h/v1",
        "https://S@S@h/v1",
        "http://me@shop.com:S@h/v1",
        "postgresql://u:S/w@h/db",
        "http://u:S?w#x@h:80/v1",
    ):
        assert "S" not in shown_address(f"no answer of {secret}: refused")
        assert "h" in shown_address(secret)
    for plain in (
        "http://host/a@b:c",
        "http://host:80/a@b",
        "http://host/v1?x=monkeys&k=1",
        "postgresql://user@host/db",
        "a: b@c",
    ):
        assert shown_address(plain) == plain
    assert login_of("http://host/v1") == ("http://host/v1", "")
