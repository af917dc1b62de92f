"""Send OpenVINO's process requests, and start it again when it dies.

One connection carries all requests, see `openvino_worker`; a thread reads it for as long as a life
lasts, and hands each request what belongs to it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from adwright.core.child_process import JsonLines, WorkerProcess
from adwright.core.errors import AdwrightError, AssetError, ConfigError, ResourceError
from adwright.lm.engine.language_model import Health
from adwright.lm.native_engines.openvino_steps import StepOutput
from adwright.lm.native_engines.supervisor import RestartBounds, Supervisor

__all__ = ["PipelineProcess", "PipelineRequest"]

_WORKER = "adwright.lm.native_engines.openvino_worker"
_WHERE = "openvino"
_DEFAULT = RestartBounds()


@dataclass(eq=False)
class PipelineRequest:
    """A request that is being computed. Iterate over its outputs; `drop` cancels it."""

    ident: int
    link: _Link
    arrived: SimpleQueue[StepOutput | AdwrightError] = field(default_factory=SimpleQueue)

    def __iter__(self) -> Iterator[StepOutput]:
        """Yield its outputs up to the last. Raises what went wrong in the pipeline."""
        while True:
            output = self.next(None)
            if output is not None:
                yield output
                if output.ended:
                    return

    def next(self, seconds: float | None) -> StepOutput | None:
        """The next output, or None where none came within so many seconds; None waits for it."""
        try:
            output = self.arrived.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(output, AdwrightError):
            raise output
        return output

    def drop(self) -> None:
        """Cancel the request; its memory is free after the next step."""
        if self.ident in self.link.live:
            self.link.say({"drop": self.ident})


class PipelineProcess:
    """A ContinuousBatchingPipeline in a process of its own.

    settings: those of the worker but `socket` and `parent`. Where the process dies, every request
    in it raises a ResourceError that says how it died, and the process is started again within
    `bounds`; what is asked meanwhile waits for it. start: begins a life, that of the worker by
    default. send_seconds: after so many a process that takes nothing from its connection is given
    up.

    Raises AssetError where OpenVINO cannot load the model, ResourceError where the process cannot
    be started.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        bounds: RestartBounds = _DEFAULT,
        start: Callable[[], WorkerProcess] | None = None,
        *,
        send_seconds: int = 10,
    ) -> None:
        self._link: _Link | None = None
        self._send_seconds = send_seconds
        self._idents = count(1)
        self._lives = Supervisor(
            "OpenVINO",
            start or (lambda: WorkerProcess(_WORKER, settings)),
            refusal=lambda told, _: _refused(str(settings["model"]), told),
            ping=self._ping,
            joined=self._join,
            bounds=bounds,
        )

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._lives.current.pid

    @property
    def running(self) -> int:
        """Requests that are computed or wait."""
        return 0 if self._link is None else len(self._link.live)

    def health(self) -> Health:
        """How the process is."""
        return self._lives.health(working=bool(self.running))

    def submit(
        self, rows: Sequence[tuple[Sequence[int], Mapping[str, Any]]]
    ) -> list[PipelineRequest]:
        """Ask for answers to prompts of tokens, each with its settings, see `generation_config`.

        They join what is computed together, so that their answers do not depend on how fast they
        get there. Raises ResourceError once it is closed, or where the process does not come back
        in time. A request raises ConfigError where OpenVINO refuses it, ResourceError where it
        fails at it, or the process is gone.
        """
        self._lives.life()
        link = self._link
        if link is None:
            raise ResourceError("OpenVINO has no process", where=_WHERE, hint="ask again")
        requests = [PipelineRequest(next(self._idents), link) for _ in rows]
        if not link.live:
            self._lives.moved()
        for request in requests:
            link.add(request)
        asked = [
            {"id": request.ident, "prompt": list(ids), "settings": dict(settings)}
            for request, (ids, settings) in zip(requests, rows, strict=True)
        ]
        link.say({"ask": asked})
        return requests

    def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        self._lives.close()
        if self._link is not None:
            self._link.end()

    def _join(self, life: WorkerProcess) -> None:
        """Connect to a life that is ready."""
        if self._link is not None:
            self._link.end()
        self._link = _Link(life, lambda: self._lives, self._send_seconds)

    def _ping(self, life: WorkerProcess) -> bool:
        """Ask for a sign, which the link hears."""
        if self._link is not None:
            self._link.say({"ping": life.pid})
        return False


class _Link:
    """The connection to one life, and the requests in it."""

    def __init__(
        self, life: WorkerProcess, lives: Callable[[], Supervisor], send_seconds: int
    ) -> None:
        self._life, self._lives = life, lives
        self.live: dict[int, PipelineRequest] = {}
        self._over: AdwrightError | None = None
        self._lock = threading.Lock()
        connection = life.connect()
        # A process that is stopped reads nothing, and its callers must not wait for that.
        bound = struct.pack("ll", send_seconds, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        self._lines = JsonLines(connection)
        self._thread = threading.Thread(target=self._read, name="adwright-openvino", daemon=True)
        self._thread.start()

    def add(self, request: PipelineRequest) -> None:
        """Hand the request what comes for it from now on."""
        with self._lock:
            if self._over is None:
                self.live[request.ident] = request
            else:
                request.arrived.put(self._over)

    def say(self, what: Mapping[str, Any]) -> None:
        """Send a line. One that cannot be sent ends the life, and with it its requests."""
        try:
            self._lines.say(what)
        except OSError:
            self._lines.shut()

    def end(self) -> None:
        """Close the connection; what waits for it raises."""
        self._lines.shut()
        self._thread.join()
        self._lines.close()

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            for told in self._lines:
                self._hand(told)
        self._lines.shut()
        error = self._lives().broken(self._life)
        with self._lock:
            self._over = error
            left, self.live = list(self.live.values()), {}
        for request in left:
            request.arrived.put(error)

    def _hand(self, told: dict[str, Any]) -> None:
        ident = told.pop("id", None)
        if ident is None:
            self._lives().heard()
            return
        self._lives().worked()
        request = self.live.get(ident)
        if request is None:
            return
        if "error" in told:
            kind = ConfigError if told["refused"] else ResourceError
            output: StepOutput | AdwrightError = kind(
                told["error"], where=_WHERE, hint=told["hint"]
            )
        else:
            output = StepOutput(
                tuple(told["ids"]), tuple(told["logprobs"]), told["ended"], told["full"]
            )
        if isinstance(output, AdwrightError) or output.ended:
            with self._lock:
                self.live.pop(ident, None)
        request.arrived.put(output)


def _refused(model: str, told: str) -> AssetError:
    lines = told.strip().splitlines()
    return AssetError(
        f"OpenVINO cannot load the model: {lines[-1] if lines else 'it failed'}",
        where=str(Path(model)),
        hint="name a .gguf file of the families llama or qwen, or an exported folder",
    )
