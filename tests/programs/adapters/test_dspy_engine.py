from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.adapters.dspy_engine import dspy_lm
from adwright.programs.adapters.program_chats import ProgramChats
from tests.programs.adapters.test_program_chats import line_prompt

NO_CHATS = ProgramChats(lambda: pytest.fail("nothing is asked"), line_prompt)


def in_its_own_process(tmp_path: Path, where: str) -> None:
    # Else DSPy asks the net for the prices of hosted models, and caches in the home folder.
    own = {"LITELLM_LOCAL_MODEL_COST_MAP": "true", "DSPY_CACHEDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.support.programs.dspy_calls", where]
    found = subprocess.run(
        command, env=os.environ | own, capture_output=True, text=True, timeout=300, check=False
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.skipif(find_spec("dspy") is None, reason="dspy is not installed")
def test_calls_are_chains_of_one_program(tmp_path: Path) -> None:
    in_its_own_process(tmp_path, "here")


@pytest.mark.skipif(find_spec("dspy") is None, reason="dspy is not installed")
def test_calls_run_in_a_service(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    from adwright.service.programs.engine_room import EngineRoom
    from adwright.web.loopback import on_loopback
    from tests.support.programs.dspy_calls import written
    from tests.support.service.program_apps import OpenedEngine, room_app

    room = EngineRoom({"e0": OpenedEngine(written)}, len)
    with on_loopback(room_app(room)) as url:
        in_its_own_process(tmp_path, url)


def test_without_dspy_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dspy", None)
    with pytest.raises(ConfigError, match=r"DSPy is not there.*dspy>=3.4"):
        dspy_lm(NO_CHATS, "m")
