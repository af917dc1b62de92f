from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.lm.native_engines.worker_process import WorkerProcess

CALM = "tests.support.lm.calm_worker"


def refusal(told: str, log: Path) -> AdwrightError:
    return ConfigError(told + log.read_text("utf-8"), where="x", hint="y")


@pytest.fixture(autouse=True)
def found_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(one for one in sys.path if one))


def test_a_life_from_its_start_to_its_end() -> None:
    life = WorkerProcess(CALM, {"how": "ready"})
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


def test_why_it_is_not_ready() -> None:
    for how, told in (("fails", "no model"), ("dies", "ended with code 3")):
        life = WorkerProcess(CALM, {"how": how})
        with pytest.raises(ConfigError, match=told):
            life.ready(60, refusal)
        life.end()
    life = WorkerProcess(CALM, {"how": "hangs"})
    began = time.monotonic()
    with pytest.raises(ResourceError, match="has not opened"):
        life.ready(0.5, refusal)
    assert time.monotonic() - began < 20
    life.kill()
    assert life.gone_within(20)
    life.end()
