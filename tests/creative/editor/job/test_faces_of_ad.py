"""Which faces of a drawn scene may be moved; a detector of people sees none of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.clock import SystemClock
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.guards.ages import AgeCheck
from adwright.creative.editor.guards.consent import ConsentEntry, ConsentManifest, consent_manifest
from adwright.creative.editor.job.face_model import FaceTools
from adwright.creative.editor.job.faces_of_ad import FacesOfAd, faces_of_ad
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.provenance.edit_log import EditLog
from adwright.creative.editor.provenance.hashes import picture_hash
from adwright.creative.faces.aligning import AlignedFaces, FacePlace, SkippedFace, cut_at
from adwright.creative.faces.opened import OpenedFaces
from tests.support.creative.edited_pictures import PLACES, scene
from tests.support.models.small_faces import small_faces

PICTURE = scene()
NAME = picture_hash(PICTURE)
PLAIN = EditJob(edits=("exposure",)).plan()
FIRST, SECOND = (place.pixels(PICTURE.shape) for place in PLACES)


@dataclass
class Sees:
    """In the place of an aligner: it sees what it is told."""

    faces: tuple[FacePlace, ...] = ()
    skipped: tuple[SkippedFace, ...] = ()

    def aligned(self, picture: np.ndarray, pixels: int) -> AlignedFaces:
        return AlignedFaces(cut_at(picture, self.faces, pixels).faces, self.skipped)

    def places(self, picture: np.ndarray) -> tuple[FacePlace, ...]:
        return self.faces


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenedFaces:
    return OpenedFaces.load(*small_faces(tmp_path_factory.mktemp("faces")))


def entry(box: tuple[int, int, int, int], adult: str = "declared") -> ConsentEntry:
    return ConsentEntry("synthetic", adult=adult, picture=NAME, box=box)  # type: ignore[arg-type]


def asked(
    opened: OpenedFaces,
    *entries: ConsentEntry,
    sees: Sees | None = None,
    mask: np.ndarray | None = None,
    ages: AgeCheck | None = None,
) -> FacesOfAd:
    manifest = ConsentManifest(entries)
    tools = FaceTools.of(opened, manifest, sees or Sees(), ages=ages)  # type: ignore[arg-type]
    guard = tools.guard(EditLog(Path("nowhere.jsonl"), SystemClock()))
    now = SystemClock().now()
    return faces_of_ad(PICTURE, EditContext(mask), PLAIN, "Bread", tools, guard, now)


def boxes(found: FacesOfAd) -> list[tuple[int, ...]]:
    return [place.pixels(PICTURE.shape) for place in found.context.places]


def test_a_face_that_the_manifest_names_by_its_box_is_moved(opened: OpenedFaces) -> None:
    found = asked(opened, entry(SECOND))
    assert (boxes(found), found.notes) == ([SECOND], ())
    move = found.plan.edits[0]
    assert isinstance(move, FaceMove)
    assert len(move.amounts) == 1
    moved = replace(move, amounts=((1.5, 0.0),)).apply(PICTURE, found.context)
    assert (moved != PICTURE).any()
    away = entry((300, 200, 400, 300))
    assert asked(opened, away).notes == ("no face was found that could be moved",)
    assert boxes(asked(opened, entry(FIRST), sees=Sees(PLACES[:1]))) == [FIRST]


def test_faces_that_may_be_moved_come_first_and_others_are_told(opened: OpenedFaces) -> None:
    found = asked(opened, entry(SECOND), sees=Sees(PLACES))
    assert boxes(found) == [SECOND, FIRST]
    (note,) = found.notes
    assert note == (
        "face 0 stays: no entry of the manifest names this face: "
        f'picture = "{NAME}", box = {list(FIRST)}'
    )
    assert len(found.plan.face_moves()) == 0
    assert [edit.kind for edit in found.plan.edits] == ["face_move", "exposure"]


def test_what_a_note_says_is_what_a_manifest_takes(opened: OpenedFaces, tmp_path: Path) -> None:
    (note,) = asked(opened, sees=Sees(PLACES[:1])).notes
    picture, box = note.partition("face: ")[2].split(", ", 1)
    path = tmp_path / "consent.toml"
    lines = ["[[entries]]", 'kind = "synthetic"', 'adult = "declared"', picture, box]
    path.write_text("\n".join(lines), "utf-8")
    entries = consent_manifest(path).entries
    assert asked(opened, *entries, sees=Sees(PLACES[:1])).notes == ()


def test_nothing_is_passed_over_in_silence(opened: OpenedFaces) -> None:
    small = SkippedFace(tuple(map(float, FIRST)), "small", "6.0 pixels")  # type: ignore[arg-type]
    found = asked(opened, entry(FIRST), sees=Sees(skipped=(small,)))
    assert found.plan == PLAIN
    assert found.notes[0].endswith("it is small, 6.0 pixels")
    unsure = replace(small, reason="unsure")
    assert boxes(asked(opened, entry(FIRST), sees=Sees(skipped=(unsure,)))) == [FIRST]
    mask = np.zeros(PICTURE.shape[:2], bool)
    mask[FIRST[1] : FIRST[3], FIRST[0] : FIRST[2]] = True
    covered = asked(opened, entry(FIRST), mask=mask)
    assert covered.plan == PLAIN
    assert covered.notes == ("face 0 stays: what is protected covers it",)


def test_a_picture_without_room_for_the_label_keeps_its_faces(opened: OpenedFaces) -> None:
    mask = np.ones(PICTURE.shape[:2], bool)
    mask[FIRST[1] : FIRST[3], FIRST[0] : FIRST[2]] = False
    found = asked(opened, entry(FIRST), mask=mask)
    assert found.plan == PLAIN
    (note,) = found.notes
    assert note.startswith("no face is moved: there is no room for the label")


@pytest.mark.parametrize(
    ("adult", "years", "says"),
    [
        ("unknown", None, "neither declared nor estimated"),
        ("unknown", 40.0, ""),
        ("unknown", 20.0, "below 25"),
        ("declared", 9.0, "looks like 9 years"),
        ("minor", 40.0, "declares a minor"),
    ],
)
def test_ages(opened: OpenedFaces, adult: str, years: float | None, says: str) -> None:
    ages = None if years is None else AgeCheck(lambda crop: years)
    notes = asked(opened, entry(FIRST, adult), ages=ages).notes
    assert says in "".join(notes)
    assert bool(notes) == bool(says)
