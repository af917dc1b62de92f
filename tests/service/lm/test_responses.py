from __future__ import annotations

import json
from typing import Any

import pytest

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import Message
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.service.scripted_models import Recorded, app_of
from tests.support.service.small_shop import running

JSON = {"content-type": "application/json"}


def test_a_number_beyond_all_is_refused_where_it_would_be_told_again() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"maximum": 9}}
    body = json.dumps({"model": "m", "input": "a", "tools": [tool], "tool_choice": "none"})
    with running(app_of(Recorded())) as client:
        for number, status in (("9", 200), ("1e999", 400)):
            sent = body.replace(": 9", f": {number}")
            answer = client.post("/v1/responses", content=sent, headers=JSON)
            assert answer.status_code == status, answer.text


BODY = {"model": "m", "input": "hello"}


def test_a_response_and_its_stream() -> None:
    model = Recorded("fresh tea", "hot tea")
    with running(app_of(model)) as client:
        whole = client.post("/v1/responses", json={**BODY, "instructions": "be brief"})
        assert whole.json()["output"][0]["content"][0]["text"] == "fresh tea"
        told = client.post("/v1/responses", json={**BODY, "stream": True})
        metrics = client.get("/metrics").text
    events = [one.split("\ndata: ") for one in told.text.split("\n\n") if one]
    assert events[0][0] == "event: response.created"
    assert events[-1][0] == "event: response.completed"
    last = json.loads(events[-1][1])["response"]
    assert last["output"][0]["content"][0]["text"] == "hot tea"
    assert last["usage"]["output_tokens"] == 8
    assert model.asked[0][0] == (Message("system", "be brief"), Message("user", "hello"))
    assert 'adwright_lm_tokens_total{kind="answer"} 18.0' in metrics


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_refused(stream: bool) -> None:
    with running(app_of(Recorded())) as client:
        for fields, words in (
            ({"previous_response_id": "r"}, "previous_response_id: there is no such field"),
            ({"tool_choice": "required"}, "tool_choice needs tools"),
            ({"max_output_tokens": 10**6}, "at most"),
        ):
            body = json.dumps({**BODY, "stream": stream, **fields})
            headers = {"content-type": "application/json"}
            answer = client.post("/v1/responses", content=body, headers=headers)
            assert answer.status_code == 400
            assert words in answer.json()["error"]["message"]


class Breaking(ScriptedModel):
    """Breaks off after the first piece."""

    def stream(self, *_: Any, **__: Any) -> Any:
        chunks = super().stream("a")
        yield next(chunks)
        raise ResourceError("it broke on SECRET")


def test_a_stream_that_breaks_off_says_so() -> None:
    with running(app_of(Breaking(ScriptedConfig(("ab",))))) as client:
        told = client.post("/v1/responses", json={**BODY, "stream": True}).text
    assert "event: error\n" in told
    assert "SECRET" not in told
