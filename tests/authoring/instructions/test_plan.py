from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.checks.limits import BrandVoice
from adwright.authoring.instructions.build import BuildCounts, InstructionPlan
from adwright.authoring.instructions.sources import DataSources
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError

SOURCES = DataSources(pricerunner=Path("offers.csv"))


def test_by_default_it_is_the_six_tasks() -> None:
    plan = InstructionPlan(SOURCES)
    assert plan.tasks == ("ads", "titles", "classify", "intent", "answers", "descriptions")
    assert plan.looked_at == 4000
    assert InstructionPlan(SOURCES, most=0).looked_at == 0


def test_a_plan_can_be_written_and_read() -> None:
    voice = BrandVoice("calm", banned=("cheap",))
    plan = InstructionPlan(SOURCES, tasks=("ads", "attributes"), held_out=("ads",), voice=voice)
    assert from_jsonable(InstructionPlan, to_jsonable(plan)) == plan


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ("advert",)},
        {"tasks": ()},
        {"tasks": ("ads", "ads")},
        {"held_out": ("attributes",)},
        {"most": -1},
        {"spare": 0.5},
        {"valid": 0.5, "test": 0.5},
        {"valid": -0.1},
        {"phrasings": -1},
        {"alike": 0.0},
        {"title_alike": 1.5},
        {"seed": "x"},
    ],
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InstructionPlan(SOURCES, **wrong)


def test_the_voice_is_put_into_words() -> None:
    assert InstructionPlan(SOURCES).voice_text == ""
    assert InstructionPlan(SOURCES, voice=BrandVoice("calm")).voice_text == "Tone: calm."


def test_counts_begin_at_nothing() -> None:
    counts = BuildCounts()
    counts.left_out["ads"]["form"] += 1
    assert counts.left_out["titles"]["form"] == 0
    assert not counts.seen
