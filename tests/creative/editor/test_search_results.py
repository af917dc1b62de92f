from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edit_kinds import (
    Contrast,
    Exposure,
    FaceMove,
    Saturation,
    Temperature,
)
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.fitness import (
    STEPS,
    EditedBatch,
    EnsembleJudge,
    FineNoise,
    GeneticSettings,
    IdentityDistance,
    LatentCloud,
    LatentDistance,
    PlanFitness,
    SearchOutcome,
    Weighted,
    checked_answers,
    edited_batch,
)
from adwright.creative.editor.guard import EditGuard, EditRequest
from adwright.creative.editor.guard_rules import DirectionRules
from adwright.creative.editor.provenance import ESTIMATE
from adwright.creative.editor.searches import (
    EditFront,
    FoundEdit,
    JudgedChange,
    edit_at,
    front_chart,
    genetic_search,
    judged_change,
    random_search,
    write_contact_sheet,
    write_edits_page,
)
from tests.support.creative.edited_pictures import LOCKED, PLACES, VECTORS, scene, scene_context
from tests.support.creative.searches import PICTURE, PLAN, ColourJudge, SlopedColour, colour_fitness

PLAN_fitness = EditPlan((Exposure(), Temperature()))
PICTURE_fitness = scene()[::8, ::8].copy()


@dataclass
class Strength:
    name: str = "strength"
    scale: float = 1.0

    def of(self, batch: EditedBatch) -> np.ndarray:
        return np.array([self.scale * np.abs(plan.values()).sum() for plan in batch.plans])


def fitness(judge: object = None, **told: object) -> PlanFitness:
    return PlanFitness(PLAN_fitness, PICTURE_fitness, judges=(judge or ColourJudge(),), **told)


def test_the_edited_picture_is_judged_less_penalties() -> None:
    judge = EnsembleJudge("c", (ColourJudge(220), ColourJudge(120)), k=2)
    vector = np.array([0.5, -0.4])
    picture = PLAN_fitness.with_values(vector).apply(PICTURE_fitness).picture[None]
    lower, mean = float(judge.lower(picture)[0]), float(judge.judge(picture)[0])
    assert fitness(judge).scores(vector[None])[0] == pytest.approx(lower)
    assert fitness(judge, bound="mean").scores(vector[None])[0] == pytest.approx(mean)
    one = Weighted(Strength(), 0.25)
    found = fitness(judge, penalties=(one, one), scales=(4.0,)).scores(vector[None])
    assert found[0] == pytest.approx(lower / 4 - 2 * 0.25 * 0.9)


def test_a_population_is_one_call_and_equals_are_judged_once() -> None:
    judge = ColourJudge()
    found = fitness(judge)
    vectors = np.array([[0.1, 0.2], [0.3, 0.0], [0.1, 0.2], [0.1 + 1e-5, 0.2]])
    assert found.unjudged(vectors) == 2
    scores = found.scores(vectors)
    assert judge.seen == [2]
    assert (found.calls, found.batches) == (2, 1)
    assert scores[0] == scores[2] == scores[3] != scores[1]
    found.scores(np.array([[0.3, -0.0], [0.7, 0.7]]))
    assert judge.seen == [2, 1]
    assert found.calls == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2))
def test_vectors_lie_on_a_grid_through_neutral(vector: list[float]) -> None:
    found = fitness()
    once = found.on_grid(np.array([vector]))
    np.testing.assert_array_equal(found.on_grid(once), once)
    assert (once >= found.low).all()
    assert (once <= found.high).all()
    inside = np.clip(vector, found.low, found.high)
    assert (np.abs(once[0] - inside) <= 2 / STEPS + 1e-12).all()
    np.testing.assert_array_equal(found.on_grid(found.neutral[None])[0], found.neutral)


def test_slopes_are_those_of_finite_differences() -> None:
    told = {"penalties": (Weighted(Strength(scale=0.1), 1.0),)}
    found = fitness(SlopedColour(250), **told)
    vector, steps = np.array([0.2, 0.3]), np.array([0.1, -0.1])
    slopes = found.slopes(vector, steps)
    assert found.calls == 3
    base = found.scores(vector[None])[0]
    other = [(found.scores((vector + row)[None])[0] - base) for row in np.diag(steps)]
    assert slopes is not None
    np.testing.assert_allclose(slopes, other / steps, rtol=0.2)
    assert fitness().slopes(vector, steps) is None


def test_several_judges_give_several_values() -> None:
    both = PlanFitness(PLAN_fitness, PICTURE_fitness, judges=(ColourJudge(10), ColourJudge(250, 2)))
    values = both.values(np.array([[0.0, 0.0], [0.9, 0.0]]))
    assert values.shape == (2, 2)
    assert values[1, 0] < values[0, 0]
    assert values[1, 1] > values[0, 1]
    assert both.calls == 2
    with pytest.raises(ConfigError, match="no single score"):
        both.scores(np.zeros((1, 2)))


def test_what_the_guard_refuses_no_judge_sees() -> None:
    context, judge = scene_context(), ColourJudge()
    plan = EditPlan((Saturation(), FaceMove.neutral(("smile",), 1)))
    request = EditRequest(scene(), plan, context)
    guard = EditGuard(DirectionRules((), LOCKED, ("ethnicity",)))

    def allowed(one: EditPlan) -> bool:
        return guard.verdict(replace(request, plan=one), datetime(2026, 1, 1, tzinfo=UTC)).allowed

    found = PlanFitness(plan, scene(), context, judges=(judge,), allowed=allowed)
    scores = found.scores(np.array([[0.2, 0.0], [0.2, 0.5]]))
    assert np.isfinite(scores[0])
    assert scores[1] == -np.inf
    assert judge.seen == [1]
    assert found.calls == 1


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to search"):
        PlanFitness(EditPlan(), PICTURE_fitness, judges=(ColourJudge(),))
    with pytest.raises(ConfigError, match="scales"):
        fitness(scales=(1.0, 2.0))
    with pytest.raises(ConfigError, match="above 0"):
        fitness(scales=(0.0,))
    for vectors in (np.zeros((1, 3)), np.zeros(2), np.full((1, 2), np.nan)):
        with pytest.raises(DataError, match="vectors"):
            fitness().scores(vectors)
    broken = Weighted(Strength(scale=float("nan")), 1.0)
    with pytest.raises(DataError, match="penalty 'strength'"):
        fitness(penalties=(broken,)).scores(np.ones((1, 2)))


PLAN_penalties = EditPlan((FaceMove.neutral(("smile", "gaze"), 2),))
RNG = np.random.default_rng(1)
MOVES = np.array([[0.0] * 4, [1.0, 0, 0, 0], [0.5, -0.5, 1.5, 0.2]])


def faces_moved() -> EditedBatch:
    return edited_batch(PLAN_penalties, MOVES, scene(), scene_context())


def test_latent_distance_is_the_literal_formula() -> None:
    sample, faces = RNG.normal(size=(60, 8)), RNG.normal(size=(2, 3, 8))
    cloud = LatentCloud.of(sample)
    found = LatentDistance(cloud, faces, VECTORS, (1, 2)).of(faces_moved())
    for at, values in enumerate(MOVES):
        worst = 0.0
        for face in range(2):
            moved = faces[face].copy()
            for row in (1, 2):
                moved[row] += values[2 * face] * VECTORS["smile"]
                moved[row] += values[2 * face + 1] * VECTORS["gaze"]
            before = cloud.distance(faces[face][None])[0]
            worst = max(worst, cloud.distance(moved[None])[0] - before)
        assert found[at] == pytest.approx(worst)
    assert found[0] == 0 < found[2]
    assert not LatentDistance(cloud, faces[:0], VECTORS, ()).of(faces_moved()).any()
    with pytest.raises(DataError, match="gaze"):
        LatentDistance(cloud, faces, {"smile": VECTORS["smile"]}, (1,)).of(faces_moved())


def test_identity_distance_is_one_less_the_cosine_of_the_face_changed_most() -> None:
    seen = []

    def embed(crops: np.ndarray) -> np.ndarray:
        seen.append(crops.shape)
        return crops.reshape(len(crops), -1, 3).mean(1)

    batch = faces_moved()
    found = IdentityDistance(embed, side=16).of(batch)
    assert seen == [(2 + 6, 16, 16, 3)]
    for at, done in enumerate(batch.done):
        worst = 0.0
        for place in PLACES:
            a, b = (embed(place.cut(one, 16)[None])[0] for one in (scene(), done.picture))
            cosine = sum(x * y for x, y in zip(a, b, strict=True)) / (
                math.hypot(*a) * math.hypot(*b)
            )
            worst = max(worst, 1 - cosine)
        assert found[at] == pytest.approx(worst, abs=1e-9)
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert found[2] > 1e-4
    bare = edited_batch(EditPlan((Exposure(),)), np.array([[0.5]]), scene())
    assert not IdentityDistance(embed).of(bare).any()
    with pytest.raises(DataError, match="embedding"):
        IdentityDistance(lambda crops: np.zeros(3)).of(batch)


def test_fine_noise_is_the_growth_of_the_share_of_detail() -> None:
    batch = edited_batch(EditPlan((Contrast(),)), np.array([[0.0], [0.2]]), scene())
    assert FineNoise().of(batch)[0] == 0
    grainy = np.clip(scene() + RNG.integers(-60, 61, scene().shape), 0, 255).astype(np.uint8)
    noisy = EditedBatch(scene(), batch.context, batch.plans[:1], batch.done[:1], grainy[None])
    shares = []
    for picture in (scene(), grainy):
        luma = picture[..., 0] * 0.2126 + picture[..., 1] * 0.7152 + picture[..., 2] * 0.0722
        fine = luma - cv2.GaussianBlur(luma, (0, 0), 1.0)
        shares.append(((fine * fine).mean() + 1) / (luma.var() + 1))
    found = FineNoise().of(noisy)[0]
    assert found == pytest.approx(math.log(shares[1] / shares[0]))
    assert found > 0.5
    # Contrast alone adds little.
    assert FineNoise().of(batch)[1] < 0.1


RNG_LATENT_CLOUD = np.random.default_rng(0)


def test_distance_is_the_literal_formula() -> None:
    sample = RNG_LATENT_CLOUD.normal(size=(40, 5)) @ RNG_LATENT_CLOUD.normal(size=(5, 5)) + 3
    plus = RNG_LATENT_CLOUD.normal(size=(3, 4, 5))
    found = LatentCloud.of(sample).distance(plus)
    mean = sample.mean(0)
    c = (sample - mean).T @ (sample - mean) / 39
    c = 0.9 * c + 0.1 * np.trace(c) / 5 * np.eye(5)
    for at in range(3):
        total = sum((w - mean) @ np.linalg.solve(c, w - mean) for w in plus[at])
        assert found[at] == pytest.approx(total / (4 * 5))


def test_fewer_latents_than_width_do() -> None:
    cloud = LatentCloud.of(RNG_LATENT_CLOUD.normal(size=(5, 64)))
    assert np.isfinite(cloud.distance(RNG_LATENT_CLOUD.normal(size=(2, 10, 64)))).all()


def test_what_is_no_sample_is_refused() -> None:
    for wrong in (np.zeros((1, 3)), np.zeros(3), np.full((4, 3), np.nan)):
        with pytest.raises(DataError, match="sample"):
            LatentCloud.of(wrong)
    with pytest.raises(DataError, match="same"):
        LatentCloud.of(np.ones((4, 3)))
    with pytest.raises(DataError, match="latents of shape"):
        LatentCloud.of(RNG_LATENT_CLOUD.normal(size=(4, 3))).distance(np.zeros((2, 1, 4)))


PICTURES = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3)).astype(np.uint8)


def test_the_bound_is_the_literal_formula() -> None:
    members = (ColourJudge(100), ColourJudge(150), ColourJudge(240))
    judge = EnsembleJudge("clicks", members, k=1.5)
    for at, picture in enumerate(PICTURES):
        said = [one.judge(picture[None])[0] for one in members]
        mean = sum(said) / 3
        deviation = (sum((one - mean) ** 2 for one in said) / 2) ** 0.5
        assert judge.judge(PICTURES)[at] == pytest.approx(mean)
        assert judge.lower(PICTURES)[at] == pytest.approx(mean - 1.5 * deviation)
    np.testing.assert_array_equal(
        EnsembleJudge("c", members, k=0).lower(PICTURES), judge.judge(PICTURES)
    )


def test_judges_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="no ensemble"):
        EnsembleJudge("c", (ColourJudge(),))
    with pytest.raises(DataError, match="no finite number"):
        checked_answers(ColourJudge(shift=float("nan")), PICTURES)

    class Odd(ColourJudge):
        def judge(self, pictures: np.ndarray) -> np.ndarray:
            return np.zeros((len(pictures), 2))

    with pytest.raises(DataError, match="one number a picture"):
        checked_answers(Odd(), PICTURES)


SMALL = GeneticSettings(population=10, generations=2, parents=3)


def found(judge: object, second: object = None, **told: object) -> FoundEdit:
    fitness = colour_fitness(judge, **told)
    outcome = genetic_search(fitness, seed=0, settings=SMALL)
    return edit_at(fitness, outcome, second=second, batches=fitness.batches, cpu_seconds=7.0)


def test_it_tells_what_both_judges_say_of_the_edited_picture() -> None:
    first, other = ColourJudge(200), ColourJudge(180, name="second")
    edit = found(first, other, penalties=(Weighted(FineNoise(), 0.1),))
    after = edit.plan.apply(PICTURE).picture
    for said, judge in ((edit.first, ColourJudge(200)), (edit.second, ColourJudge(180))):
        assert said is not None
        before, now = judge.judge(np.stack([PICTURE, after]))
        assert (said.before, said.after) == (before, now)
    assert edit.cpu_seconds == 7
    assert (edit.calls, edit.batches) == (SMALL.calls, 4)
    assert edit.score_gain == pytest.approx(edit.first.change - 0.1 * edit.penalties["fine_noise"])
    assert [value for _, value in edit.settings()] == [v for v in edit.plan.values() if v]


def test_the_interval_is_the_literal_one() -> None:
    members = [ColourJudge(likes) for likes in (90, 140, 230)]
    pair = np.stack([PICTURE, np.full_like(PICTURE, 150)])
    change = judged_change(EnsembleJudge("c", members), pair, coverage=0.95)
    changes = [float(np.diff(one.judge(pair))[0]) for one in members]
    # 4.3027 is Student's t of two degrees of freedom.
    reach = 4.3027 * stdev(changes) * math.sqrt(1 + 1 / 3)
    assert change.low == pytest.approx(mean(changes) - reach, rel=1e-4)
    assert change.high == pytest.approx(mean(changes) + reach, rel=1e-4)
    assert change.change == pytest.approx(mean(changes))
    assert judged_change(members[0], pair).low is None


def test_every_gain_is_said_to_be_an_estimate() -> None:
    ensemble = EnsembleJudge("c", (ColourJudge(200), ColourJudge(210)))
    edit = found(ensemble)
    assert edit.first.said().endswith(ESTIMATE)
    assert "90% interval" in edit.first.said()
    assert "without an interval" in JudgedChange("one", 1.0, 2.0).said()
    assert math.isnan(
        judged_change(ColourJudge(shift=-1), np.full((2, 2, 2, 3), 200, np.uint8)).relative
    )


def test_nothing_found_is_said() -> None:
    fitness = colour_fitness(allowed=lambda plan: not np.any(plan.values()))
    edit = edit_at(fitness, random_search(fitness, calls=5, seed=0), second=ColourJudge())
    assert not edit.changed
    assert edit.settings() == []


def test_an_edit_is_of_one_judge() -> None:
    outcome = SearchOutcome("m", np.zeros(len(PLAN.knobs())), 0, 0, 1)
    with pytest.raises(ConfigError, match="2 judges"):
        edit_at(colour_fitness(ColourJudge(), ColourJudge(100)), outcome)


ENSEMBLE = EnsembleJudge("click_rate", (ColourJudge(200), ColourJudge(210)))
FRONT = EditFront(
    "nsga2", ("rate", "life"), np.zeros((2, 4)), np.array([[1.0, 2], [2, 1]]), np.ones(2), 9
)


def found_edits_page(second: object = None) -> FoundEdit:
    fitness = colour_fitness(ENSEMBLE, penalties=(Weighted(FineNoise(), 0.01),))
    outcome = random_search(fitness, calls=9, seed=0)
    return edit_at(fitness, outcome, second=second, batches=fitness.batches)


@pytest.fixture
def edits_page(tmp_path: Path) -> Callable[..., str]:
    def written(edits: dict[str, FoundEdit], **told: object) -> str:
        write_edits_page(tmp_path / "edits.html", edits, title="Two edits", **told)
        return (tmp_path / "edits.html").read_text("utf-8")

    return written


def test_the_page_says_of_each_number_what_it_is(edits_page: Callable[..., str]) -> None:
    both = {"<ad & 1>": found_edits_page(ColourJudge(name="second")), "ad 2": found_edits_page()}
    page = edits_page(both, sentences=("Said first.",), front=(FRONT,))
    assert "&lt;ad &amp; 1&gt;" in page
    assert "<script" not in page
    # The banner, a row a judge, the advice on both, the chart.
    assert page.count(ESTIMATE) >= 1 + 3 + 1
    assert "none was asked" in page
    for said in ("Said first.", "second opinion, not searched", "penalty fine noise", "unknown"):
        assert said in page
    assert page.count("data:image/png;base64") == 4
    assert "9 pictures in 2 batches" in page
    assert "Two edits" in page
    assert "<svg" in page
    assert "<svg" not in edits_page(both)


def test_only_so_many_are_shown_whole(edits_page: Callable[..., str]) -> None:
    one = found_edits_page()
    assert "2 more edits" in edits_page({str(at): one for at in range(52)})


def test_the_sheet_shows_both_pictures_and_what_is_said(tmp_path: Path) -> None:
    one, other = found_edits_page(), found_edits_page(ColourJudge(name="second"))
    write_contact_sheet(tmp_path / "sheet.png", {"ad 1": one, "ad 2": other})
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape[1] == 2 * 320 + 3 * 8
    assert sheet.shape[0] > 2 * 320
    before = sheet[8 : 8 + 240, 8:328].astype(float)
    after = sheet[8 : 8 + 240, 336:656].astype(float)
    np.testing.assert_allclose(before.mean(), one.original.mean(), atol=3)
    np.testing.assert_allclose(after.mean(), one.done.picture.mean(), atol=3)
    # Words below.
    assert (sheet[340:380] < 100).any()


def test_the_chart_has_each_plan_and_no_edit() -> None:
    chart = json.loads(front_chart([FRONT]).to_json())
    told = chart.get("datasets", {})
    points, cross = (
        told.get(layer["data"].get("name")) or layer["data"]["values"] for layer in chart["layer"]
    )
    assert [(row["x"], row["y"]) for row in points] == [(1.0, 2.0), (2.0, 1.0)]
    assert cross == [{"x": 1.0, "y": 1.0}]
    assert ESTIMATE in chart["title"]["subtitle"]


def test_nothing_to_show_is_refused(tmp_path: Path, edits_page: Callable[..., str]) -> None:
    with pytest.raises(DataError, match="no edit"):
        write_contact_sheet(tmp_path / "sheet.png", {})
    with pytest.raises(DataError, match="no edit"):
        edits_page({})
    with pytest.raises(DataError, match="front"):
        front_chart([])
