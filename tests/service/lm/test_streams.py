from __future__ import annotations

from adwright.lm.engine.generation import Cancellation, GenerationConfig
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.service.lm.work import pieces
from tests.support.service.scripted_models import Recorded


def test_several_answers_in_turns() -> None:
    model = Recorded("abc", "xy")
    found = list(pieces(model, ["1", "2"], GenerationConfig(seed=7), Cancellation()))
    for index, text in enumerate(("abc", "xy")):
        own = [chunk for at, chunk in found if at == index]
        assert "".join(chunk.text for chunk in own) == text
        assert own[-1].finish_reason == "stop"
    assert [at for at, _ in found[:4]] == [0, 1, 0, 1]
    assert [config.seed for _, config in model.asked] == [7, 8]


def test_leaving_ends_all_of_them() -> None:
    model = Recorded("abc")
    left = pieces(model, ["1"], GenerationConfig(), Cancellation())
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert model.ended.is_set()
    cancel = Cancellation()
    cancel.cancel()
    slow = ScriptedModel(ScriptedConfig(("abc",)))
    assert [one.finish_reason for _, one in pieces(slow, ["1"], GenerationConfig(), cancel)] == [
        "cancelled"
    ]
