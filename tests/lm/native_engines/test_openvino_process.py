from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import AssetError, ConfigError, ResourceError
from adwright.lm.native_engines import openvino_process
from adwright.lm.native_engines.openvino_process import PipelineProcess
from adwright.lm.native_engines.supervisor import RestartBounds


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[PipelineProcess]:
    """Behind it a worker that counts down from the first token of a prompt."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(one for one in sys.path if one))
    monkeypatch.setattr(openvino_process, "_WORKER", "tests.support.lm.counting_worker")
    with closing(PipelineProcess({"model": "m"})) as opened:
        yield opened


def ids_of(request: Any) -> list[int]:
    return [token for output in request for token in output.ids]


def test_many_requests_over_one_connection(process: PipelineProcess) -> None:
    requests = [process.submit([n], {}) for n in (3, 5, 4)]
    assert [ids_of(one) for one in requests] == [[2, 1, 0], [4, 3, 2, 1, 0], [3, 2, 1, 0]]
    assert (process.running, process.health()) == (0, "ready")
    with pytest.raises(ConfigError, match="not taken"):
        ids_of(process.submit([98], {}))


def test_a_dropped_request_ends(process: PipelineProcess) -> None:
    request = process.submit([10**9], {})
    assert request.next(20) is not None
    assert process.running == 1
    request.drop()
    outputs = list(request)
    assert outputs[-1].ended
    request.drop()
    assert process.running == 0


def test_a_kill_is_an_error_and_it_is_started_again(process: PipelineProcess) -> None:
    requests = [process.submit([10**9], {}) for _ in range(2)]
    assert requests[0].next(20) is not None
    pid = process.pid
    os.kill(pid, signal.SIGKILL)
    for one in requests:
        with pytest.raises(ResourceError, match="killed by SIGKILL"):
            list(one)
    assert ids_of(process.submit([2], {})) == [1, 0]
    assert process.pid != pid


def test_closing_ends_what_runs(process: PipelineProcess) -> None:
    request = process.submit([10**9], {})
    process.close()
    process.close()
    with pytest.raises(ResourceError, match="closed"):
        list(request)
    with pytest.raises(ConfigError, match="closed"):
        process.submit([1], {})


def test_one_that_takes_nothing_is_given_up(process: PipelineProcess) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    long = list(range(200_000))
    assert len(json.dumps(long)) > 1_000_000
    with pytest.raises(ResourceError):
        list(process.submit(long, {}))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai", reason="the extra lm is not installed")
    settings = {"cache_gb": 1, "max_running": 1, "prefix_caching": False, "step_tokens": 8}
    with pytest.raises(AssetError, match="cannot load"):
        PipelineProcess(
            settings | {"model": str(tmp_path / "a.gguf"), "threads": 1}, RestartBounds()
        )
