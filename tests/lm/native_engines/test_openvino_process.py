from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from adwright.core.child_process import WorkerProcess
from adwright.core.errors import AssetError, ConfigError, ResourceError
from adwright.lm.native_engines.openvino_model import PipelineProcess
from adwright.lm.native_engines.openvino_worker import StepOutput, StepRequest, serve


class Counting:
    """Counts down from the first token of each prompt, in a thread of its own."""

    def submit(self, requests: Sequence[StepRequest]) -> None:
        for request in requests:
            if request.ids[0] == 98:
                raise ValueError("it is not taken")
            threading.Thread(target=self._count, args=(request,), daemon=True).start()

    def _count(self, request: StepRequest) -> None:
        left = request.ids[0]
        while left and not request.dropped:
            left -= 1
            request.tell(StepOutput((left,), (), ended=left == 0, full=left == 0))
            time.sleep(0.001)
        if request.dropped:
            request.tell(StepOutput((), (), ended=True))


class Life:
    """A worker without a process: it can be killed all the same. reads: whether it takes what is
    sent."""

    def __init__(self, pid: int, *, reads: bool = True) -> None:
        self.pid, self.folder = pid, Path(tempfile.mkdtemp(prefix="life-"))
        self.socket, self._reads = str(self.folder / "s"), reads
        self._gone = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.socket)
        self._listener.listen(1)
        self._connection: socket.socket | None = None

    connect = WorkerProcess.connect
    alive = property(lambda self: not self._gone.is_set())
    ending = property(lambda self: "was killed by SIGKILL" if self._gone.is_set() else "")

    def ready(self, *_: Any) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError, ValueError):  # OSError: ended before anyone came
            self._connection, _ = self._listener.accept()
            if self._reads:
                serve(self._connection, Counting(), dict)  # type: ignore[arg-type]

    def gone_within(self, seconds: float) -> bool:
        return self._gone.wait(seconds)

    def kill(self) -> None:
        self._gone.set()
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self.kill()
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def process() -> Iterator[PipelineProcess]:
    lives = iter(range(1, 100))
    with closing(PipelineProcess({"model": "m"}, start=lambda: Life(next(lives)))) as opened:  # type: ignore[arg-type,return-value]
        yield opened


def ids_of(request: Any) -> list[int]:
    return [token for output in request for token in output.ids]


def test_many_requests_over_one_connection(process: PipelineProcess) -> None:
    requests = process.submit([([n], {}) for n in (3, 5, 4)])
    assert [ids_of(one) for one in requests] == [[2, 1, 0], [4, 3, 2, 1, 0], [3, 2, 1, 0]]
    assert (process.running, process.health()) == (0, "ready")
    with pytest.raises(ConfigError, match="not taken"):
        ids_of(*process.submit([([98], {})]))


def test_a_dropped_request_ends(process: PipelineProcess) -> None:
    (request,) = process.submit([([10**9], {})])
    assert request.next(20) is not None
    assert process.running == 1
    request.drop()
    assert list(request)[-1].ended
    request.drop()
    assert process.running == 0


def test_a_death_is_an_error_and_it_is_started_again() -> None:
    lives: list[Life] = []

    def start() -> Any:
        lives.append(Life(len(lives) + 1))
        return lives[-1]

    with closing(PipelineProcess({"model": "m"}, start=start)) as process:
        requests = process.submit([([10**9], {})] * 2)
        assert requests[0].next(20) is not None
        lives[0].kill()
        for one in requests:
            with pytest.raises(ResourceError, match="killed by SIGKILL"):
                list(one)
        assert ids_of(*process.submit([([2], {})])) == [1, 0]
        assert process.pid == 2


def test_closing_ends_what_runs(process: PipelineProcess) -> None:
    (request,) = process.submit([([10**9], {})])
    process.close()
    process.close()
    with pytest.raises(ResourceError, match="closed"):
        list(request)
    with pytest.raises(ResourceError, match="closed"):
        process.submit([([1], {})])


def test_one_that_takes_nothing_is_given_up() -> None:
    long = list(range(200_000))
    assert len(json.dumps(long)) > 1_000_000

    def start() -> Any:
        return Life(1, reads=False)

    with (
        closing(PipelineProcess({"model": "m"}, start=start, send_seconds=1)) as process,
        pytest.raises(ResourceError),
    ):
        list(*process.submit([(long, {})]))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai", reason="the extra lm is not installed")
    settings = {"cache_gb": 1, "max_running": 1, "prefix_caching": False, "step_tokens": 8}
    settings |= {"model": str(tmp_path / "a.gguf"), "threads": 1}  # type: ignore[dict-item]
    with pytest.raises(AssetError, match="cannot load"):
        PipelineProcess(settings)
