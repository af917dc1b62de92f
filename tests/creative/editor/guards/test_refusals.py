from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.guards.refusals import Refusal


def test_a_code_is_one_of_those_that_there_are() -> None:
    assert Refusal("minor", "too young", 2).face == 2
    with pytest.raises(ConfigError, match="code"):
        Refusal("ugly", "not nice")  # type: ignore[arg-type]
