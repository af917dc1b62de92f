from __future__ import annotations

import pytest

from adwright.core.clock import FixedClock
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.service.lm.config import Callers, LmServiceConfig
from adwright.service.lm.routes import LmState
from adwright.service.lm.work import LmShares, LmWork
from adwright.web.errors import ApiError
from adwright.web.gate import ServiceMetrics
from tests.support.service.scripted_models import Recorded, app_of, events_of
from tests.support.service.small_shop import running


def test_state() -> None:
    clock = FixedClock()
    work = LmWork(LmShares(running=1, waiting=0), clock=clock)
    model = ScriptedModel(ScriptedConfig())
    state = LmState(
        LmServiceConfig(),
        {"m": model},
        work,
        metrics=ServiceMetrics(),
        clock=clock,
        callers=Callers("", {}),
    )
    assert state.model("m") is model
    assert state.now() == int(clock.now().timestamp())
    with pytest.raises(ApiError, match="no model of this name"):
        state.model("x")
    work.close()


def test_several_answers_in_a_stream() -> None:
    with running(app_of(Recorded("abc", "xy"))) as client:
        body = {"model": "m", "prompt": "ab", "stream": True, "n": 2}
        told = client.post(
            "/v1/completions", json={**body, "stream_options": {"include_usage": True}}
        )
        metrics = client.get("/metrics").text
    *events, usage = events_of(told)
    for index, text in enumerate(("abc", "xy")):
        own = [one["choices"][0] for one in events if one["choices"][0]["index"] == index]
        assert "".join(one["text"] for one in own) == text
        assert own[-1]["finish_reason"] == "stop"
    assert usage["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 7,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert 'adwright_lm_tokens_total{kind="answer"} 7.0' in metrics
    assert "adwright_lm_first_token_seconds_count 1.0" in metrics
