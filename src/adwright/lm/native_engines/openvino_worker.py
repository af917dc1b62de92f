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
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.core.child_process import JsonLines, take_up
from adwright.core.errors import AdwrightError, ConfigError
from adwright.lm.native_engines.openvino_steps import StepOutput, Stepper, StepRequest

if TYPE_CHECKING:
    import openvino_genai

__all__ = ["generation_config", "main", "pipeline", "serve"]

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
