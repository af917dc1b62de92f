from __future__ import annotations

import pytest

from adwright.core.clock import FixedClock
from adwright.service.programs.state import ProgramState
from adwright.web.errors import ApiError
from tests.support.service.program_apps import ScriptedRouter, program_app


def test_models_are_found_by_name() -> None:
    state: ProgramState = program_app(ScriptedRouter(), clock=FixedClock()).state.service
    assert state.text("other").count("two words") == 2
    with pytest.raises(ApiError) as told:
        state.text("none")
    assert told.value.status == 404
    assert state.now() == 1704067200
