from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xllamacpp", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")

from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.lm.native_engines.worker_process import WorkerProcess
from tests.support.lm.worker_lives import WORKER, worker_settings


def refusal(told: str, log: Path) -> AdwrightError:
    return ConfigError(told + log.read_text("utf-8"), where="x", hint="y")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return worker_settings(tmp_path_factory.mktemp("models"))


def test_a_life_from_its_start_to_its_end(settings: dict[str, Any]) -> None:
    life = WorkerProcess(WORKER, settings)
    life.ready(60, refusal)
    assert life.alive
    assert life.ending == ""
    assert not life.gone_within(0.05)
    assert life.folder.stat().st_mode & 0o77 == 0
    os.kill(life.pid, signal.SIGKILL)
    assert life.gone_within(20)
    assert (life.alive, life.ending) == (False, "was killed by SIGKILL")
    life.end()
    life.end()
    assert not life.folder.exists()


def test_why_it_is_not_ready(settings: dict[str, Any]) -> None:
    wrong = settings | {"model": "/nowhere.gguf"}
    for module, told in ((WORKER, "nowhere"), ("adwright.nowhere", "ended with code 1")):
        life = WorkerProcess(module, wrong)
        with pytest.raises(ConfigError, match=told):
            life.ready(60, refusal)
        life.end()
    # It reads its input to the end, and says nothing before.
    life = WorkerProcess("json.tool", settings)
    began = time.monotonic()
    with pytest.raises(ResourceError, match="has not opened"):
        life.ready(0.5, refusal)
    assert time.monotonic() - began < 20
    life.kill()
    assert life.gone_within(20)
    life.end()
