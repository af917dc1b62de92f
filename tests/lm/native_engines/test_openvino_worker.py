from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

pytest.importorskip("openvino_genai", reason="the extra lm is not installed")

from adwright.lm.native_engines.openvino_worker import (
    StepOutput,
    StepRequest,
    generation_config,
    serve,
)


class Echo:
    """Answers each request with its own prompt at once; holds those that begin with 9."""

    def __init__(self) -> None:
        self.held: list[StepRequest] = []
        self.together: list[int] = []

    def submit(self, requests: Sequence[StepRequest]) -> None:
        self.together.append(len(requests))
        for request in requests:
            if request.ids[0] == 9:
                self.held.append(request)
            elif request.ids[0] == 8:
                raise OverflowError("too large")
            else:
                request.tell(StepOutput(tuple(request.ids), (), ended=True))


def settings_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    if "wrong" in settings:
        raise ValueError("a wrong setting")
    return dict(settings)


@pytest.fixture
def talk() -> Iterator[tuple[Any, Any, Echo]]:
    here, there = socket.socketpair()
    echo = Echo()
    thread = threading.Thread(target=serve, args=(there, echo, settings_of))
    thread.start()
    with here, here.makefile("rb") as lines:

        def say(what: dict[str, Any]) -> None:
            here.sendall(json.dumps(what).encode() + b"\n")

        yield say, lambda: json.loads(lines.readline()), echo
        here.shutdown(socket.SHUT_RDWR)
        thread.join(20)
    assert not thread.is_alive()
    there.close()


def test_requests_pings_and_errors(talk: tuple[Any, Any, Echo]) -> None:
    say, told, echo = talk
    say({"ping": 4})
    assert told() == {"pong": 4}
    say({"ask": [{"id": 1, "prompt": [5, 6], "settings": {}}]})
    assert told() == {"id": 1, "ids": [5, 6], "logprobs": [], "ended": True, "full": False}
    say({"ask": [{"id": 2, "prompt": [8], "settings": {}}]})
    wrong = told()
    assert (wrong["id"], wrong["error"], wrong["refused"]) == (2, "too large", True)
    say({"ask": [{"id": 3, "prompt": [9], "settings": {}}]})
    say({"drop": 3})
    say({"drop": 77})
    say({"ping": 5})
    assert told() == {"pong": 5}
    assert echo.held[0].dropped


def test_the_requests_of_a_call_go_on_together(talk: tuple[Any, Any, Echo]) -> None:
    say, told, echo = talk
    rows = [{"id": n, "prompt": [n], "settings": {}} for n in (4, 5, 6)]
    rows[1]["settings"] = {"wrong": 1}
    say({"ask": rows})
    answers = {one["id"]: one for one in (told(), told(), told())}
    assert echo.together == [2]
    assert [answers[n]["ids"] for n in (4, 6)] == [[4], [6]]
    assert answers[5]["error"] == "a wrong setting"


def test_the_settings_of_a_request() -> None:
    found = generation_config({"max_new_tokens": 7, "echo": True, "grammar": "g", "end": 2})
    assert (found.max_new_tokens, found.echo, found.eos_token_id) == (7, True, 2)
    assert found.structured_output_config.grammar == "g"
