"""The process that OpenVINO runs in: `python -P -m adwright.lm.native_engines.openvino_worker`.

It opens the pipeline, takes one connection on its socket file and ends with its lifeline. What goes
over the connection are lines of JSON, of any number of requests at once:

    {"ask": [{"id": 7, "prompt": [5, 6], "settings": {"max_new_tokens": 3}}]}    requests of a call
    {"drop": 7}                                                        cancel it
    {"ping": 1}                                                        answered {"pong": 1}
    {"id": 7, "ids": [8], "logprobs": [], "ended": false, "full": false}    what a step added
    {"id": 7, "error": "...", "hint": "...", "refused": true}               the end of the request

OpenVINO keeps Python waiting while it computes a step, so all of that happens between two steps.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from adwright.core.child_process import JsonLines, take_up
from adwright.core.errors import AdwrightError, ConfigError, ResourceError

if TYPE_CHECKING:
    import openvino_genai


# --------------------------------------------------------------------------------------------------
# The thread that steps an OpenVINO pipeline: requests join and leave between two steps.
#
# What is submitted together joins together. A request that joins a step later may find the
# beginning of its prompt in the cache, where keys and values are rounded to eight bits; one that
# joins at once computes it. So the answers would depend on how fast a call's rows arrive.


@dataclass(frozen=True)
class StepOutput:
    """What one step added to an answer.

    ended: whether it was the last one. full: whether it ended because its tokens were used up.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool
    full: bool = False


@dataclass(eq=False)
class StepRequest:
    """A request that is being computed. tell: is given its outputs up to the last, or what went
    wrong. shaped: whether a schema or grammar binds the answer. dropped: set to cancel it; its
    memory is free after the next step. written: the tokens that were told."""

    ids: Sequence[int]
    settings: openvino_genai.GenerationConfig
    tell: Callable[[StepOutput | Exception], None]
    shaped: bool = False
    written: list[int] = field(default_factory=list)
    handle: Any = None
    dropped: bool = False


class Stepper:
    """Runs a ContinuousBatchingPipeline for as many requests at once as there are.

    pipeline: used by nobody else from now on. It computes only while there are requests.
    again: makes a new one, after a request that made a step fail: it would be in the way of every
    further step, and cannot be taken out. The others go on in the new one where they stood.
    """

    def __init__(
        self,
        pipeline: openvino_genai.ContinuousBatchingPipeline,
        again: Callable[[], openvino_genai.ContinuousBatchingPipeline],
    ) -> None:
        self._pipeline: Any = pipeline
        self._again = again
        self._queue: SimpleQueue[Sequence[StepRequest] | None] = SimpleQueue()
        self._live: list[StepRequest] = []
        self._count = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="adwright-openvino", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Requests that the pipeline works on."""
        return len(self._live)

    def submit(self, requests: Sequence[StepRequest]) -> None:
        """Compute answers to these; no step lies between them. Raises ConfigError once it is
        closed."""
        with self._lock:
            if self._closed:
                raise ConfigError("the model is closed", where="openvino", hint="open it again")
            self._queue.put(requests)

    def join(self) -> None:
        """Return when it computes no more, for whatever reason; no request is left waiting."""
        self._thread.join()

    def close(self) -> None:
        """Cancel what runs and free the pipeline; any number of times."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended: Exception = ResourceError(
            "the model was closed", where="openvino", hint="open it again"
        )
        try:
            self._serve()
        except Exception as error:  # no new pipeline, or a fault of ours
            ended = ResourceError(_reason(error), where="openvino", hint="open the model again")
        with self._lock:
            self._closed = True
        self._fail(ended)
        self._pipeline = None
        while True:
            try:
                late = self._queue.get_nowait()
            except Empty:
                return
            for request in late or ():
                request.tell(ended)

    def _serve(self) -> None:
        while self._admit():
            try:
                self._pipeline.step()
                self._live = [request for request in self._live if not self._read(request)]
                if not self._live and self._pipeline.has_non_finished_requests():
                    # Cancelled ones give their memory back in the step after.
                    self._pipeline.step()
            except Exception as error:  # whatever a step raises, the thread goes on
                self._begin_again(error)

    def _begin_again(self, error: Exception) -> None:
        """Fail those that may have made a step fail, and go on with the others.

        OpenVINO compiles a schema in the step that all share, so it is one whose schema or grammar
        had its first step. An answer that is bound by one cannot be gone on with from its middle.
        """
        guilty = [one for one in self._live if one.shaped and not one.written]
        others = [one for one in self._live if not one.shaped] if guilty else []
        refused = ConfigError(
            f"the schema or grammar is not taken: {_reason(error)}",
            where="openvino",
            hint="leave out its rarer parts",
        )
        failed = ResourceError(_reason(error), where="openvino", hint=_TO_DO)
        lost = [one for one in self._live if one not in others]
        for request in self._live:
            request.handle = None
        self._live = others
        for request in lost:
            request.tell(refused if guilty == [request] else failed)
        self._pipeline = None  # first, so that there are never two
        self._pipeline = self._again()
        self._live = []
        for request in others:
            request.ids = [*request.ids, *request.written]
            if request.written:
                request.settings.max_new_tokens -= len(request.written)
                request.written = []
            self._take(request)

    def _admit(self) -> bool:
        """Take new requests, waiting where there is nothing to do; False at the end."""
        while True:
            try:
                requests = self._queue.get(block=not self._live, timeout=None)
            except Empty:
                return True
            if requests is None:
                return False
            for request in requests:
                if request.dropped:
                    request.tell(StepOutput((), (), ended=True))
                else:
                    self._take(request)

    def _take(self, request: StepRequest) -> None:
        try:
            request.handle = self._add(request)
            self._live.append(request)
        except Exception as error:  # whatever is wrong with one request, the others go on
            request.tell(ConfigError(_reason(error), where="openvino", hint="correct the request"))

    def _add(self, request: StepRequest) -> Any:
        import openvino

        self._count += 1
        ids = openvino.Tensor(np.array([list(request.ids)], dtype=np.int64))
        return self._pipeline.add_request(self._count, ids, request.settings)

    def _read(self, request: StepRequest) -> bool:
        """Pass on the output of the last step; return whether the request has ended."""
        handle = request.handle
        status = handle.get_status().name
        ended = status != "RUNNING"
        ids: list[int] = []
        logprobs: list[float] = []
        full = False
        while handle.can_read():
            for output in handle.read().values():
                ids.extend(output.generated_ids)
                logprobs.extend(output.generated_log_probs)
                full = output.finish_reason.name == "LENGTH"
        if status == "IGNORED" and not request.dropped:
            request.tell(ResourceError(_FULL, where="openvino", hint=_TO_DO))
        elif ids or ended:
            request.written += ids
            request.tell(StepOutput(tuple(ids), tuple(logprobs), ended, full))
        if request.dropped and not ended:
            handle.cancel()
            request.tell(StepOutput((), (), ended=True))
        if ended or request.dropped:
            # The pipeline goes on with a request for as long as somebody holds its handle.
            request.handle = None
            return True
        return False

    def _fail(self, error: Exception) -> None:
        for request in self._live:
            if request.handle is not None:
                request.handle.cancel()
                request.handle = None
            request.tell(error)
        self._live = []


_FULL = "the cache of keys and values is full"
_SOURCE = re.compile(r"^(\[[\d:]+\] )?\S+\.(cc|cpp|hpp|h):\d+:? ?")
_TO_DO = "send less at once, or raise cache_gb"


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO begins with where in its source it was; the reason comes last.
    return _SOURCE.sub("", lines[-1]) if lines else "it failed"


Say = Callable[[Mapping[str, Any]], None]


def pipeline(settings: Mapping[str, Any]) -> openvino_genai.ContinuousBatchingPipeline:
    """Open the model with the settings of `OpenVinoModel`."""
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = settings["cache_gb"]
    scheduler.max_num_seqs = settings["max_running"]
    scheduler.enable_prefix_caching = settings["prefix_caching"]
    scheduler.max_num_batched_tokens = settings["step_tokens"]
    properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": settings["threads"]}
    if settings["threads"] == 1 and _has_amx():
        # The plugin's layers for bf16 on AMX divide by half the threads: the process dies.
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    return genai.ContinuousBatchingPipeline(settings["model"], scheduler, "CPU", properties)


def generation_config(settings: Mapping[str, Any]) -> openvino_genai.GenerationConfig:
    """Its fields by name; beside them `end`, a token, and `json_schema` or `grammar`, texts."""
    import openvino_genai as genai

    found = genai.GenerationConfig()
    for name, value in settings.items():
        if name in ("json_schema", "grammar"):
            found.structured_output_config = genai.StructuredOutputConfig(**{name: value})
        elif name != "end":
            setattr(found, name, value)
    found.set_eos_token_id(settings["end"])
    return found


def serve(
    connection: socket.socket,
    stepper: Stepper,
    settings_of: Callable[[Mapping[str, Any]], Any] = generation_config,
) -> None:
    """Take requests from the connection, and tell what becomes of them, until it is closed."""
    lines = JsonLines(connection)

    def say(what: Mapping[str, Any]) -> None:
        # Where the parent has gone, or has given this life up, the loop below ends too.
        with suppress(OSError):
            lines.say(what)

    live: dict[int, StepRequest] = {}
    with closing(lines):
        for told in lines:
            if "ping" in told:
                say({"pong": told["ping"]})
            elif "drop" in told:
                dropped = live.get(told["drop"])
                if dropped is not None:
                    dropped.dropped = True
            else:
                tells = [_teller(one["id"], live, say) for one in told["ask"]]
                asked = _asked(told["ask"], tells, settings_of)
                live |= asked
                try:
                    stepper.submit(list(asked.values()))
                except Exception as error:  # whatever is wrong with some, the others go on
                    for request in asked.values():
                        request.tell(error if isinstance(error, AdwrightError) else _refused(error))


def main() -> None:
    """Serve until the lifeline ends."""
    lifeline = take_up()
    settings = lifeline.settings
    try:
        first = pipeline(settings)
    except Exception as error:  # its errors are of any kind
        lifeline.failed(error)
    stepper = Stepper(first, lambda: pipeline(settings))
    del first
    connection = lifeline.connection()
    threading.Thread(target=_end_with, args=(stepper,), daemon=True).start()
    serve(connection, stepper)
    os._exit(0)


def _end_with(stepper: Stepper) -> None:
    """End the process when nothing steps any more, so that the parent starts another."""
    stepper.join()
    os._exit(1)


def _asked(
    rows: Sequence[Mapping[str, Any]],
    tells: Sequence[Callable[[StepOutput | Exception], None]],
    settings_of: Callable[[Mapping[str, Any]], Any],
) -> dict[int, StepRequest]:
    """The requests of a call, by id, without those whose settings are wrong, which are told so."""
    asked: dict[int, StepRequest] = {}
    for row, tell in zip(rows, tells, strict=True):
        settings = row["settings"]
        shaped = "json_schema" in settings or "grammar" in settings
        try:
            asked[row["id"]] = StepRequest(row["prompt"], settings_of(settings), tell, shaped)
        except Exception as error:  # whatever is wrong with one, the others go on
            tell(_refused(error))
    return asked


def _teller(
    ident: int, live: dict[int, StepRequest], say: Say
) -> Callable[[StepOutput | Exception], None]:
    def tell(output: StepOutput | Exception) -> None:
        ended = True
        if isinstance(output, StepOutput):
            ended = output.ended
            say({"id": ident, **vars(output)})
        else:
            what = output.what if isinstance(output, AdwrightError) else str(output)
            hint = output.hint if isinstance(output, AdwrightError) else ""
            refused = isinstance(output, ConfigError)
            say({"id": ident, "error": what, "hint": hint, "refused": refused})
        if ended:
            live.pop(ident, None)

    return tell


def _refused(error: Exception) -> ConfigError:
    return ConfigError(str(error), where="openvino", hint="correct the request")


def _has_amx() -> bool:
    """Whether the processor multiplies tiles of bfloat16; False where nothing tells."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False


if __name__ == "__main__":
    main()
