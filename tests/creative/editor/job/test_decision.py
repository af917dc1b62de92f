from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.plan import EditedPicture, EditPlan
from adwright.creative.editor.edits.tones import Exposure
from adwright.creative.editor.job.decision import decide
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.result import FoundEdit, JudgedChange

BEFORE = np.zeros((4, 4, 3), np.uint8)


def found(first: JudgedChange, second: JudgedChange | None = None) -> FoundEdit:
    return FoundEdit(
        plan=EditPlan((Exposure(0.5),)),
        method="genetic",
        original=BEFORE,
        done=EditedPicture(BEFORE + 1, EditContext()),
        first=first,
        second=second,
        penalties={},
        score_gain=0.1,
        calls=9,
        batches=3,
        cpu_seconds=0.1,
    )


def one(after: float) -> JudgedChange:
    return JudgedChange("click_rate", 0.02, after)


def several(low: float) -> JudgedChange:
    return JudgedChange("click_rate", 0.02, 0.025, low, 0.01)


@pytest.mark.parametrize(
    ("edit", "kept", "says"),
    [
        (found(several(0.001)), True, "no second judge"),
        (found(several(0.0)), False, "lower bound"),
        (found(several(-0.001), one(0.03)), False, "lower bound"),
        (found(several(0.001), one(0.021)), True, "two opinions"),
        (found(several(0.001), one(0.02)), False, "second judge"),
        (found(one(0.0203)), True, "Worth a test"),
        (found(one(0.0201)), False, "less than the 1.0%"),
        (found(one(0.019)), False, "-5.0%"),
        (found(JudgedChange("recall", 0.0, 0.4)), False, "+0.4"),
    ],
)
def test_an_edit_has_to_beat_none_by_the_lower_bound(
    edit: FoundEdit, kept: bool, says: str
) -> None:
    decision = decide(edit, EditJob())
    assert decision.kept is kept
    assert says in decision.reason
    assert decision.reason.startswith("The ad stays as it is") is not kept
    assert (ESTIMATE in decision.reason) is kept


def test_an_edit_that_changes_nothing_is_none() -> None:
    edit = replace(found(several(1.0)), done=EditedPicture(BEFORE, EditContext()))
    assert "no edit was found" in decide(edit, EditJob()).reason


def test_judges_that_say_the_same_are_one() -> None:
    alike = JudgedChange("click_rate", 0.02, 0.0201, 0.0001 - 1e-12, 0.0001 + 1e-12)
    decision = decide(found(alike), EditJob())
    assert not decision.kept
    assert "members differ" in decision.reason
    assert decide(found(replace(alike, after=0.03)), EditJob()).kept


def test_the_least_share_is_the_users() -> None:
    assert not decide(found(one(0.0203)), EditJob(least=0.05)).kept
    assert decide(found(one(0.0201)), EditJob(least=0.0)).kept
