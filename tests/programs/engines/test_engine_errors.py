from __future__ import annotations

import pytest

from adwright.core.errors import (
    AdwrightError,
    ArtifactError,
    ConfigError,
    ResourceError,
    ValueInvalidError,
)
from adwright.programs.engines.engine_errors import (
    EngineBusyError,
    EngineFailedError,
    EngineGoneError,
    error_from_wire,
    error_to_wire,
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConfigError("no", where="a", hint="b"), ConfigError),
        (ArtifactError("no", where="a", hint="b"), ConfigError),
        (ValueInvalidError("no", file="a", hint="b"), ValueInvalidError),
    ],
)
def test_an_error_comes_through(error: ConfigError, kind: type[ConfigError]) -> None:
    found = error_from_wire(error_to_wire(error))
    assert type(found) is kind
    assert str(found) == str(error) == "no [a] -> b"


@pytest.mark.parametrize(
    ("error", "what"),
    [(KeyError("x"), "KeyError: 'x'"), (ResourceError("no room", where="a"), "no room [a]")],
)
def test_a_failure_is_not_the_end_of_the_engine(error: Exception, what: str) -> None:
    found = error_from_wire(error_to_wire(error))
    assert type(found) is EngineFailedError
    assert str(found) == what


def test_which_are_final() -> None:
    assert issubclass(EngineGoneError, ResourceError)
    for kind in (EngineBusyError, EngineFailedError):
        assert not issubclass(kind, AdwrightError)
    assert (EngineBusyError("full").retry_after, EngineBusyError("full", 2).retry_after) == (
        None,
        2,
    )
