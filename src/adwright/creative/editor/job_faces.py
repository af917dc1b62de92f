"""What an edit of faces needs beside the picture: who may be moved, along what, and what it costs.

    tools = FaceTools.of(OpenedFaces.load("faces", "directions.toml"), manifest)
    tools.guard(log)                      # an EditGuard with these rules
    tools.penalties(picture, places, job) # of a search over moves of these faces

Without it the guard has no manifest, so no face is moved.

Which faces of an ad may be moved, and of every other one why it stays.

    found = faces_of_ad(picture, context, job.plan(), text, tools, guard, now)
    found.plan, found.context, found.notes

Faces are those that the aligner finds, and those that the consent manifest names by a box in this
very picture where it finds none: a drawing has a face that no detector of people sees. Each is
asked about by itself, so one without consent stays and the others are moved. None is passed over
in silence: what the aligner saw and did not take, what is covered by what stays, and what the guard
refuses is a note. Where there is no room for the label of a moved face, none is.

What must stay of each ad: boxes out of a table, or masks out of a folder.

    ad,left,top,right,bottom,what          # pixels of the upright picture, edges as in slices
    spring,4,4,44,24,logo
    ,0,430,512,512,legal                   # without an ad: of all

    regions = read_protected("protected.csv", ids)
    regions.mask("spring", (512, 512, 3))  # bool [H, W]; None where nothing is protected

A folder holds a picture for each ad, named by its id (or, where ids are paths, by the path with
another ending): white is protected, black is not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import (
    ConfigError,
    DataError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.core.hashing import content_hash, sha256_file
from adwright.creative.editor.edit_kinds import EditContext, FaceMove, ProtectedBox, protected_mask
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.fitness import (
    EditedBatch,
    Floats,
    IdentityDistance,
    LatentCloud,
    LatentDistance,
    Pixels,
    Weighted,
    applied_to_all,
)
from adwright.creative.editor.guard import EditGuard, EditLog, EditRequest
from adwright.creative.editor.guard_rules import (
    SKIN_LIMITS,
    AgeCheck,
    ConsentManifest,
    DirectionCard,
    DirectionRules,
    DriftCheck,
    skin_tone,
)
from adwright.creative.editor.job_files import EditJob
from adwright.creative.editor.provenance import labelled, overlap, picture_hash
from adwright.creative.faces.aligning import FaceAligner, FacePlace, face_mask
from adwright.creative.records.encoders import opened_image
from adwright.data.sources.bounds import reading
from adwright.data.sources.frames import as_frame

if TYPE_CHECKING:
    from adwright.creative.faces.opened import OpenedFaces


_SAMPLE, _CROP = 2000, 64
#: Of its limit, from which on a drift counts; the whole picture differs a little from its copy.
_NEAR = 0.9
#: Weight of a drift: more than any gain.
_STOPPED = 10.0


def plain_guard(log: EditLog) -> EditGuard:
    """The guard of a job without faces: words are checked, and nobody's face is moved."""
    unknown = DirectionRules((), {}, ("gender", "age", "skin", "ethnicity"))
    return EditGuard(unknown, None, log=log)


@dataclass(frozen=True, eq=False)
class FaceTools:
    """opened: the model. manifest: of consent. aligner: finds faces. cloud: of the generator's
    latents. ages: without an estimate, as none ships, a face is moved only where the manifest
    declares an adult."""

    opened: OpenedFaces
    manifest: ConsentManifest
    aligner: FaceAligner
    cloud: LatentCloud
    ages: AgeCheck = field(default_factory=AgeCheck)

    @classmethod
    def of(
        cls,
        opened: OpenedFaces,
        manifest: ConsentManifest,
        aligner: FaceAligner | None = None,
        *,
        ages: AgeCheck | None = None,
        offline: bool = False,
    ) -> FaceTools:
        """With adwright's own finder of faces by default."""
        cloud = LatentCloud.of(opened.latents(_SAMPLE, seed=0))
        aligner = aligner or FaceAligner(offline=offline)
        return cls(opened, manifest, aligner, cloud, ages or AgeCheck())

    def sentence(self) -> str:
        """How ages are known."""
        if self.ages.estimate is None:
            return "no estimate of ages is asked: a face that nobody declared an adult's stays"
        limit = self.ages.adult + self.ages.margin
        return f"ages are estimated too: below {limit:g} years a face that is not declared stays"

    @property
    def drift(self) -> DriftCheck:
        """Of the skin of faces."""
        return DriftCheck(skin_tone, SKIN_LIMITS)

    def rules(self) -> DirectionRules:
        """Which directions may be used."""
        named = self.opened.named
        cards = tuple(
            DirectionCard.of(name, group, named.vector(name))
            for name, group in zip(named.names, named.groups, strict=True)
        )
        return DirectionRules(cards, named.locked, named.unknown)

    def guard(self, log: EditLog) -> EditGuard:
        """With the manifest, ages, drift of the skin, and a look for faces that a request leaves
        out."""
        return EditGuard(
            self.rules(),
            self.manifest,
            self.ages,
            drift=self.drift,
            log=log,
            finder=self.aligner.places,
        )

    def penalties(
        self,
        picture: Pixels,
        places: Sequence[FacePlace],
        job: EditJob,
        *,
        drifted: Sequence[Mapping[str, float]] = (),
    ) -> tuple[Weighted, ...]:
        """Of a search over moves of the faces at these places of the picture. drifted: of each face
        what earlier edits changed."""
        opened, side = self.opened, self.opened.side
        crops = np.stack([place.cut(picture, side) for place in places])
        named = opened.named
        vectors = {name: named.vector(name) for name in named.names}
        rows = tuple(named.directions.rows)
        distance = LatentDistance(self.cloud, opened.plus(crops), vectors, rows)
        made = [Weighted(distance, job.latent)]
        made.append(Weighted(IdentityDistance(opened.embedding, side), job.latent))
        made.append(Weighted(FaceDrift(self.drift, tuple(drifted)), _STOPPED))
        if opened.faces.discriminator is not None:
            made.append(Weighted(FaceRealnessDrop(opened), job.realness))
        return tuple(made)


@dataclass(frozen=True, eq=False)
class FaceDrift:
    """A penalty: of the face and the attribute that drift most, the drift as a share of its limit
    where that is above .9, else 0. So a search stays where the guard will not stop what it finds;
    measured as the guard does, against the same plan without moves of faces.

    check: of the guard. earlier: of each face what edits before changed; empty for nothing.
    """

    check: DriftCheck
    earlier: tuple[Mapping[str, float], ...] = ()
    name: str = "face_drift"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        moving = [at for at, plan in enumerate(batch.plans) if plan.face_moves()]
        rest = [batch.plans[at].without_faces() for at in moving]
        made = np.zeros(len(batch))
        still = applied_to_all(rest, batch.original, batch.context)
        for at, before in zip(moving, still, strict=True):
            after = batch.done[at]
            faces = {face for move in batch.plans[at].face_moves() for face in move.moved_faces}
            shares = [
                self._share(after.context.places[face], before.picture, after.picture, face)
                for face in faces
            ]
            made[at] = max(shares, default=0.0)
        return np.where(made > _NEAR, made, 0.0)

    def _share(self, place: FacePlace, before: Pixels, after: Pixels, face: int) -> float:
        earlier = self.earlier[face] if face < len(self.earlier) else {}
        drift = self.check.measured(place.cut(before, _CROP), place.cut(after, _CROP), earlier)
        return max(
            abs(drift.changes.get(name, np.inf)) / max(limit, 1e-12)
            for name, limit in self.check.limits.items()
        )


@dataclass(frozen=True, eq=False)
class FaceRealnessDrop:
    """A penalty: how much less real the discriminator finds the face that lost most by the edit,
    max(0, s(before) - s(after)), 0 without a discriminator."""

    opened: OpenedFaces
    name: str = "face_realness_drop"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        places, side = batch.context.places, self.opened.side
        if not places or not len(batch):
            return np.zeros(len(batch))
        before = [place.cut(batch.original, side) for place in places]
        after = [place.cut(one.picture, side) for one in batch.done for place in one.context.places]
        said = self.opened.realness(np.stack(before + after))
        if said is None:
            return np.zeros(len(batch))
        if len(said) != len(places) * (1 + len(batch)):
            raise DataError("an edit lost a face", hint="report this plan")
        later = said[len(places) :].reshape(len(batch), len(places))
        return np.asarray(np.maximum(said[: len(places)] - later, 0).max(1))


_PROBE, _SAME = 0.05, 0.5
#: Fewer pixels that may change are no face, as for `paste.pasted`.
_LEAST_PIXELS = 16


@dataclass(frozen=True, eq=False)
class FacesOfAd:
    """plan: the edits that are searched, with a move of the faces that may be moved. context: of
    the picture, with these faces at its head. notes: of the other faces, why they stay."""

    plan: EditPlan
    context: EditContext
    notes: tuple[str, ...] = ()


def faces_of_ad(
    picture: Pixels,
    context: EditContext,
    plain: EditPlan,
    text: str,
    tools: FaceTools,
    guard: EditGuard,
    now: datetime,
) -> FacesOfAd:
    """See the module. picture: uint8 [H, W, 3], context: of it. plain: the edits without faces.
    text: all words of the ad."""
    places, notes = _places(picture, tools)
    context = replace(context, places=places, mover=tools.opened.mover)
    if not places:
        return FacesOfAd(plain, context, (*notes, "no face was found that could be moved"))
    try:
        labelled(picture, context)
    except DataError as error:
        return FacesOfAd(plain, context, (*notes, f"no face is moved: {error.what}"))
    names = tools.opened.named.names
    free: list[FacePlace] = []
    left: list[FacePlace] = []
    for face, place in enumerate(places):
        amounts = [(0.0,) * len(names)] * face + [(_PROBE, *(0.0,) * (len(names) - 1))]
        probe = EditPlan((FaceMove(names, tuple(amounts)),))
        verdict = guard.verdict(EditRequest(picture, probe, context, text), now)
        why = [one.reason for one in verdict.refusals]
        if context.protected is not None:
            rest = face_mask(place, picture.shape) & ~context.protected
            why += [] if rest.sum() >= _LEAST_PIXELS else ["what is protected covers it"]
        (left if why else free).append(place)
        notes += [f"face {face} stays: {one}" for one in why]
    if not free:
        return FacesOfAd(plain, context, tuple(notes))
    move = FaceMove.neutral(names, len(free))
    ordered = replace(context, places=(*free, *left))
    return FacesOfAd(EditPlan((move, *plain.edits)), ordered, tuple(notes))


def _places(picture: Pixels, tools: FaceTools) -> tuple[tuple[FacePlace, ...], list[str]]:
    """Where faces are, and what the aligner saw and did not take."""
    seen = tools.aligner.aligned(picture, 8)
    places = [face.place for face in seen.faces]
    known = [place.pixels(picture.shape) for place in places]
    notes = []
    for one in seen.skipped:
        box = FacePlace.of_box(*one.box).pixels(picture.shape)
        notes.append(f"a face at {list(box)} stays: it is {one.reason}, {one.detail}")
        # What was seen and is too small or cut off stays so, whatever the manifest says.
        known += [box] if one.reason != "unsure" else []
    named = tools.manifest.boxes(picture_hash(picture))
    for box in named:
        inside = (
            0 <= box[0] < box[2] <= picture.shape[1] and 0 <= box[1] < box[3] <= picture.shape[0]
        )
        if inside and max((overlap(box, one) for one in known), default=0.0) < _SAME:
            known.append(box)
            places.append(FacePlace.of_box(*box))
    return tuple(places), notes


_EDGES = ("left", "top", "right", "bottom")
_WHAT = ("logo", "price", "legal", "other")
_ALL = ""


@dataclass(frozen=True, eq=False)
class ProtectedRegions:
    """boxes: of each ad, those of all ads under "". masks: of each ad, a picture's file. name: of
    where it was read. digest: of all that it says."""

    boxes: Mapping[str, tuple[ProtectedBox, ...]] = field(default_factory=dict)
    masks: Mapping[str, Path] = field(default_factory=dict)
    name: str = ""
    digest: str = ""

    def mask(self, ad: str, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
        """bool [H, W] of an ad's picture of shape (H, W, ...); None where nothing is protected.

        Raises DataError where a box ends outside, or a mask has another size; FileUnreadableError
        where a mask cannot be read.
        """
        boxes = (*self.boxes.get(_ALL, ()), *self.boxes.get(ad, ()))
        made = protected_mask(boxes, shape) if boxes else None
        path = self.masks.get(ad)
        if path is None:
            return made
        seen = np.asarray(opened_image(path.read_bytes(), str(path)))
        if seen.shape[:2] != tuple(shape[:2]):
            raise DataError(
                f"the mask has {seen.shape[1]} x {seen.shape[0]} pixels",
                file=str(path),
                hint=f"the picture of {ad} has {shape[1]} x {shape[0]}",
            )
        drawn = np.asarray(seen.mean(2) >= 128)
        return drawn if made is None else made | drawn


def read_protected(path: str | Path, ids: Collection[str]) -> ProtectedRegions:
    """The regions of a table or a folder. ids: of the ads.

    Raises FileUnreadableError where it cannot be read or holds nothing; SchemaError for a column
    that is missing; ValueInvalidError, naming the row, for edges that are no box, for another
    `what`, and for an ad that is not among the ids: what is protected by mistake of a name is not.
    """
    place = Path(path)
    if place.is_dir():
        return _of_folder(place, ids)
    table = as_frame(place, text=lambda names: [n for n in names if n in ("ad", "what")])
    frame = reading(place, table.frame.collect)
    if missing := [name for name in _EDGES if name not in frame.columns]:
        raise SchemaError(
            "a column of boxes is missing",
            file=table.name,
            column=missing[0],
            hint="ad,left,top,right,bottom,what; only ad and what may be left out",
        )
    if not frame.height:
        raise FileUnreadableError("there is no box in it", file=table.name, hint="write a row each")
    found: dict[str, list[ProtectedBox]] = {}
    for at, row in enumerate(frame.iter_rows(named=True)):
        ad, what = (str(row.get(name) or "").strip() for name in ("ad", "what"))
        if ad and ad not in ids:
            raise ValueInvalidError(
                "there is no such ad", file=table.name, row=at, column="ad", value=ad,
                hint=f"ids are such as {', '.join(sorted(ids)[:3])}",
            )  # fmt: skip
        edges = []
        for name in _EDGES:
            number = pl.Series([row[name]]).cast(pl.Float64, strict=False)[0]
            if number is None or not number.is_integer() or number < 0:
                raise ValueInvalidError(
                    "an edge is a whole number of pixels", file=table.name, row=at, column=name,
                    value=row[name], hint="0 or more",
                )  # fmt: skip
            edges.append(int(number))
        try:
            box = ProtectedBox(*edges, what or "other")  # type: ignore[arg-type,call-arg]
        except ConfigError as error:
            raise ValueInvalidError(
                "this is no protected box", file=table.name, row=at, value=(*edges, what),
                hint=f"left < right, top < bottom, what one of {', '.join(_WHAT)}",
            ) from error  # fmt: skip
        found.setdefault(ad, []).append(box)
    boxes = {ad: tuple(some) for ad, some in found.items()}
    return ProtectedRegions(boxes, {}, str(path), sha256_file(place))


def _of_folder(place: Path, ids: Collection[str]) -> ProtectedRegions:
    masks: dict[str, Path] = {}
    for ad in ids:
        name = Path(ad).with_suffix("") if Path(ad).suffix else Path(ad)
        inside = [place / f"{one}.png" for one in (ad, name) if ".." not in Path(one).parts]
        path = next((one for one in inside if one.is_file()), None)
        if path is not None:
            masks[ad] = path
    used = {path.resolve() for path in masks.values()}
    left = [path for path in sorted(place.rglob("*.png")) if path.resolve() not in used]
    if not masks or left:
        raise FileUnreadableError(
            "a mask belongs to no ad" if left else "there is no mask of any ad in it",
            file=str(left[0] if left else place),
            hint=f"name them ID.png; ids are such as {', '.join(sorted(ids)[:3])}",
        )
    digest = content_hash([[name, sha256_file(masks[name])] for name in sorted(masks)])
    return ProtectedRegions({}, masks, str(place), digest)
