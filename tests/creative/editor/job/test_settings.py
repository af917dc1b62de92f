from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.creative.editor.job.settings import EDITS, LIGHT, EditJob


def test_light_and_colours_are_the_default() -> None:
    plan = EditJob().plan()
    assert tuple(edit.kind for edit in plan.edits) == LIGHT
    assert all(edit.is_neutral() for edit in plan.edits)
    assert not plan.face_moves()


def test_every_edit_has_its_place_whatever_the_order() -> None:
    asked = EditJob(edits=tuple(reversed(EDITS)), line="Fresh today")
    kinds = [edit.kind for edit in asked.plan().edits]
    assert kinds == [*LIGHT, "background_blur", "crop", "text"]
    np.testing.assert_array_equal(asked.plan().neutral(), asked.plan().values())


@given(st.integers(12, 2000), st.sampled_from(["genetic", "pareto"]))
def test_generations_keep_to_the_calls(calls: int, method: str) -> None:
    found = EditJob(calls=calls, method=method).genetic()  # type: ignore[arg-type]
    pareto = found.population * (found.generations + 1)
    assert (pareto if method == "pareto" else found.calls) <= calls
    assert found.generations >= 1
    assert found.calls > 4


def test_the_papers_budget_is_the_papers_settings() -> None:
    found = EditJob(calls=130).genetic()
    assert (found.population, found.generations, found.parents) == (30, 5, 10)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"edits": ()}, "no edit"),
        ({"edits": ("crop", "crop")}, "twice"),
        ({"edits": ("smell",)}, "smell"),
        ({"calls": 11}, "no search"),
        ({"seed": -1}, "seed"),
        ({"coverage": 1.0}, "coverage"),
        ({"least": -0.1}, "least"),
        ({"noise": 11}, "noise"),
        ({"unlike": -1}, "unlike"),
        ({"latent": float("nan")}, "latent"),
        ({"realness": -1}, "realness"),
        ({"side": 0}, "side"),
        ({"method": "luck"}, "luck"),
        ({"form": "GIF"}, "GIF"),
        ({"line": "Fresh"}, "go together"),
        ({"edits": ("text",)}, "go together"),
        ({"edits": ("text",), "line": "a\nb"}, "control"),
    ],
)
def test_what_is_no_job_is_refused(told: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        EditJob(**told)
