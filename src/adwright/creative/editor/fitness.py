"""Settings of the genetic searches, and what any search found.

The defaults are AdSEE's: 30 plans, 5 generations, 10 parents, a fifth of the values mutated. Widths
are ours, see `operators`: AdSEE's code starts within .1 of no edit and mutates by .01 (for a
direction, whose range is 3), but with the library and the stepped values that it uses both are
drawn from the whole range. So narrow, a search would go nowhere in five generations.

The fitness of a plan's values: the picture is edited, looked at again, and judged.

    fitness = PlanFitness(plan, picture, context, judges=(judge,), penalties=(Weighted(p, 0.1),))
    fitness.scores(vectors)           # float64 [N] of vectors float64 [N, K]
    fitness.calls, fitness.batches    # pictures that were judged, and in how many calls

For each of J judges

    value_j(v) = bound_j(edited(v)) / scale_j - sum_i weight_i penalty_i(edited(v))

with the lower bound of a judge that has one (`bound="mean"` takes its answer). Judges see the
edited picture itself, encoded anew; AdSEE moves the latents alone and keeps the old image
embedding, so what an edit does to the picture does not count there. A population is one call of
each judge. Equal vectors are judged once, also across searches that share the fitness. Vectors lie
on a grid through the neutral values, `STEPS` steps across the range of each knob: 300 are AdSEE's
.01 of a direction, whose range is 3.

`allowed` is asked before anything is edited: values that it refuses score minus infinity, and no
judge sees them.

Judges of pictures: what a search asks, and an ensemble of them with a lower bound.

    judge = EnsembleJudge("click_rate", (first, second, third), k=1.0)
    judge.judge(pictures)       # float64 [N], the mean of the members
    judge.lower(pictures)       # the mean less k standard deviations
    judge.members(pictures)     # float64 [M, N], what each says

A judge is any object with `name` and `judge`. What it offers beside them is used where it is there:
`lower`, which a search then raises instead (an optimiser finds where one model is wrong, seldom
where all are), and `slopes`, by which `ascent` needs fewer calls.

Plans of a whole population, applied to one picture: what judges and penalties look at.

    batch = edited_batch(plan, vectors, picture, context)
    batch.pictures          # uint8 [N, H, W, 3], all of one size

Edits go step by step over the population, so that a model of faces is asked once a step, about the
faces of all, and not once a plan. A picture that another frame made smaller is squeezed to the size
of the original, as encoders of pictures squeeze it anyway (our choice).

Penalties: what an edit costs beside what it gains, so that a search stays where judges know.

LatentDistance    how much further the face lies from all faces, in W+ (Mahalanobis)
IdentityDistance  how much another person it became, 1 - cosine of embeddings
RealnessDrop      how much less real a scorer finds the picture, such as a discriminator
FineNoise         how much the share of fine detail grew, as of grain and rims

All are 0 for no edit, and count only what an edit makes worse (our choice), in the units that their
classes say; see `fitness.Weighted` for their weights.

The cloud of latents that a generator draws, and how far a face lies outside it.

cloud = LatentCloud.of(sample)            # w of float [S, D], of the mapping network
cloud.distance(plus)                      # float64 [N] of W+ [N, R, D]

An edit that leaves the cloud shows what the generator was never trained to show, and judges were
never trained to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Count, require_count, settings
from adwright.core.errors import ConfigError, DataError, needing
from adwright.creative.editor.edit_kinds import EditContext, FaceMove
from adwright.creative.editor.edit_plan import EditedPicture, EditPlan, SkippedEdit

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


class PictureJudge(Protocol):
    """Says of pictures how good they are. name: of what it says, such as "click_rate"."""

    @property
    def name(self) -> str:
        """Of what it says."""
        ...

    def judge(self, pictures: Pixels, /) -> Floats:
        """float [N] of uint8 [N, H, W, 3]; higher is better."""
        ...


@runtime_checkable
class SlopedJudge(Protocol):
    """A judge that can be differentiated."""

    def slopes(self, pictures: Pixels, /) -> tuple[Floats, Floats]:
        """float [N], what is raised: the lower bound where it has one, else the answer; and
        float [N, H, W, 3], its derivative by each value of each pixel, of 0 to 255."""
        ...


@dataclass(frozen=True, eq=False)
class EnsembleJudge:
    """The mean of M judges; see the module. k: standard deviations that the lower bound lies below.

        mean = sum_m y_m / M,    sd = sqrt(sum_m (y_m - mean)^2 / (M - 1)),    lower = mean - k sd

    Raises ConfigError for fewer than two judges, and for a k that is negative or no number.
    """

    name: str
    judges: Sequence[PictureJudge]
    k: float = 1.0

    def __post_init__(self) -> None:
        if len(self.judges) < 2:
            raise ConfigError(
                f"{len(self.judges)} judges are no ensemble",
                where="EnsembleJudge.judges",
                hint="pass two or more, trained with other seeds, folds or encoders",
            )

    def members(self, pictures: Pixels) -> Floats:
        """float64 [M, N]: what each judge says."""
        return np.stack([checked_answers(one, pictures) for one in self.judges])

    def judge(self, pictures: Pixels) -> Floats:
        """float64 [N]: the mean."""
        return np.asarray(self.members(pictures).mean(0))

    def lower(self, pictures: Pixels) -> Floats:
        """float64 [N]: the mean less k standard deviations."""
        members = self.members(pictures)
        return np.asarray(members.mean(0) - self.k * members.std(0, ddof=1))


def checked_answers(judge: PictureJudge, pictures: Pixels) -> Floats:
    """float64 [N]: what the judge says of the pictures. Raises DataError where it says something
    else than one finite number of each."""
    said, name = np.asarray(judge.judge(pictures), np.float64), judge.name
    if said.shape != (len(pictures),):
        raise DataError(
            f"the judge {name!r} gave shape {said.shape} of {len(pictures)} pictures",
            hint="a judge gives one number a picture",
        )
    if not np.isfinite(said).all():
        at = int(np.flatnonzero(~np.isfinite(said))[0])
        raise DataError(
            f"the judge {name!r} gave no finite number", row=at, hint="see its training"
        )
    return said


@settings
class GeneticSettings:
    """population: plans of the first generation, and of each. generations: after the first.
    parents: kept in each generation."""

    population: Count = 30
    generations: Count = 5
    parents: Count = 10

    def __post_init__(self) -> None:
        if not 2 <= self.parents < self.population:
            raise ConfigError(
                f"{self.parents} parents of {self.population} plans",
                where="GeneticSettings.parents",
                hint="2 or more, and fewer than the population",
            )

    @property
    def calls(self) -> int:
        """Pictures that a search judges, at most."""
        return self.population + self.generations * (self.population - self.parents)


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a search found. method: its name. vector: float [K], the best. score: of it.

    unedited: the score of no edit. calls: pictures judged. history: (calls so far, best score so
    far) after each batch.
    """

    method: str
    vector: Floats
    score: float
    unedited: float
    calls: int
    history: tuple[tuple[int, float], ...] = ()

    @property
    def gain(self) -> float:
        """What the score rose by; 0 where nothing better than no edit was found."""
        return self.score - self.unedited


@dataclass(eq=False)
class Archive:
    """The best of all that a search saw; no edit is among it from the start."""

    vector: Floats
    score: float
    unedited: float = field(init=False)
    history: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unedited = self.score

    def take(self, vectors: Floats, scores: Floats, calls: int) -> None:
        """Note vectors [N, K] with their scores; an equal one that came earlier stays."""
        if len(scores):
            at = int(np.argmax(scores))
            if scores[at] > self.score:
                self.vector, self.score = np.array(vectors[at]), float(scores[at])
        self.history.append((calls, self.score))

    def outcome(self, method: str, calls: int) -> SearchOutcome:
        """As it stands."""
        return SearchOutcome(
            method, self.vector, self.score, self.unedited, calls, tuple(self.history)
        )


def require_calls(calls: int) -> None:
    """Raise ConfigError for a budget that leaves nothing beside the unedited picture."""
    require_count("calls", calls)
    if calls < 2:
        raise ConfigError("one call is of the unedited picture", where="calls", hint="2 or more")


@dataclass(frozen=True, eq=False)
class EditedBatch:
    """N edited pictures of one. original: uint8 [H0, W0, 3], of context. plans, done: of each.
    pictures: uint8 [N, H, W, 3], squeezed to the original's size."""

    original: Pixels
    context: EditContext
    plans: tuple[EditPlan, ...]
    done: tuple[EditedPicture, ...]
    pictures: Pixels

    def __len__(self) -> int:
        """N."""
        return len(self.plans)


def edited_batch(
    plan: EditPlan, vectors: Floats, picture: Pixels, context: EditContext | None = None
) -> EditedBatch:
    """The picture, edited by the plan with each of the vectors [N, K]. Raises as `with_values` and
    `apply` of a plan."""
    context = context or EditContext()
    plans = tuple(plan.with_values(vector) for vector in vectors)
    done = applied_to_all(plans, picture, context)
    pictures = np.empty((len(done), *picture.shape), np.uint8)
    for at, one in enumerate(done):
        pictures[at] = squeezed(one.picture, picture.shape[:2])
    return EditedBatch(picture, context, plans, done, pictures)


def applied_to_all(
    plans: Sequence[EditPlan], picture: Pixels, context: EditContext
) -> tuple[EditedPicture, ...]:
    """What `EditPlan.apply` makes of each plan; plans are of the same edits, otherwise set.

    Raises DataError where they are not, and where the context belongs to another picture.
    """
    context.require_size_of(picture)
    kinds = {tuple(edit.kind for edit in plan.edits) for plan in plans}
    if len(kinds) > 1:
        raise DataError("the plans have different edits", hint="pass one plan, otherwise set")
    made: list[tuple[Pixels, EditContext]] = [(picture.copy(), context) for _ in plans]
    skipped: list[list[SkippedEdit]] = [[] for _ in plans]
    for step in range(len(plans[0].edits) if plans else 0):
        edits = [plan.edits[step] for plan in plans]
        free = []
        for at, edit in enumerate(edits):
            why = edit.why_not(*made[at])
            if why:
                skipped[at].append(SkippedEdit(step, edit.kind, why))
            elif not edit.is_neutral() or not isinstance(edit, FaceMove):
                free.append(at)
        moves = {at: edit for at in free if isinstance(edit := edits[at], FaceMove)}
        new = _moved(moves, made)
        for at in free:
            edit, (before, where) = edits[at], made[at]
            after = new[at] if at in new else edit.apply(before, where)
            made[at] = after, edit.followed(before, where)
    return tuple(
        EditedPicture(one, where, tuple(left))
        for (one, where), left in zip(made, skipped, strict=True)
    )


def _moved(moves: dict[int, FaceMove], made: list[tuple[Pixels, EditContext]]) -> dict[int, Pixels]:
    """Of each plan that moves faces the picture, by one call of the mover for all of them."""
    asked = {at: edit.to_move(*made[at]) for at, edit in moves.items()}
    found = {at: one for at, one in asked.items() if one is not None}
    if not found:
        return {}
    mover = next(iter(made))[1].mover
    if mover is None:
        return {}
    crops = np.concatenate([one.crops for one in found.values()])
    moved = mover.moved(crops, np.concatenate([one.amounts for one in found.values()]))
    back: dict[int, Pixels] = {}
    begin = 0
    for at, one in found.items():
        end = begin + len(one.faces)
        back[at] = moves[at].put_back(*made[at], one, moved[begin:end])
        begin = end
    return back


def squeezed(picture: Pixels, shape: tuple[int, int]) -> Pixels:
    """The picture uint8 [H, W, 3] at the size (height, width), its sides stretched as needed."""
    if picture.shape[:2] == tuple(shape):
        return picture
    with needing("edits of pictures", "creative"):
        import cv2
    smaller = picture.shape[0] * picture.shape[1] > shape[0] * shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=way), np.uint8)


#: What a derivative costs, in calls: a backward pass takes about twice a forward one.
_SLOPE_CALLS = 3


class EditPenalty(Protocol):
    """Says how bad an edit is, whatever it gains; 0 for no edit."""

    @property
    def name(self) -> str:
        """Of what it measures."""
        ...

    def of(self, batch: EditedBatch, /) -> Floats:
        """float [N], 0 and more."""
        ...


@dataclass(frozen=True, eq=False)
class Weighted:
    """A penalty and what one unit of it costs, in the scaled unit of the judges."""

    penalty: EditPenalty
    weight: float


#: Of the grid.
STEPS = 300


class PlanFitness:
    """See the module. bound: of judges that have both. scales: of each judge, 1 by default. calls:
    pictures judged so far, counted once however many judges there are.

    Raises ConfigError for a plan without a knob, for no judge, and for other than one scale a
    judge; DataError where the context belongs to another picture.
    """

    def __init__(
        self,
        plan: EditPlan,
        picture: Pixels,
        context: EditContext | None = None,
        *,
        judges: Sequence[PictureJudge],
        penalties: Sequence[Weighted] = (),
        bound: Literal["lower", "mean"] = "lower",
        scales: Sequence[float] = (),
        allowed: Callable[[EditPlan], bool] | None = None,
    ) -> None:
        if not plan.knobs() or not judges:
            raise ConfigError(
                "there is nothing to search", where="PlanFitness", hint="an edit and a judge"
            )
        if (scales and len(scales) != len(judges)) or any(not 0 < one < np.inf for one in scales):
            raise ConfigError(
                f"scales {scales} of {len(judges)} judges", where="scales", hint="one each, above 0"
            )
        self.plan, self.picture, self.context = plan, picture, context or EditContext()
        self.context.require_size_of(picture)
        self.judges, self.penalties = tuple(judges), tuple(penalties)
        self._lower, self._allowed = bound == "lower", allowed
        self.calls, self.batches = 0, 0
        self.low, self.high = plan.bounds().T
        self.neutral = plan.neutral()
        self._step = (self.high - self.low) / STEPS
        self._scales = np.array(scales or (1.0,) * len(judges))
        self._known: dict[bytes, Floats] = {}

    def on_grid(self, vectors: Floats) -> Floats:
        """float64 [N, K]: the nearest vectors of the grid; both bounds are on it too."""
        inside = np.clip(np.asarray(vectors, float), self.low, self.high)
        away = np.rint((inside - self.neutral) / self._step)
        made = np.clip(self.neutral + away * self._step, self.low, self.high)
        ends = (inside == self.low) | (inside == self.high)
        # Adding 0 makes a negative zero one that equals the other.
        return np.asarray(np.where(ends, inside, made) + 0.0)

    def batch(self, vectors: Floats) -> EditedBatch:
        """The edited pictures of vectors [N, K]; no judge is asked."""
        return edited_batch(self.plan, vectors, self.picture, self.context)

    def values(self, vectors: Floats) -> Floats:
        """float64 [N, J] of vectors [N, K], which are first put on the grid.

        Raises DataError for another shape, and where a judge or penalty answers no finite number.
        """
        asked = self._rows(vectors)
        keys = [row.tobytes() for row in asked]
        new: dict[bytes, int] = {}
        for at, key in enumerate(keys):
            if key not in self._known and key not in new:
                new[key] = at
        free = []
        for key, at in new.items():
            if self._allowed is None or self._allowed(self.plan.with_values(asked[at])):
                free.append(at)
            else:
                self._known[key] = np.full(len(self.judges), -np.inf)
        if free:
            self._judge(asked[free])
        return np.stack([self._known[key] for key in keys])

    def scores(self, vectors: Floats) -> Floats:
        """float64 [N]: as `values`, of the only judge. Raises ConfigError where there are more."""
        if len(self.judges) != 1:
            raise ConfigError(
                f"{len(self.judges)} judges give no single score", where="PlanFitness"
            )
        return np.asarray(self.values(vectors)[:, 0])

    def unjudged(self, vectors: Floats) -> int:
        """How many calls `values` of these vectors would take, those refused included."""
        keys = {row.tobytes() for row in self._rows(vectors)}
        return sum(key not in self._known for key in keys)

    def slopes(self, vector: Floats, steps: Floats) -> Floats | None:
        """float64 [K]: the score's derivative by each knob, by the chain rule; None where the
        judge offers no slopes.

            d score / d v_k = sum over pixels (d judge / d x) (x(v + h_k) - x(v)) / h_k
                              - the same difference of the penalties

        x is edited anew for each knob, which takes no call of the judge. steps: float [K], the h_k,
        signed so that v + h_k is within bounds. Counts 3 calls.
        """
        judge = self.judges[0]
        if len(self.judges) != 1 or not isinstance(judge, SlopedJudge):
            return None
        points = np.concatenate([vector[None], vector + np.diag(steps)])
        batch = self.batch(np.clip(points, self.low, self.high))
        _, by_pixel = judge.slopes(batch.pictures[:1])
        self.calls += _SLOPE_CALLS
        self.batches += 1
        seen = batch.pictures.astype(np.float64)
        change = np.tensordot(seen[1:] - seen[:1], by_pixel[0], axes=3) / self._scales[0]
        lost = self.penalty_of(batch)
        return np.asarray((change - (lost[1:] - lost[0])) / steps)

    def penalty_of(self, batch: EditedBatch) -> Floats:
        """float64 [N]: the weighted sum of all penalties. Raises DataError for one that is no
        finite number."""
        total = np.zeros(len(batch))
        for one in self.penalties:
            found = np.asarray(one.penalty.of(batch), np.float64)
            if found.shape != total.shape or not np.isfinite(found).all():
                raise DataError(
                    f"the penalty {one.penalty.name!r} gave no finite number for each edit"
                )
            total += one.weight * found
        return total

    def _judge(self, vectors: Floats) -> None:
        batch = self.batch(vectors)
        lost = self.penalty_of(batch)
        found = np.stack(
            [
                np.asarray(judge.lower(batch.pictures), np.float64)
                if self._lower and isinstance(judge, EnsembleJudge)
                else checked_answers(judge, batch.pictures)
                for judge in self.judges
            ],
            1,
        )
        self.calls += len(vectors)
        self.batches += 1
        values = found / self._scales - lost[:, None]
        for row, value in zip(vectors, values, strict=True):
            self._known[row.tobytes()] = value

    def _rows(self, vectors: Floats) -> Floats:
        rows = np.asarray(vectors, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.neutral) or not np.isfinite(rows).all():
            raise DataError(
                f"vectors have shape {rows.shape}, or a value that is no number",
                hint=f"pass numbers [N, {len(self.neutral)}]",
            )
        return self.on_grid(rows)


#: Of the covariance towards a sphere.
_SHRINK = 0.1


@dataclass(frozen=True, eq=False)
class LatentCloud:
    """mean: float [D]. precision: float [D, D], the inverse of the covariance."""

    mean: Floats
    precision: Floats

    @classmethod
    def of(cls, sample: Floats) -> LatentCloud:
        """The cloud of a sample [S, D] of w.

        The covariance is (1 - _SHRINK) C + _SHRINK (tr C / D) I, which can be inverted where S is
        below D too. Raises DataError for a sample of fewer than two, and for one without spread.
        """
        drawn = np.asarray(sample, np.float64)
        if drawn.ndim != 2 or len(drawn) < 2 or not np.isfinite(drawn).all():
            raise DataError(
                f"a sample of shape {drawn.shape}", hint="pass finite latents [S, D], two or more"
            )
        covariance = np.cov(drawn, rowvar=False).reshape(drawn.shape[1], -1)
        scale = float(np.trace(covariance)) / len(covariance)
        if not scale > 0:
            raise DataError("all latents of the sample are the same", hint="draw others")
        shrunk = (1 - _SHRINK) * covariance + _SHRINK * scale * np.eye(len(covariance))
        return cls(
            np.asarray(drawn.mean(0), np.float64), np.asarray(np.linalg.inv(shrunk), np.float64)
        )

    def distance(self, plus: Floats) -> Floats:
        """float64 [N] of W+ [N, R, D]: the squared Mahalanobis distance of a row, divided by D,
        averaged over rows,

            sum_r (w_r - mean)^T precision (w_r - mean) / (R D)

        about 1 for a latent of the sample. Raises DataError for another width.
        """
        rows = np.asarray(plus, np.float64)
        if rows.ndim != 3 or rows.shape[2] != len(self.mean):
            raise DataError(f"latents of shape {rows.shape}", hint=f"[N, R, {len(self.mean)}]")
        away = rows - self.mean
        return np.asarray(np.einsum("nrd,de,nre->nr", away, self.precision, away).mean(1)) / len(
            self.mean
        )


_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
#: Pictures that are blurred by one call of OpenCV, which takes so many channels.
_CHANNELS = 512


@dataclass(frozen=True, eq=False)
class LatentDistance:
    """The largest of the faces, of

        max(0, d(w + sum_k a_k n_k) - d(w)),    d of `LatentCloud`

    faces: W+ of each face of the picture, float [F, R, D]. vectors: of each direction float [D], as
    the mover's. rows: of W+ that directions move. Directions without a vector raise DataError.
    """

    cloud: LatentCloud
    faces: Floats
    vectors: Mapping[str, Floats]
    rows: tuple[int, ...]
    name: str = "latent_distance"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        if not len(self.faces):
            return np.zeros(len(batch))
        moved = np.stack([self._moved(plan) for plan in batch.plans])
        count, faces, rows, wide = moved.shape
        after = self.cloud.distance(moved.reshape(-1, rows, wide)).reshape(count, faces)
        return np.asarray(np.maximum(after - self.cloud.distance(self.faces), 0).max(1))

    def _moved(self, plan: EditPlan) -> Floats:
        made = np.array(self.faces, np.float64)
        for move in plan.face_moves():
            for face in move.moved_faces:
                for name, amount in zip(move.names, move.amounts[face], strict=True):
                    if name not in self.vectors or face >= len(made):
                        raise DataError(f"the latent of face {face}, or {name!r}, is not known")
                    made[face, list(self.rows)] += amount * self.vectors[name]
        return made


@dataclass(frozen=True, eq=False)
class IdentityDistance:
    """The largest 1 - cosine of the embeddings of a face before and after, 0 to 2.

    embed: float [N, D] of crops uint8 [N, side, side, 3]; of all faces of all edits in one call.
    """

    embed: Callable[[Pixels], Floats]
    side: int = 64
    name: str = "identity_distance"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        places = batch.context.places
        if not places or not len(batch):
            return np.zeros(len(batch))
        before = [place.cut(batch.original, self.side) for place in places]
        after = [
            place.cut(one.picture, self.side) for one in batch.done for place in one.context.places
        ]
        found = np.asarray(self.embed(np.stack(before + after)), np.float64)
        if found.ndim != 2 or len(found) != len(before) + len(after):
            raise DataError(f"the embedding of faces has shape {found.shape}", hint="[N, D]")
        unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        first, second = unit[: len(places)], unit[len(places) :]
        second = second.reshape(len(batch), len(places), -1)
        cosine = np.einsum("nfd,fd->nf", second, first)
        return np.asarray(np.clip(1 - cosine, 0, 2).max(1))


@dataclass(frozen=True)
class FineNoise:
    """max(0, log(share(edited) / share(original))), with the luma Y of Rec. 709 and

        share = (mean (Y - G Y)^2 + e) / (var Y + e),   e = 1

    G is a Gaussian. A change of contrast or exposure alone changes no share, until values are cut
    off. The Gaussian has a standard deviation of one pixel of what is judged.
    """

    name: str = "fine_noise"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        shares = self.shares(np.concatenate([batch.original[None], batch.pictures]))
        return np.asarray(np.maximum(np.log(shares[1:]) - np.log(shares[0]), 0.0))

    def shares(self, pictures: Pixels) -> Floats:
        """float64 [N]: the share of fine detail of each picture, uint8 [N, H, W, 3]."""
        with needing("edits of pictures", "creative"):
            import cv2
        found = [np.zeros(0)]
        for some in range(0, len(pictures), _CHANNELS):
            part = pictures[some : some + _CHANNELS].astype(np.float64) @ _WEIGHTS
            # A channel a picture: all of them are blurred by one call.
            luma = np.moveaxis(part, 0, -1)
            fine = luma - cv2.GaussianBlur(luma, (0, 0), 1.0).reshape(luma.shape)
            found.append(((fine**2).mean((0, 1)) + 1) / (luma.var((0, 1)) + 1))
        return np.concatenate(found)
