from __future__ import annotations

import numpy as np
import pytest

from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.job.asked_judges import AskedJudges, JudgesOfAd
from adwright.creative.editor.job.searching import search_plan
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.job.shrunk import ShrunkPicture
from adwright.creative.editor.search.fitness import Weighted
from adwright.creative.editor.search.population import EditedBatch
from adwright.creative.records.verbal.record import AdRecord
from tests.support.creative.searches import ColourJudge
from tests.support.data.judged_pictures import shop_windows

SMALL = ShrunkPicture(shop_windows(1, seed=5)[0], EditContext())


class Forbidding:
    name = "forbidding"

    def of(self, batch: EditedBatch) -> np.ndarray:
        return np.array([float(np.abs(plan.values()).sum()) for plan in batch.plans])


def searched(bright: AskedJudges, **told: object) -> object:
    job = EditJob(calls=60, **told)  # type: ignore[arg-type]
    judges = bright.of(AdRecord(kind="image", title="Bread"))
    return search_plan(SMALL, job.plan(), judges, job).found


@pytest.mark.parametrize("method", ["genetic", "random", "ascent"])
def test_each_method_finds_something_better_within_its_calls(
    bright: AskedJudges, method: str
) -> None:
    found = searched(bright, method=method)
    assert found.method == method  # type: ignore[attr-defined]
    assert found.score_gain > 0  # type: ignore[attr-defined]
    assert found.calls <= 60  # type: ignore[attr-defined]
    assert found.changed  # type: ignore[attr-defined]
    again = searched(bright, method=method)
    assert again.plan == found.plan  # type: ignore[attr-defined]


def test_seed_and_weights_change_what_is_found(bright: AskedJudges) -> None:
    plans = [searched(bright).plan, searched(bright, seed=1).plan]  # type: ignore[attr-defined]
    assert plans[0] != plans[1]
    job = EditJob(calls=60)
    judges = bright.of(AdRecord(kind="image", title="Bread"))
    held = search_plan(SMALL, job.plan(), judges, job, (Weighted(Forbidding(), 100.0),))
    assert not held.found.changed
    nothing = search_plan(SMALL, job.plan(), judges, job, allowed=lambda plan: plan == job.plan())
    assert not nothing.found.changed
    noisy = searched(bright, noise=10.0)
    assert noisy.penalties["fine_noise"] <= 0.02  # type: ignore[attr-defined]


def test_the_front_gives_what_no_judge_likes_less() -> None:
    red, blue = ColourJudge(220, 0, "red"), ColourJudge(40, 2, "blue")
    judges = JudgesOfAd((red, blue), None, ())
    job = EditJob(calls=90, method="pareto", noise=0.0, unlike=0.0)
    found = search_plan(SMALL, EditPlan(job.plan().edits), judges, job)
    assert found.front is not None
    assert found.front.names == ("red", "blue")
    pair = np.stack([found.found.original, found.found.done.picture])
    for judge in (red, blue):
        before, after = judge.judge(pair)
        assert after >= before
    assert found.found.method == "pareto"
    best = found.front.values[(found.front.values >= found.front.unedited).all(1), 0].max()
    assert found.found.score_gain == pytest.approx(best - found.front.unedited[0])
