"""What is kept and signed of an edit, and how plans of edits are searched."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pymoo.core.population import Population

from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ConfigError, DataError, FileUnreadableError, MissingExtraError
from adwright.creative.editor.edit_kinds import (
    BackgroundBlur,
    Contrast,
    Crop,
    EditContext,
    Exposure,
    FaceMove,
)
from adwright.creative.editor.edit_plan import EditPlan, TextOverlay
from adwright.creative.editor.fitness import (
    STEPS,
    Archive,
    GeneticSettings,
    PlanFitness,
    applied_to_all,
    edited_batch,
    squeezed,
)
from adwright.creative.editor.guard import EditLog, EditRecord, MovedFace
from adwright.creative.editor.operators import (
    MUTATION,
    FirstPlans,
    PlanProblem,
    RankSelected,
    StepMutation,
    rank_chances,
)
from adwright.creative.editor.provenance import (
    ESTIMATE,
    LABEL,
    EditStatement,
    SigningKey,
    labelled,
    made_test_key,
    overlap,
    picture_hash,
    read_credentials,
    read_signing_key,
    tagged,
    with_credentials,
)
from adwright.creative.editor.searches import (
    genetic_search,
    gradient_ascent,
    pareto_search,
    random_search,
    search_parts,
    unbeaten_rows,
)
from benchmarks.creative.editing.files import digital_source_type
from tests.support.creative.edited_pictures import ShadeMover, scene, scene_context
from tests.support.creative.searches import PICTURE, ColourJudge, SlopedColour, colour_fitness

HASHES = [f"{at:064x}" for at in range(1, 9)]


def record(at: int, moved: float = 0.5) -> EditRecord:
    """From picture `at` to the next; its face is 10 pixels further to the left each time."""
    box = (100 - 10 * at, 20, 140 - 10 * at, 60)
    after = (90 - 10 * at, 20, 130 - 10 * at, 60)
    face = MovedFace(box, after, {"smile": moved}, {"age": 0.25}, "c" * 64)
    plan = EditPlan((Exposure(0.1 * at),))
    return EditRecord(HASHES[at], HASHES[at + 1], plan, "Ada", "faces-1", (face,))


@pytest.fixture
def log(tmp_path: Path) -> EditLog:
    made = EditLog(tmp_path / "deep" / "edits.jsonl", FixedClock())
    for at in range(3):
        made.append(record(at))
    return made


def test_what_was_written_is_read(log: EditLog) -> None:
    check = log.check()
    assert (check.entries, check.whole) == (3, True)
    records = log.records()
    assert [one for _, one in records] == [record(at) for at in range(3)]
    assert records[0][0] == FixedClock().now()
    seal = log.append(record(3))
    assert log.check(head=seal).whole
    assert log.check().head == seal
    assert log.check(head=check.head).whole


def lines_of(log: EditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def approver(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b"Ada", b"Eve"), lines[2]]


def resealed(lines: list[bytes]) -> list[bytes]:
    """One entry changed, and its own seal made anew."""
    from adwright.core.hashing import content_hash

    values = json.loads(lines[1])
    values["record"]["approver"] = "Eve"
    del values["seal"]
    values["seal"] = content_hash(values)
    return [lines[0], json.dumps(values).encode() + b"\n", lines[2]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (approver, "line 2: it was changed after it was sealed"),
        (resealed, "line 3: the entry before it was changed"),
        (lambda lines: [lines[0], lines[2]], "line 2: the entry before"),
        (lambda lines: [lines[0], lines[2], lines[1]], "line 2: the entry before"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2: the entry before"),
        (lambda lines: lines[1:], "line 1: the entry before"),
        (lambda lines: [*lines, b"\xff\xfe\n"], "line 4: it is no entry"),
        (lambda lines: [*lines, b"[1]\n"], "line 4: it is no entry"),
    ],
)
def test_every_change_is_found_and_nothing_is_added_to_it(
    log: EditLog, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    log.path.write_bytes(b"".join(change(lines_of(log))))
    assert log.check().problems[0].startswith(said)
    before = log.path.read_bytes()
    with pytest.raises(DataError, match="the log is broken"):
        log.append(record(3))
    with pytest.raises(DataError, match="the log is broken"):
        log.records()
    assert log.path.read_bytes() == before


def test_a_last_line_that_was_never_sealed_ends_no_log(log: EditLog) -> None:
    """As a killed process or a full disk leaves it."""
    lines = lines_of(log)
    log.path.write_bytes(b"".join([*lines[:2], lines[2][:-20]]))
    assert log.check().entries == 2
    log.append(record(3))
    assert log.check().whole
    assert lines_of(log)[:2] == lines[:2]
    assert log.check().entries == 3


def test_lines_cut_off_at_the_end_are_found_by_the_head(log: EditLog) -> None:
    head = log.check().head
    log.path.write_bytes(b"".join(lines_of(log)[:2]))
    assert log.check().whole
    assert "ends before" in log.check(head=head).problems[0]
    log.path.unlink()
    assert not log.check(head=head).whole
    assert log.check().whole


def test_a_face_is_traced_to_its_first_picture(log: EditLog) -> None:
    trace = log.traced(HASHES[3], (71, 21, 112, 61))
    assert (trace.source, trace.steps) == (HASHES[0], 3)
    assert trace.box == (100, 20, 140, 60)
    assert trace.moved == {"smile": 1.5}
    assert trace.drift == {"age": 0.75}
    assert log.traced(HASHES[3], (300, 20, 340, 60)).steps == 0
    stranger = log.traced("f" * 64, (1, 2, 30, 40))
    assert (stranger.source, stranger.moved) == ("f" * 64, {})


def test_an_edit_that_changed_nothing_hides_none(log: EditLog) -> None:
    log.append(replace(record(2), source=HASHES[3], faces=()))
    assert log.traced(HASHES[3], (71, 21, 112, 61)).steps == 3


def test_a_ring_of_pictures_ends(tmp_path: Path) -> None:
    log = EditLog(tmp_path / "ring.jsonl", FixedClock())
    face = MovedFace((0, 0, 9, 9), (0, 0, 9, 9), {"smile": 0.25})
    for source, result in ((0, 1), (1, 0)):
        log.append(EditRecord(HASHES[source], HASHES[result], EditPlan(), "Ada", faces=(face,)))
    assert log.traced(HASHES[0], (0, 0, 9, 9)).moved == {"smile": 0.5}


def test_what_is_no_record_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody approves"):
        EditRecord(HASHES[0], HASHES[1], EditPlan(), " ")
    (tmp_path / "edits.jsonl").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        EditLog(tmp_path / "edits.jsonl", FixedClock()).check()


PLAN = EditPlan((Exposure(0.3), Contrast(), FaceMove(("smile",), ((0.5,),)), Crop(keep=0.9)))
STATEMENT = EditStatement(PLAN, "Spring ad", "faces-1", "Ada", "a" * 64)
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return made_test_key(SystemClock())


def edited() -> np.ndarray:
    return PLAN.apply(scene(), scene_context()).picture


@pytest.fixture(scope="module", params=["PNG", "JPEG", "WEBP"])
def signed(request: pytest.FixtureRequest, key: SigningKey) -> bytes:
    return with_credentials(tagged(scene()), tagged(edited(), request.param), STATEMENT, key)


def test_the_librarys_own_reader_finds_it_whole(signed: bytes) -> None:
    told = read_credentials(signed)
    assert (told.state, told.whole) == ("valid", True)
    assert told.issuer == "adwright test"
    wanted = ("c2pa.opened", "c2pa.color_adjustments", "c2pa.edited", "c2pa.cropped")
    assert told.actions == wanted
    assert told.source_types == ("algorithmicallyEnhanced", COMPOSITE, "algorithmicallyEnhanced")
    assert told.problems == ("signingCredential.untrusted",)
    assert told.details["approver"] == "Ada"
    assert told.details["log_head"] == "a" * 64
    assert told.details["plan_digest"] == PLAN.digest
    assert digital_source_type(signed) == COMPOSITE


def test_nothing_of_the_original_is_kept(signed: bytes) -> None:
    assert len(signed) < len(tagged(edited())) + 25_000
    assert b"thumbnail" not in signed


def with_another_pixel(data: bytes) -> bytes:
    """The same PNG, statement and all, with one pixel otherwise and every checksum right."""
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    pixels = bytearray(zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")))
    # A few bytes into a row, whose first one is its filter.
    pixels[len(pixels) // 2 + 7] ^= 8
    first = next(at for at, (kind, _) in enumerate(chunks) if kind == b"IDAT")
    kept = [one for one in chunks if one[0] != b"IDAT"]
    kept.insert(first, (b"IDAT", zlib.compress(bytes(pixels))))
    made = data[:8]
    for kind, body in kept:
        check = struct.pack(">I", zlib.crc32(kind + body))
        made += struct.pack(">I", len(body)) + kind + body + check
    return made


def test_a_pixel_that_is_changed_after_signing_is_found(key: SigningKey) -> None:
    data = with_credentials(tagged(scene()), tagged(edited()), STATEMENT, key)
    changed = with_another_pixel(data)
    one, other = (
        np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in (data, changed)
    )
    assert (one != other).any()
    told = read_credentials(changed)
    assert (told.state, told.whole) == ("invalid", False)
    assert "assertion.dataHash.mismatch" in told.problems


def test_a_statement_that_is_changed_is_found(signed: bytes) -> None:
    assert read_credentials(signed.replace(b"Spring ad", b"Autumn ad")).state == "invalid"


def test_a_statement_that_is_cut_out_is_none(signed: bytes) -> None:
    with Image.open(io.BytesIO(signed)) as image:
        stripped = tagged(np.asarray(image.convert("RGB")))
    told = read_credentials(stripped)
    assert (told.state, told.actions, told.whole) == ("none", (), False)


def test_an_edit_of_an_edit_names_both(key: SigningKey) -> None:
    first = with_credentials(tagged(scene()), tagged(edited()), STATEMENT, key)
    again = EditPlan((Exposure(-0.2),))
    twice = again.apply(edited()).picture
    second = with_credentials(first, tagged(twice), EditStatement(again), key)
    told = read_credentials(second)
    assert told.whole
    assert told.actions == ("c2pa.opened", "c2pa.color_adjustments")
    assert second.count(b"c2pa.actions.v2") > first.count(b"c2pa.actions.v2")


def test_a_key_that_cannot_sign_is_refused_without_being_shown(key: SigningKey) -> None:
    other = made_test_key(SystemClock())
    long_ago = made_test_key(FixedClock())
    for wrong in (
        SigningKey(key.chain, other.private),
        SigningKey(key.chain, key.private, "ps256"),
        SigningKey(key.chain, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        long_ago,
    ):
        with pytest.raises(ConfigError, match="cannot be signed") as caught:
            with_credentials(tagged(scene()), tagged(scene()), STATEMENT, wrong)
        assert "PRIVATE" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_what_is_no_picture_is_refused(key: SigningKey) -> None:
    with pytest.raises(FileUnreadableError, match="original"):
        with_credentials(b"no picture", tagged(scene()), STATEMENT, key)
    with pytest.raises(FileUnreadableError, match="picture"):
        read_credentials(b"")
    assert read_credentials(tagged(scene())[:400]).state in ("none", "invalid")


CORNERS = st.tuples(*(st.integers(-20, 40),) * 4)


def test_a_picture_is_named_by_its_pixels_and_its_size() -> None:
    picture = scene()
    name = picture_hash(picture)
    assert len(name) == 64
    assert picture_hash(np.asfortranarray(picture)) == name
    other = picture.copy()
    other[0, 0, 0] ^= 1
    assert picture_hash(other) != name
    assert picture_hash(picture.reshape(320, 240, 3)) != name
    with pytest.raises(DataError, match="picture"):
        picture_hash(picture.astype(float))


@given(one=CORNERS, other=CORNERS)
def test_overlap_is_that_of_the_pixels(
    one: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> None:
    drawn = np.zeros((2, 70, 70), bool)
    for layer, (left, top, right, bottom) in zip(drawn, (one, other), strict=True):
        layer[top + 20 : bottom + 20, left + 20 : right + 20] = True
    both, either = drawn.all(0).sum(), drawn.any(0).sum()
    assert overlap(one, other) == pytest.approx(both / either if either else 0)
    assert overlap(one, other) == overlap(other, one)


def test_it_stands_in_a_free_corner() -> None:
    picture = scene()
    plain = labelled(picture)
    rows, columns = np.nonzero((plain != picture).any(-1))
    assert rows.min() > 210
    assert columns.min() > 160
    beside = labelled(picture, scene_context())
    rows, columns = np.nonzero((beside != picture).any(-1))
    mask = scene_context().protected
    assert mask is not None
    assert not mask[rows, columns].any()
    assert LABEL == "Edited with AI"
    assert "not a measured effect" in ESTIMATE


def written(folder: Path, key: SigningKey, mode: int = 0o600) -> tuple[Path, Path]:
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(key.chain)
    private.write_bytes(key.private)
    private.chmod(mode)
    return chain, private


def test_a_key_is_read_from_its_files(tmp_path: Path) -> None:
    key = made_test_key(SystemClock())
    assert read_signing_key(*written(tmp_path, key)) == key
    assert key.chain.count(b"BEGIN CERTIFICATE") == 2


def test_the_private_key_is_never_shown(tmp_path: Path) -> None:
    key = made_test_key(FixedClock())
    secret = key.private.decode().splitlines()[1]
    assert secret not in repr(key)
    with pytest.raises(ConfigError) as caught:
        SigningKey(key.private, key.private)
    assert secret not in str(caught.value)


def test_a_certificate_is_valid_by_the_clock_that_was_given() -> None:
    from cryptography.x509 import load_pem_x509_certificate

    made = load_pem_x509_certificate(made_test_key(FixedClock()).chain)
    assert made.not_valid_before_utc < FixedClock().now() < made.not_valid_after_utc
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 31


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    key = made_test_key(SystemClock())
    chain, private = written(tmp_path, key, 0o640)
    with pytest.raises(ConfigError, match="others may read the private key"):
        read_signing_key(chain, private)
    private.chmod(0o600)
    with pytest.raises(ConfigError, match="chain is not in PEM"):
        read_signing_key(private, private)
    with pytest.raises(ConfigError, match="private is not in PEM"):
        SigningKey(key.chain, b"secret")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_signing_key(tmp_path / "none.pem", private)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "source", ["compositeWithTrainedAlgorithmicMedia", "algorithmicallyEnhanced"]
)
def test_the_tag_is_found_in_every_format(form: str, source: str) -> None:
    data = tagged(scene(), form, source)  # type: ignore[arg-type]
    assert digital_source_type(data) == source
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == form
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels - scene()).max() <= (0 if form != "JPEG" else 40)


def test_no_format_and_no_picture() -> None:
    with pytest.raises(ConfigError, match="format"):
        tagged(scene(), "TIFF")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="picture"):
        tagged(np.zeros((3, 3), np.uint8))


def test_it_climbs_by_differences_and_by_slopes() -> None:
    plain = gradient_ascent(colour_fitness(ColourJudge(150)), calls=60)
    sloped = gradient_ascent(colour_fitness(SlopedColour(150)), calls=60)
    assert plain.score > 0.999
    assert sloped.score > 0.999
    assert max(plain.calls, sloped.calls) <= 60
    # Slopes cost 3 calls at each point, differences one a knob.
    few = [
        gradient_ascent(colour_fitness(kind(150)), calls=8).history
        for kind in (ColourJudge, SlopedColour)
    ]
    assert few[0][0][0] == 5
    assert few[1][0][0] == 7


def test_it_stays_within_bounds_and_calls() -> None:
    fitness = colour_fitness(ColourJudge(255))
    for calls in (2, 6, 7, 23):
        found = gradient_ascent(colour_fitness(ColourJudge(255)), calls=calls)
        assert found.calls <= calls
    assert (found.vector <= fitness.high).all()
    assert (found.vector >= fitness.low).all()
    assert found.gain > 0


def test_a_plateau_and_a_refusal_end_it() -> None:
    class Flat(ColourJudge):
        def judge(self, pictures: np.ndarray) -> np.ndarray:
            return np.zeros(len(pictures))

    assert gradient_ascent(colour_fitness(Flat()), calls=50).calls == 5
    still = colour_fitness(allowed=lambda plan: not np.any(plan.values()))
    assert gradient_ascent(still, calls=50).gain == 0


def test_it_finds_what_the_judge_likes_in_few_batches() -> None:
    judge = ColourJudge(150)
    fitness = colour_fitness(judge)
    found = genetic_search(fitness, seed=1)
    assert found.score > 0.99 > found.unedited
    assert found.score == fitness.scores(found.vector[None])[0]
    assert found.calls <= GeneticSettings().calls
    # No edit, the first generation less it, and five more.
    assert judge.seen == [1, 29, 20, 20, 20, 20, 20]
    assert found.calls == found.history[-1][0] == 130
    best = [score for _, score in found.history]
    assert best == sorted(best)


def test_the_same_seed_finds_the_same_whatever_numpy_was_seeded_with() -> None:
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = genetic_search(colour_fitness(), seed=7)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    second = genetic_search(colour_fitness(), seed=7)
    np.testing.assert_array_equal(first.vector, second.vector)
    assert first.history == second.history
    other = genetic_search(colour_fitness(), seed=8)
    assert not np.array_equal(first.vector, other.vector)


def test_settings_count() -> None:
    small = GeneticSettings(population=6, generations=2, parents=2)
    assert genetic_search(colour_fitness(), seed=0, settings=small).calls == small.calls


def test_what_is_refused_is_never_found() -> None:
    fitness = colour_fitness(allowed=lambda plan: plan.values()[0] <= 0)
    assert genetic_search(fitness, seed=0).vector[0] <= 0
    nothing = colour_fitness(allowed=lambda plan: not np.any(plan.values()))
    assert genetic_search(nothing, seed=0).gain == 0


def test_it_needs_one_judge_and_pymoo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no single score"):
        genetic_search(colour_fitness(ColourJudge(), ColourJudge()), seed=0)
    import adwright.creative.editor as room

    name = "adwright.creative.editor.operators"
    monkeypatch.delattr(room, "operators", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="creative"):
        search_parts()


RNG = np.random.default_rng(2)


def test_the_first_plans_fill_the_bounds_and_begin_with_no_edit() -> None:
    problem = PlanProblem(colour_fitness())
    drawn = FirstPlans().do(problem, 400, random_state=RNG).get("X")
    fitness = problem.fitness
    shares = (drawn - fitness.low) / (fitness.high - fitness.low)
    np.testing.assert_array_equal(drawn[0], fitness.neutral)
    np.testing.assert_allclose(shares.mean(0), 0.5, atol=0.06)
    assert shares.min() < 0.02
    assert shares.max() > 0.98


def test_so_many_values_move_and_so_far() -> None:
    problem = PlanProblem(colour_fitness())
    still = np.zeros((300, 4))
    made = StepMutation().do(problem, Population.new("X", still), random_state=RNG).get("X")
    moved = made != 0
    assert (moved.sum(1) == 1).all()
    assert moved.any(0).all()
    shares = np.abs(made) / (problem.xu - problem.xl)
    assert 0.9 * MUTATION < shares.max() <= MUTATION


def test_parents_are_drawn_by_rank_and_stay() -> None:
    np.testing.assert_allclose(rank_chances(4), [0.1, 0.2, 0.3, 0.4])
    settings = GeneticSettings(population=8, parents=2)
    drawn: Counter[int] = Counter()
    for seed in range(80):
        algorithm = RankSelected(settings)
        algorithm.setup(PlanProblem(colour_fitness()), seed=seed)
        algorithm.next()
        order = np.sort(algorithm.pop.get("F")[:, 0])
        made = algorithm.ask()
        parents = algorithm.pop.get("F")[:, 0]
        assert (len(made), len(parents)) == (6, 2)
        drawn.update(np.searchsorted(order, parents).tolist())
    # Of what is minimised, 0 is the best.
    assert drawn[0] > 2 * drawn[7]
    assert drawn[7] > 0


SMALL = GeneticSettings(population=12, generations=4, parents=4)


def both() -> PlanFitness:
    return colour_fitness(ColourJudge(60, 0, "dark"), ColourJudge(200, 2, "blue"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_unbeaten_rows_are_those_of_the_definition(rows: list[tuple[int, int]]) -> None:
    found = unbeaten_rows(np.array(rows, float)).tolist()
    expected = [
        at
        for at, (a, b) in enumerate(rows)
        if not any(x >= a and y >= b and (x, y) != (a, b) for x, y in rows)
        and (a, b) not in rows[:at]
    ]
    assert found == expected


def test_nsga_finds_a_front_that_nothing_beats() -> None:
    fitness = both()
    front = pareto_search(fitness, seed=0, settings=SMALL)
    assert front.names == ("dark", "blue")
    assert front.calls <= 12 * 5
    assert len(front) > 3
    assert unbeaten_rows(front.values).tolist() == list(range(len(front)))
    np.testing.assert_allclose(fitness.values(front.vectors), front.values)
    again = pareto_search(both(), seed=0, settings=SMALL)
    np.testing.assert_array_equal(again.vectors, front.vectors)
    assert not np.array_equal(pareto_search(both(), seed=1, settings=SMALL).vectors, front.vectors)


def test_wrong_searches_are_refused() -> None:
    for one in (colour_fitness(), colour_fitness(ColourJudge(), ColourJudge())):
        with pytest.raises(ConfigError, match="no front"):
            pareto_search(one, seed=0)


WHOLE = EditPlan(
    (
        Exposure(),
        FaceMove.neutral(("smile", "gaze"), 2),
        BackgroundBlur(),
        Crop(),
        TextOverlay("Fresh today"),
    )
)


class CountingMover(ShadeMover):
    def moved(self, crops: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        SEEN.append(len(crops))
        return super().moved(crops, amounts)


SEEN: list[int] = []


def vectors(count: int) -> np.ndarray:
    low, high = WHOLE.bounds().T
    shares = np.random.default_rng(3).random((count, len(low)))
    made = low + shares * (high - low)
    made[0] = WHOLE.neutral()
    return made


def test_a_population_is_what_the_plans_make_one_by_one() -> None:
    picture, context = scene(), replace(scene_context(), mover=CountingMover())
    SEEN.clear()
    batch = edited_batch(WHOLE, vectors(6), picture, context)
    assert SEEN == [10]
    assert len(batch) == 6
    for plan, done, seen in zip(batch.plans, batch.done, batch.pictures, strict=True):
        alone = plan.apply(picture, context)
        np.testing.assert_array_equal(done.picture, alone.picture)
        assert done.skipped == alone.skipped
        assert done.context.places == alone.context.places
        np.testing.assert_array_equal(seen, squeezed(alone.picture, picture.shape[:2]))
    np.testing.assert_array_equal(picture, scene())


def test_what_is_judged_has_the_size_of_the_original() -> None:
    assert (
        squeezed(np.full((4, 4, 3), 7, np.uint8), (9, 9)).tolist() == np.full((9, 9, 3), 7).tolist()
    )
    assert edited_batch(WHOLE, vectors(2)[:0], scene()).pictures.shape[0] == 0


def test_other_plans_and_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="different edits"):
        applied_to_all([WHOLE, EditPlan((Exposure(),))], scene(), EditContext())
    with pytest.raises(DataError, match="shape"):
        applied_to_all([WHOLE], scene()[:50], scene_context())


def test_it_judges_so_many_and_keeps_the_best() -> None:
    judge = ColourJudge(150)
    found = random_search(colour_fitness(judge), calls=50, seed=3)
    assert judge.seen == [1, 30, 19]
    assert found.calls == 50
    assert found.gain > 0
    again = random_search(colour_fitness(judge), calls=50, seed=3)
    np.testing.assert_array_equal(found.vector, again.vector)
    other = random_search(colour_fitness(judge), calls=50, seed=4)
    assert not np.array_equal(found.vector, other.vector)


def test_few_plans_end_it() -> None:
    fitness = PlanFitness(EditPlan((Exposure(),)), PICTURE, judges=(ColourJudge(),))
    assert 200 < random_search(fitness, calls=3000, seed=0).calls <= STEPS + 1


def test_wrong_budgets_are_refused() -> None:
    with pytest.raises(ConfigError, match="unedited"):
        random_search(colour_fitness(), calls=1, seed=0)
    with pytest.raises(ConfigError, match="unedited"):
        gradient_ascent(colour_fitness(), calls=1)


@pytest.mark.parametrize("wrong", [{"parents": 1}, {"parents": 30}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GeneticSettings(**wrong)


def test_the_archive_keeps_the_best_and_the_first_of_equals() -> None:
    archive = Archive(np.zeros(1), 1.0)
    archive.take(np.array([[1.0], [2.0]]), np.array([1.0, -np.inf]), 2)
    assert archive.outcome("m", 2).gain == 0
    archive.take(np.array([[3.0], [4.0], [5.0]]), np.array([1.5, 3.0, 3.0]), 5)
    found = archive.outcome("m", 5)
    assert (found.vector[0], found.score, found.unedited, found.gain) == (4.0, 3.0, 1.0, 2.0)
    assert found.history == ((2, 1.0), (5, 3.0))
