from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import AdwrightError, ConfigError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.plan import EditedPicture, EditPlan, SkippedEdit
from adwright.creative.editor.edits.tones import Exposure
from adwright.creative.editor.job.outcome import AdOutcome, KeptFront, with_found
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.result import FoundEdit, JudgedChange

CHANGE = JudgedChange("click_rate", 0.02, 0.03, 0.001, 0.02)
BLANK = AdOutcome("w0", "shop/0.png", "ab" * 32, "edited", "Worth a test.")


def test_it_is_read_back_as_it_was() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    plan = EditPlan((Exposure(0.5),))
    done = EditedPicture(picture, EditContext(), (SkippedEdit(0, "crop", "no: room"),))
    found = FoundEdit(
        plan, "genetic", picture, done, CHANGE, None, {"fine_noise": 0.1}, 0.2, 130, 6, 1.5
    )
    outcome = with_found(BLANK, found)
    assert (outcome.calls, outcome.batches, outcome.score_gain) == (130, 6, 0.2)
    assert outcome.skipped == ("crop: no: room",)
    assert EditPlan.of_json(outcome.plan) == plan
    front = KeptFront(("a", "b"), ((1.0, 2.0), (2.0, 1.0)), (0.0, 0.0), 120)
    whole = AdOutcome(**{**vars(outcome), "front": front, "others": (CHANGE,)})
    assert AdOutcome.of_json(whole.to_json(), source="x") == whole


def test_a_row_says_how_to_go_back_and_that_it_is_an_estimate() -> None:
    row = AdOutcome(**{**vars(BLANK), "first": CHANGE}).as_row()
    assert row["note"] == ESTIMATE
    assert "shop/0.png" in row["undo"]
    assert row["first"]["change"] == pytest.approx(0.01)
    assert ESTIMATE in row["first"]["said"]
    same = AdOutcome(**{**vars(BLANK), "status": "unchanged"})
    assert same.undo == ""
    with pytest.raises(ConfigError, match="lost"):
        AdOutcome(**{**vars(BLANK), "status": "lost"})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ad": 3}', "{" * 9999])
def test_what_is_no_outcome_is_refused(text: str) -> None:
    with pytest.raises(AdwrightError):
        AdOutcome.of_json(text, source="w0.json")
