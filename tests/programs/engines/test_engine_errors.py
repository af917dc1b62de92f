from __future__ import annotations

import pytest

from adwright.core.errors import ArtifactError, ConfigError, ResourceError, ValueInvalidError
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
        (ResourceError("no", where="a", hint="b"), EngineFailedError),
    ],
)
def test_an_error_comes_through(error: ConfigError, kind: type[ConfigError]) -> None:
    found = error_from_wire(error_to_wire(error))
    assert type(found) is kind
    assert str(found) == str(error) == "no [a] -> b"


def test_a_fault_is_a_failure() -> None:
    found = error_from_wire(error_to_wire(KeyError("x")))
    assert isinstance(found, EngineFailedError)
    assert str(found) == "KeyError: 'x'"


def test_all_three_mean_that_the_engine_refuses() -> None:
    for kind in (EngineBusyError, EngineFailedError, EngineGoneError):
        assert issubclass(kind, ResourceError)
    assert EngineBusyError("full").retry_after is None
